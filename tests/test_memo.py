"""Results kept from call to call: the same bytes as without, whatever came before, however little room there is."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from chain_nets import Net
from operator_models import Case, block, forced_kernels, runnable_kernel_sets
from rewriting import attributes
from test_winograd import case_of

from drpass import rewrite, runtime
from drpass.errors import DrpassError

#: Room for everything, for a few tiles, and for none.
SIZES = (64 << 20, 200_000, 1)


def frames(case: Case) -> list[np.ndarray]:
    """A film: the first frame, itself again, a part changed, and the scene moved by a tile and by a pixel."""
    first = case.x
    changed = first.copy()
    changed[:, :, 5:9, 3:14] += 1
    return [first, first, changed, np.roll(first, 4, axis=3), np.roll(first, 1, axis=3), first]


@pytest.mark.parametrize("memo_bytes", SIZES)
@pytest.mark.parametrize("layout", ["NCHW", "NCHW16c"])
@pytest.mark.parametrize(("inputs", "outputs"), [(48, 40), (260, 300)])
def test_bytes_are_those_of_a_new_session(memo_bytes: int, layout: str, inputs: int, outputs: int) -> None:
    case = case_of(2, inputs, outputs, (15, 18), 3, 1)
    film = frames(case)
    if layout == "NCHW16c":
        film = [block(frame) for frame in film]
        case = replace(case, x=film[0])
    layouts = {"x_layout": layout, "y_layout": layout}
    for kernels in runnable_kernel_sets()[1:]:  # the scalar reference has no memo
        with forced_kernels(kernels):
            plain = runtime.session(case.reuse_model(**layouts), threads=1)
            memo = runtime.session(case.reuse_model(memo_bytes=memo_bytes, **layouts), threads=2)
        for frame in film:
            assert memo.run(None, {"X": frame})[0].tobytes() == plain.run(None, {"X": frame})[0].tobytes(), kernels


def test_special_values_are_kept_as_they_are() -> None:
    case = replace(case_of(1, 32, 32, (16, 16), 5, 2), activation="none")
    case.x[0, 3, 4, 5], case.x[0, 30, 15, 15] = np.nan, np.inf
    plain = runtime.session(case.reuse_model(), threads=1).run(None, {"X": case.x})[0]
    memo = runtime.session(case.reuse_model(memo_bytes=SIZES[0]), threads=1)
    for _ in range(2):
        np.testing.assert_array_equal(memo.run(None, {"X": case.x})[0], plain)


def test_addend_is_no_part_of_what_is_kept() -> None:
    case = case_of(1, 32, 32, (16, 16), 3, 1)
    case.addend = np.zeros((1, 32, 16, 16), np.float32)
    plain = runtime.session(case.reuse_model(), threads=1)
    memo = runtime.session(case.reuse_model(memo_bytes=SIZES[0]), threads=1)
    for addend in (case.addend, case.addend + 1):
        feeds = {"X": case.x, "A": addend}
        assert memo.run(None, feeds)[0].tobytes() == plain.run(None, feeds)[0].tobytes()


def test_concurrent_callers_get_their_own_results() -> None:
    case = case_of(1, 48, 48, (40, 40), 3, 1)
    film = frames(case)
    expected = [case.run(case.reuse_model(), x=frame)[0].tobytes() for frame in film]
    memo = runtime.session(case.reuse_model(memo_bytes=SIZES[1]), threads=2)
    with ThreadPoolExecutor(4) as pool:
        order = [index % len(film) for index in range(48)]
        results = list(pool.map(lambda index: memo.run(None, {"X": film[index]})[0].tobytes(), order))
    assert results == [expected[index] for index in order]


def test_rewrite_shares_the_memory_by_the_size_of_the_outputs() -> None:
    net = Net()
    net.conv("x", "a", 8, 64)
    net.node("MaxPool", ["a"], "b", kernel_shape=[2, 2], strides=[2, 2])
    net.conv("b", "c", 64, 128)
    net.conv("c", "d", 128, 32, kernel=1)
    result = rewrite(net.model("d"), memo_bytes=96 << 20)
    found = {node.name: attributes(node).get("memo_bytes", 0) for node in result.to_proto().graph.node}
    assert found == {"a": 64 << 20, "b": 0, "c": 32 << 20, "d": 0}
    assert result.report.notes[0] == "nodes that keep results from call to call: 2, in up to 96 MiB"
    with pytest.raises(DrpassError, match="memo_bytes can't be -1"):
        rewrite(net.model("d"), memo_bytes=-1)

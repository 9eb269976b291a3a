"""The memo on CUDA: the same bytes as without, whatever came before, however little room there is, and whoever calls.

That tiles are found in it, and which, is shown by tests/cuda_memo.cu.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import cuda_device
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from operator_models import Case, alike, block, forced_kernels, session
from test_cuda import SEEDS
from test_cuda_half import in_half
from test_memo import frames
from test_operator_kernels import convolutions
from test_winograd import case_of

pytestmark = cuda_device.needs_cuda

#: Room for everything, and for one set of tiles.
ENOUGH, ONE_SET = 1 << 20, 30_000


@pytest.mark.skipif(cuda_device.has_gpu(), reason="the program is built for the emulator")
@pytest.mark.parametrize("seed", SEEDS)
def test_tiles_are_found_kept_and_forgotten_as_they_should(seed: int) -> None:
    done = cuda_device.run_emulated("drpass_cuda_memo", seed)
    assert (done.returncode, done.stdout) == (0, "all as expected\n"), done.stderr


@pytest.mark.parametrize("memo_bytes", [ENOUGH, ONE_SET])
@pytest.mark.parametrize(
    ("x_layout", "y_layout", "outputs", "half"),
    [
        ("NCHW", "NCHW", 12, False),
        ("NCHW16c", "NCHW16c", 40, False),
        ("NCHW", "NCHW16c", 20, True),
        ("NCHW16c", "NCHW", 12, True),
    ],
)
def test_bytes_are_those_without(memo_bytes: int, x_layout: str, y_layout: str, outputs: int, half: bool) -> None:
    case = case_of(2, 5, outputs, (15, 18), 3, 1)
    film = frames(case)
    if x_layout == "NCHW16c":
        film = [block(frame) for frame in film]
        case = replace(case, x=film[0])
    models = [case.reuse_model(memo_bytes=size, x_layout=x_layout, y_layout=y_layout) for size in (0, memo_bytes)]
    if half:
        models, film = [in_half(model) for model in models], [frame.astype(np.float16) for frame in film]
    with forced_kernels("cuda"):
        plain, memo = (session(model) for model in models)
    for index, frame in enumerate(film):
        with cuda_device.schedule(SEEDS[index % len(SEEDS)]):
            actual = memo.run(None, {"X": frame})[0]
        assert actual.tobytes() == plain.run(None, {"X": frame})[0].tobytes()


@settings(max_examples=20)
@given(convolutions(), st.sampled_from(SEEDS))
def test_bytes_are_those_without_for_any_convolution(case: Case, seed: int) -> None:
    with forced_kernels("cuda"):
        plain, memo = (session(case.reuse_model(memo_bytes=size)) for size in (0, ENOUGH))
    feeds = {"X": case.x} | ({} if case.addend is None else {"A": case.addend})
    expected = plain.run(None, feeds)[0].tobytes()
    with cuda_device.schedule(seed):
        assert [memo.run(None, feeds)[0].tobytes() for _ in range(2)] == [expected] * 2


@pytest.mark.parametrize("parameters", [{"method": "grid", "step": 0.5}, {"allow_tf32": 1}])
def test_nodes_that_have_none_accept_it(parameters: dict[str, Any]) -> None:
    rng = np.random.default_rng(6)
    case = Case(alike(rng, (2, 6, 12, 12)), rng.normal(size=(20, 6, 3, 3)).astype(np.float32))
    with forced_kernels("cuda"):
        plain, memo = (session(case.reuse_model(memo_bytes=size, **parameters)) for size in (0, ENOUGH))
    for frame in (case.x, case.x + 1, case.x):
        assert memo.run(None, {"X": frame})[0].tobytes() == plain.run(None, {"X": frame})[0].tobytes()


def test_nothing_is_kept_where_weights_may_change() -> None:
    case = case_of(1, 5, 12, (12, 12), 3, 1)
    model = onnx.ModelProto.FromString(case.reuse_model(memo_bytes=ENOUGH))
    initializers = model.graph.initializer
    index = [constant.name for constant in initializers].index("W")
    weights = numpy_helper.to_array(initializers.pop(index))
    model.graph.input.append(helper.make_tensor_value_info("W", TensorProto.FLOAT, weights.shape))
    with forced_kernels("cuda"):
        plain, memo = session(case.reuse_model()), session(model.SerializeToString())
    expected = plain.run(None, {"X": case.x})[0]
    assert memo.run(None, {"X": case.x, "W": 0 * weights})[0].tobytes() != expected.tobytes()
    assert memo.run(None, {"X": case.x, "W": weights})[0].tobytes() == expected.tobytes()


def test_special_values_are_kept_as_they_are() -> None:
    case = replace(case_of(1, 5, 12, (12, 12), 5, 2), activation="none")
    case.x[0, 3, 4, 5], case.x[0, 1, 11, 11], case.x[0, :, 0, 0] = np.nan, np.inf, -0.0
    with forced_kernels("cuda"):
        plain, memo = (session(case.reuse_model(memo_bytes=size)) for size in (0, ENOUGH))
    expected = plain.run(None, {"X": case.x})[0].tobytes()
    assert [memo.run(None, {"X": case.x})[0].tobytes() for _ in range(3)] == [expected] * 3


def test_windows_of_the_same_values_are_not_the_same() -> None:
    mirrored, flat = case_of(1, 3, 12, (8, 8), 3, 1), case_of(1, 3, 12, (8, 8), 3, 0)
    flat.x[:] = 1  # tiles of 4 rows and 2 columns, and of 2 rows and 4 columns
    for case, film in ((mirrored, [mirrored.x, mirrored.x[..., ::-1].copy()]), (flat, [flat.x] * 2)):
        with forced_kernels("cuda"):
            plain, memo = (session(case.reuse_model(memo_bytes=size)) for size in (0, ENOUGH))
        for frame in film:
            assert memo.run(None, {"X": frame})[0].tobytes() == plain.run(None, {"X": frame})[0].tobytes()


def test_concurrent_callers_get_their_own_results() -> None:
    case = case_of(1, 5, 12, (16, 16), 3, 1)
    film = frames(case)
    with forced_kernels("cuda"):
        plain, memo = (session(case.reuse_model(memo_bytes=size)) for size in (0, ONE_SET))
    expected = [plain.run(None, {"X": frame})[0].tobytes() for frame in film]
    with ThreadPoolExecutor(4) as pool:
        order = [index % len(film) for index in range(24)]
        results = list(pool.map(lambda index: memo.run(None, {"X": film[index]})[0].tobytes(), order))
    assert results == [expected[index] for index in order]


def test_too_little_memory_is_no_memo_and_no_error() -> None:
    case = case_of(1, 5, 12, (12, 12), 3, 1)
    with forced_kernels("cuda"):
        plain = session(case.reuse_model())
        model = case.reuse_model(memo_bytes=2_000_000)
        memo = session(model, gpu_mem_limit="1000000", arena_extend_strategy="kSameAsRequested")
    for _ in range(2):
        assert memo.run(None, {"X": case.x})[0].tobytes() == plain.run(None, {"X": case.x})[0].tobytes()

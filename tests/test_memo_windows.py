"""Windows that a memo begins with: the first call finds their results, and no output has other bytes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, helper, numpy_helper
from operator_models import block, forced_kernels, runnable_kernel_sets
from test_winograd import case_of

from drpass import rewrite, runtime
from drpass.errors import DrpassError
from drpass.stages import collected, collecting

MEMO = 8 << 20


def windows_of(x: np.ndarray, kernel: int, pad: int) -> np.ndarray:
    """All windows of tiles of 4x4 outputs that lie in the image, [count, blocks, n, n, 16]."""
    blocks, n = block(x), kernel + 3
    origins = [range(-pad % 4, size - n + 1, 4) for size in x.shape[2:]]
    return np.stack([image[:, i : i + n, j : j + n] for image in blocks for i in origins[0] for j in origins[1]])


def with_windows(model: bytes, windows: np.ndarray | AttributeProto) -> bytes:
    proto = onnx.ModelProto.FromString(model)
    if isinstance(windows, np.ndarray):
        windows = helper.make_attribute("memo_windows", numpy_helper.from_array(windows))
    proto.graph.node[0].attribute.append(windows)
    return proto.SerializeToString()


def recalled(model: bytes, x: np.ndarray, calls: int = 1, name: str = "X") -> tuple[bytes, int]:
    """The output of the last of some calls of a new session, and how many tiles all of them found in the memo."""
    session = runtime.session(model, threads=2)
    with collecting() as library:
        outputs = [session.run(None, {name: x})[0] for _ in range(calls)]
        found = sum(entry["recalled"] for entry in collected(library))
    return outputs[-1].tobytes(), found


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize(("x_layout", "y_layout"), [("NCHW", "NCHW"), ("NCHW16c", "NCHW"), ("NCHW16c", "NCHW16c")])
def test_first_call_finds_every_window_that_the_file_has(kernel: int, x_layout: str, y_layout: str) -> None:
    case = case_of(2, 40, 72, (19, 26), kernel, 1)
    windows = windows_of(case.x, kernel, 1)
    if x_layout == "NCHW16c":
        case = replace(case, x=block(case.x))
    layouts = {"x_layout": x_layout, "y_layout": y_layout}
    for kernels in runnable_kernel_sets()[1:]:  # the scalar reference has no memo
        with forced_kernels(kernels):
            plain = case.run(case.reuse_model(**layouts))[0]
            cold = case.reuse_model(memo_bytes=MEMO, **layouts)
            assert recalled(cold, case.x) == (plain.tobytes(), 0), kernels
            assert recalled(with_windows(cold, windows), case.x) == (plain.tobytes(), len(windows)), kernels


@pytest.mark.parametrize("disturb", ["other", "NaN", "infinite", "huge", "lanes of no channel", "none"])
def test_bytes_do_not_depend_on_what_the_windows_hold(disturb: str) -> None:
    case = case_of(1, 40, 40, (16, 16), 3, 1)
    plain = case.run(case.reuse_model())[0]
    windows = windows_of(case.x, 3, 1)
    match disturb:
        case "other":
            windows = windows + 1
        case "NaN" | "infinite" | "huge":
            windows[:, 0, 2, 2, 3] = {"NaN": np.nan, "infinite": np.inf, "huge": 3e38}[disturb]
        case "lanes of no channel":
            windows[:, -1, :, :, 8:] = 7
        case "none":
            windows = windows[:0]
    model = with_windows(case.reuse_model(memo_bytes=MEMO), windows.astype(np.float32))
    assert recalled(model, case.x) == (plain.tobytes(), 0)
    assert recalled(model, case.x, calls=2)[0] == plain.tobytes()


def test_special_values_begin_as_they_are_computed() -> None:
    case = replace(case_of(1, 32, 32, (16, 16), 3, 1), activation="none")
    case.x[0, 3, 7, 8], case.x[0, 30, 9, 9] = np.nan, np.inf
    plain = case.run(case.reuse_model())[0]
    model = with_windows(case.reuse_model(memo_bytes=MEMO), windows_of(case.x, 3, 1))
    actual = runtime.session(model, threads=1).run(None, {"X": case.x})[0]
    np.testing.assert_array_equal(actual, plain)


def test_windows_are_evicted_as_any_other_entry() -> None:
    case = case_of(1, 32, 32, (40, 40), 3, 1)
    windows = windows_of(case.x, 3, 1)
    plain = case.run(case.reuse_model())[0]
    room = 16 * (32 * 16 * 4 + 24)  # two sets of eight results
    model = with_windows(case.reuse_model(memo_bytes=room), windows)
    output, found = recalled(model, case.x)
    assert output == plain.tobytes()
    assert 0 < found <= 16 < len(windows)
    # Another image takes the room of the windows.
    session = runtime.session(model, threads=1)
    session.run(None, {"X": case.x + 1})
    with collecting() as library:
        assert session.run(None, {"X": case.x})[0].tobytes() == plain.tobytes()
        assert collected(library)[0]["recalled"] == 0


def test_concurrent_callers_of_a_warm_memo_get_their_own_results() -> None:
    case = case_of(1, 48, 48, (40, 40), 3, 1)
    film = [case.x, np.roll(case.x, 4, axis=3), case.x + 1]
    expected = [case.run(case.reuse_model(), x=frame)[0].tobytes() for frame in film]
    memo = runtime.session(with_windows(case.reuse_model(memo_bytes=200_000), windows_of(case.x, 3, 1)), threads=2)
    with ThreadPoolExecutor(4) as pool:
        order = [index % len(film) for index in range(36)]
        results = list(pool.map(lambda index: memo.run(None, {"X": film[index]})[0].tobytes(), order))
    assert results == [expected[index] for index in order]


def damaged(**changes: int | bytes) -> AttributeProto:
    """Fields of a good tensor changed; ``rows``: the first of its dimensions."""
    tensor = numpy_helper.from_array(np.zeros((4, 2, 6, 6, 16), np.float32))
    for name, value in changes.items():
        if name == "rows":
            tensor.dims[0] = value
        else:
            setattr(tensor, name, value)
    return helper.make_attribute("memo_windows", tensor)


_NO_TENSOR = "memo_windows must be a tensor of float, as large as its shape says"


@pytest.mark.parametrize(
    ("windows", "message"),
    [
        (np.zeros((4, 2, 6, 6, 16)), _NO_TENSOR),
        (np.zeros((4, 3, 6, 6, 16), np.float32), r"has shape \[4, 3, 6, 6, 16\], but \[4, 2, 6, 6, 16\] was expected"),
        (np.zeros((4, 2, 8, 8, 16), np.float32), r"has shape \[4, 2, 8, 8, 16\], but \[4, 2, 6, 6, 16\] was expected"),
        (np.zeros(5, np.float32), r"has shape \[5\], but \[5, 2, 6, 6, 16\] was expected"),
        (np.zeros((), np.float32), r"has shape \[\], but \[0, 2, 6, 6, 16\] was expected"),
        (damaged(rows=1 << 16), _NO_TENSOR),
        pytest.param(damaged(rows=1 << 50), _NO_TENSOR, id="beyond_all_memory"),  # a sanitizer ends the process for it
        (damaged(rows=-1), "dimension"),
        (damaged(raw_data=b"1234"), _NO_TENSOR),
        (damaged(data_type=99), _NO_TENSOR),
        (helper.make_attribute("memo_windows", 3), _NO_TENSOR),
        (helper.make_attribute("memo_windows", [1.0, 2.0]), _NO_TENSOR),
    ],
)
def test_windows_that_are_none_are_refused_when_the_session_is_created(
    windows: np.ndarray | AttributeProto, message: str
) -> None:
    case = case_of(1, 32, 32, (16, 16), 3, 1)
    with pytest.raises(DrpassError, match=message):
        runtime.session(with_windows(case.reuse_model(memo_bytes=MEMO), windows))


def test_schema_refuses_windows_of_another_shape() -> None:
    case = case_of(1, 32, 32, (16, 16), 3, 1)
    model = with_windows(case.reuse_model(memo_bytes=MEMO), np.zeros((4, 3, 6, 6, 16), np.float32))
    with pytest.raises(DrpassError, match="memo_windows has shape"):
        rewrite(onnx.ModelProto.FromString(model))


@pytest.mark.parametrize("parameters", [{"memo_bytes": 0}, {"memo_bytes": 1}, {"winograd": 0}, {"memo_bytes": 5 << 30}])
def test_windows_without_a_memo_that_can_begin_warm_change_nothing(parameters: dict[str, int]) -> None:
    case = case_of(1, 32, 32, (16, 16), 3, 1)
    plain = case.run(case.reuse_model(**parameters))[0]
    model = with_windows(case.reuse_model(**{"memo_bytes": MEMO, **parameters}), windows_of(case.x, 3, 1))
    assert recalled(model, case.x) == (plain.tobytes(), 0)


def test_running_bias_is_not_kept() -> None:
    case = case_of(1, 32, 32, (16, 16), 3, 1)
    proto = onnx.ModelProto.FromString(with_windows(case.reuse_model(memo_bytes=MEMO), windows_of(case.x, 3, 1)))
    bias = next(item for item in proto.graph.initializer if item.name == "B")
    proto.graph.input.append(helper.make_tensor_value_info("B", bias.data_type, bias.dims))  # may be overridden
    session = runtime.session(proto.SerializeToString())
    for add in (0, 1, 2):
        changed = replace(case, bias=case.bias + np.float32(add))
        actual = session.run(None, {"X": case.x, "B": changed.bias})[0]
        assert actual.tobytes() == changed.run(changed.reuse_model())[0].tobytes()

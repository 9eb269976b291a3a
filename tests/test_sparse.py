"""The direct product that skips zeros: where it is chosen, and that it gives what the dense operators give."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from operator_models import Case, block, forced_kernels, runnable_kernel_sets, session

from drpass import stages

BLOCKS = {"x_layout": "NCHW16c", "y_layout": "NCHW16c"}


def mostly_zero(rng: np.random.Generator, shape: tuple[int, ...], share: float = 0.05) -> np.ndarray:
    """Values of which `share` are not zero."""
    return (rng.normal(size=shape) * (rng.random(shape) < share)).astype(np.float32)


def convolution(channels: int = 64, outputs: int = 144, kernel: int = 3, size: int = 16, images: int = 1) -> Case:
    rng = np.random.default_rng(channels + outputs + kernel)
    weights = rng.normal(size=(outputs, channels, kernel, kernel)).astype(np.float32)
    bias = rng.normal(size=outputs).astype(np.float32)
    x = mostly_zero(rng, (images, channels, size, size))
    return Case(x, weights, bias, attributes={"pads": [kernel // 2] * 4}, activation="relu")


def in_blocks(case: Case) -> Case:
    """The same with X, and an addend, in NCHW16c."""
    addend = block(case.addend) if case.addend is not None else None
    return replace(case, x=block(case.x), addend=addend)


def skipped(model: bytes, x: np.ndarray, threads: int = 1) -> bool:
    """Whether any image was computed from lists of what is not zero."""
    entry = collect(model, x, threads)
    assert bool(entry["skipped"]) == bool(entry["nanoseconds"]["list"])
    return bool(entry["skipped"])


def collect(model: bytes, x: np.ndarray, threads: int = 1) -> dict[str, Any]:
    """What the library says of one call."""
    with stages.collecting() as library:
        live = session(model, threads)
        live.run(None, {"X": x})
        (entry,) = stages.collected(library)
    return entry


@st.composite
def cases(draw: st.DrawFn) -> Case:
    group = draw(st.sampled_from([1, 1, 2]))
    inputs = draw(st.sampled_from([32, 48, 160] if group > 1 else [160, 41, 64, 32]))
    outputs = group * draw(st.sampled_from([48, 80, 144] if group > 1 else [208, 130, 64, 23]))
    rank = draw(st.integers(1, 3))
    kernel = [draw(st.integers(1, 3)) for _ in range(rank)]
    strides, dilations = ([draw(st.integers(1, 2)) for _ in range(rank)] for _ in range(2))
    pads = [draw(st.integers(0, 2)) for _ in range(2 * rank)]
    size = [draw(st.integers(*((100, 300), (9, 18), (5, 8))[rank - 1])) for _ in range(rank)]
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    x = mostly_zero(rng, (draw(st.integers(1, 3)), group * inputs, *size), draw(st.sampled_from([0.02, 0.0, 0.1])))
    weights = rng.normal(size=(outputs, inputs, *kernel)).astype(np.float32)
    bias = rng.normal(size=outputs).astype(np.float32) if draw(st.booleans()) else None
    attributes = {"group": group, "strides": strides, "dilations": dilations, "pads": pads}
    return Case(x, weights, bias, None, attributes, draw(st.sampled_from(["none", "relu", "silu"])))


@settings(max_examples=40)
@given(cases())
def test_images_of_zeros_give_what_onnxruntime_gives_in_every_kernel_set(case: Case) -> None:
    expected = case.run(case.conv_model())[0]
    blocked = in_blocks(case)
    for kernels in runnable_kernel_sets():
        with forced_kernels(kernels):
            actual = blocked.run(blocked.reuse_model(x_layout="NCHW16c"))[0]
            np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=case.rounding(), err_msg=kernels)
            if case.weights.shape[0] // case.attributes["group"] % 16 == 0:
                also = blocked.run(blocked.reuse_model(**BLOCKS))[0]
                assert also.tobytes() == block(actual).tobytes(), kernels


@settings(max_examples=20)
@given(
    st.sampled_from([32, 64, 208]), st.integers(1, 150), st.integers(30, 200), st.sampled_from([0.0, 0.03, 0.2, 1.0])
)
def test_matrix_of_zeros_gives_what_numpy_gives(inputs: int, outputs: int, rows: int, share: float) -> None:
    rng = np.random.default_rng(inputs * outputs + rows)
    weights = rng.normal(size=(outputs, inputs)).astype(np.float32)
    case = Case(mostly_zero(rng, (2, rows, inputs), share), weights)
    expected = case.x.astype(np.float64) @ weights.T
    for kernels in runnable_kernel_sets():
        with forced_kernels(kernels):
            actual = case.run(case.reuse_model())[0]
            np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=case.rounding(), err_msg=kernels)


@pytest.mark.parametrize(
    ("share", "kernel", "parameters", "expected"),
    [
        (0.05, 3, {**BLOCKS, "winograd": 0}, True),
        (0.05, 1, BLOCKS, True),
        (0.0, 3, BLOCKS, True),
        (1.0, 3, BLOCKS, False),
        (1.0, 1, BLOCKS, False),
        (0.05, 3, {**BLOCKS, "skip_zeros": 0}, False),
        (0.05, 3, {}, False),  # channels of a pixel do not lie side by side
        (0.05, 1, {"method": "grid", **BLOCKS, "max_remaining_ratio": 1e-6}, True),  # where all of it is dense
    ],
)
def test_zeros_are_skipped_where_that_is_expected_to_gain(
    share: float, kernel: int, parameters: dict[str, Any], expected: bool
) -> None:
    case = convolution(kernel=kernel, size=40)
    case.x = mostly_zero(np.random.default_rng(1), case.x.shape, share)
    case = in_blocks(case) if "x_layout" in parameters else case
    assert skipped(case.reuse_model(**parameters), case.x) == expected


def test_stages_say_how_many_zeros_there_were_and_which_images_were_computed_without_them() -> None:
    case = convolution(images=4, size=10)
    case.x[:] = 0
    case.x[3] = 1
    case = in_blocks(case)
    entry = collect(case.reuse_model(**BLOCKS), case.x)
    assert (entry["images"], entry["skipped"]) == (4, 3)
    assert entry["zeros"] / entry["sampled"] == 0.75


def test_few_channels_are_not_listed() -> None:
    case = in_blocks(convolution(channels=16))
    assert not skipped(case.reuse_model(**BLOCKS), case.x)


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("size", [5, 16, 80])  # a part of a tile, tiles shared by threads, tiles a task
def test_bytes_depend_neither_on_threads_nor_on_what_else_is_in_the_batch(size: int, kernel: int) -> None:
    case = convolution(kernel=kernel, size=size, images=5)
    rng = np.random.default_rng(0)
    case.x[1] = rng.normal(size=case.x.shape[1:])  # not mostly zero
    case.x[4] = rng.normal(size=case.x.shape[1:])
    case = in_blocks(case)
    model = case.reuse_model(**BLOCKS)
    for kernels in runnable_kernel_sets():
        if kernels == "reference" and size > 16:
            continue  # it takes its time, and knows no tasks
        with forced_kernels(kernels):
            whole = case.run(model)[0]
            assert case.run(model, threads=3)[0].tobytes() == whole.tobytes(), kernels
            for image in range(len(whole)):
                alone = case.run(model, x=case.x[image : image + 1])[0]
                assert alone.tobytes() == whole[image].tobytes(), (kernels, image)


def test_memo_changes_no_byte_of_images_of_zeros() -> None:
    case = in_blocks(convolution(images=3))
    plain = case.run(case.reuse_model(**BLOCKS))[0]
    live = session(case.reuse_model(**BLOCKS, memo_bytes=1 << 20))
    assert [live.run(None, {"X": case.x})[0].tobytes() for _ in range(2)] == [plain.tobytes()] * 2


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["x", "weights"])
def test_what_is_not_finite_reaches_what_it_reaches_in_onnxruntime(where: str, value: float) -> None:
    """A weight that is not finite gives NaN with a zero, so zeros can't be skipped then."""
    case = convolution(kernel=1, size=12)
    case = replace(case, activation="none", bias=None)
    rounding = case.rounding()
    getattr(case, where)[0, 3] = value
    expected = case.run(case.conv_model())[0]
    assert not np.isfinite(expected).all()
    blocked = in_blocks(case)
    for kernels in runnable_kernel_sets():
        with forced_kernels(kernels):
            actual = blocked.run(blocked.reuse_model(x_layout="NCHW16c"))[0]
            np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=rounding, err_msg=kernels)


def test_addend_is_added_in_blocks() -> None:
    case = convolution()
    case.addend = np.random.default_rng(3).normal(size=(1, 144, 16, 16)).astype(np.float32)
    expected = case.run(case.conv_model())[0]
    blocked = in_blocks(case)
    actual = blocked.run(blocked.reuse_model(**BLOCKS))[0]
    np.testing.assert_allclose(actual, block(expected), rtol=1e-5, atol=case.rounding())

"""The direct product where it is cut in its own way: strips of few input channels, small images by their outputs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from operator_models import ACTIVATIONS, Case, block, forced_kernels, runnable_kernel_sets

#: Strips have at least this many columns (custom_ops/core/strips.cpp); with fewer the patch is gathered.
SHORTEST = 8


@st.composite
def first_layers(draw: st.DrawFn) -> Case:
    """Few channels, overlapping windows, and rows of at least `SHORTEST` outputs."""
    kernel = [draw(st.integers(1, 7)), draw(st.integers(2, 11))]
    dilations = [draw(st.integers(1, 2)), draw(st.sampled_from([1, 1, 1, 2, 3]))]
    reach = [(k - 1) * d for k, d in zip(kernel, dilations, strict=True)]
    strides = [draw(st.integers(1, max(1, min(4, reach[0])))), draw(st.integers(1, 5))]
    pads = [draw(st.integers(0, 5)) for _ in range(4)]
    rows, columns = draw(st.integers(1, 20)), draw(st.sampled_from([SHORTEST, 11, 12, 13, 55, 96, 97, 200, 481]))
    height = max(1, (rows - 1) * strides[0] + reach[0] + 1 - pads[0] - pads[2])
    width = max(1, (columns - 1) * strides[1] + reach[1] + 1 - pads[1] - pads[3] + draw(st.integers(0, strides[1] - 1)))
    group = draw(st.sampled_from([1, 1, 2]))
    inputs, outputs = draw(st.integers(1, 4)), group * draw(st.sampled_from([16, 17, 48]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    weights = rng.normal(size=(outputs, inputs, *kernel)).astype(np.float32)
    x = rng.normal(size=(draw(st.integers(1, 2)), group * inputs, height, width)).astype(np.float32)
    attributes = {"group": group, "strides": strides, "dilations": dilations, "pads": pads}
    activation = draw(st.sampled_from(list(ACTIVATIONS)))
    parameters = ACTIVATIONS[activation]
    return Case(x, weights, rng.normal(size=outputs).astype(np.float32), None, attributes, activation, parameters)


@settings(max_examples=30)
@given(first_layers())
def test_first_layer_equals_onnxruntime_in_every_kernel_set_and_layout(case: Case) -> None:
    expected = case.run(case.conv_model())[0]
    blocked = case.weights.shape[0] // case.attributes["group"] % 16 == 0
    for kernels in runnable_kernel_sets():
        with forced_kernels(kernels):
            actual = case.run(case.reuse_model(winograd=0))[0]
            np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=case.rounding(), err_msg=kernels)
            if blocked:
                in_blocks = case.run(case.reuse_model(winograd=0, y_layout="NCHW16c"))[0]
                assert in_blocks.tobytes() == block(actual).tobytes(), kernels


@settings(max_examples=15)
@given(first_layers())
def test_first_layer_has_the_same_bytes_for_any_threads_and_batch_split(case: Case) -> None:
    model = case.reuse_model(winograd=0)
    whole = case.run(model)[0]
    assert case.run(model, threads=3)[0].tobytes() == whole.tobytes()
    for image in range(len(case.x)):
        assert case.run(model, x=case.x[image : image + 1])[0].tobytes() == whole[image].tobytes()


@pytest.mark.parametrize("stride", [1, 2, 3, 4])
def test_strip_has_the_bytes_of_a_gathered_patch(stride: int) -> None:
    """The first columns of a long row are those of an image that is cut to a row too short for strips."""
    rng = np.random.default_rng(stride)
    x = rng.normal(size=(1, 3, 23, 150)).astype(np.float32)
    weights = rng.normal(size=(40, 3, 7, 6)).astype(np.float32)
    case = Case(x, weights, None, None, {"strides": [2, stride], "pads": [3, 2, 3, 0]}, "none")
    columns = SHORTEST - 1
    cut = x[..., : (columns - 1) * stride + 6 - 2]
    for kernels in runnable_kernel_sets():
        with forced_kernels(kernels):
            model = case.reuse_model(winograd=0)
            short = case.run(model, x=np.ascontiguousarray(cut))[0]
            assert short.shape[-1] == columns
            assert case.run(model)[0][..., :columns].tobytes() == short.tobytes(), kernels


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_special_values_of_a_first_layer_reach_what_they_reach_in_the_reference(activation: str) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 3, 20, 31)).astype(np.float32)
    x[0, 1, 3, 4], x[0, 2, 19, 30], x[1, 0, 0, 0], x[1, 0, 9, 9] = np.nan, np.inf, -np.inf, -0.0
    weights = rng.normal(size=(32, 3, 3, 3)).astype(np.float32)
    attributes = {"strides": [2, 2], "pads": [1, 1, 1, 1]}
    case = Case(x, weights, None, None, attributes, activation, ACTIVATIONS[activation])
    with forced_kernels("reference"):
        expected = case.run(case.reuse_model(y_layout="NCHW16c"))[0]
    assert np.isnan(expected).any()
    for kernels in runnable_kernel_sets():
        with forced_kernels(kernels):
            actual = case.run(case.reuse_model(y_layout="NCHW16c"))[0]
        np.testing.assert_array_equal(np.isnan(actual), np.isnan(expected), err_msg=kernels)
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=case.rounding(), err_msg=kernels)


@pytest.mark.parametrize("shape", [(0, 3, 20, 20), (2, 3, 0, 20)], ids=str)
def test_first_layer_of_nothing_is_nothing(shape: tuple[int, ...]) -> None:
    weights = np.ones((32, 3, 3, 3), np.float32)
    case = Case(np.zeros(shape, np.float32), weights, None, None, {"pads": [1, 1, 1, 1], "strides": [2, 2]})
    actual = case.run(case.reuse_model())[0]
    assert actual.shape == (shape[0], 32, (shape[2] + 1) // 2, 10)
    assert actual.size == 0


@pytest.mark.parametrize(("size", "kernel"), [(1, 3), (2, 3), (4, 3), (13, 1), (11, 1)])
@pytest.mark.parametrize("layout", ["NCHW", "NCHW16c"])
def test_small_image_that_is_shared_out_by_outputs_has_the_same_bytes(size: int, kernel: int, layout: str) -> None:
    rng = np.random.default_rng(size)
    x = np.maximum(rng.normal(size=(3, 256, size, size)), 0).astype(np.float32)
    weights = (rng.normal(size=(520, 256, kernel, kernel)) / 48).astype(np.float32)
    case = Case(x, weights, rng.normal(size=520).astype(np.float32), None, {"pads": [kernel // 2] * 4}, "relu")
    expected = case.run(case.conv_model())[0]
    if layout == "NCHW16c":
        case = replace(case, x=block(x))
    for kernels in runnable_kernel_sets()[1:]:  # the reference shares nothing out
        with forced_kernels(kernels):
            model = case.reuse_model(x_layout=layout)
            whole = case.run(model)[0]
            np.testing.assert_allclose(whole, expected, rtol=1e-5, atol=1e-5, err_msg=kernels)
            assert case.run(model, threads=3)[0].tobytes() == whole.tobytes(), kernels
            for image in range(3):
                one = case.run(model, x=case.x[image : image + 1])[0]
                assert one.tobytes() == whole[image].tobytes(), kernels

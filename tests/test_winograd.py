"""Winograd's filtering in the dense part: exact to rounding, and special where the direct product is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from operator_models import Case, forced_kernels, runnable_kernel_sets


def case_of(batch: int, inputs: int, outputs: int, size: tuple[int, int], kernel: int, pad: int, seed: int = 0) -> Case:
    rng = np.random.default_rng(seed)
    x = np.maximum(rng.normal(size=(batch, inputs, *size)), 0).astype(np.float32)
    weights = (rng.normal(size=(outputs, inputs, kernel, kernel)) / np.sqrt(inputs * kernel**2)).astype(np.float32)
    return Case(x, weights, rng.normal(size=outputs).astype(np.float32), None, {"pads": [pad] * 4}, "relu")


def double_precision(case: Case) -> np.ndarray:
    """The convolution without its activation, in double."""
    pad, kernel = case.attributes["pads"][0], case.kernel[0]
    x = np.pad(case.x.astype(np.float64), [(0, 0), (0, 0), (pad, pad), (pad, pad)])
    windows = np.lib.stride_tricks.sliding_window_view(x, (kernel, kernel), axis=(2, 3))
    assert case.bias is not None
    return np.einsum("ncyxij,mcij->nmyx", windows, case.weights.astype(np.float64)) + case.bias[:, None, None]


@settings(max_examples=40)
@given(
    st.integers(1, 3),
    st.sampled_from([16, 20, 48, 80, 130]),
    st.sampled_from([16, 33, 64]),
    st.tuples(st.integers(8, 21), st.integers(8, 21)),
    st.sampled_from([3, 5]),
    st.integers(0, 2),
)
def test_error_is_that_of_the_documentation(
    batch: int, inputs: int, outputs: int, size: tuple[int, int], kernel: int, pad: int
) -> None:
    case = replace(case_of(batch, inputs, outputs, size, kernel, pad), activation="none")
    expected = double_precision(case)
    direct = case.run(case.reuse_model(winograd=0))[0]
    for kernels in runnable_kernel_sets():
        with forced_kernels(kernels):
            actual = case.run(case.reuse_model())[0]
        limit = (4e-6 if kernel == 3 else 2e-5) * np.abs(expected).max()
        np.testing.assert_allclose(actual, expected, rtol=0, atol=limit, err_msg=kernels)
        if kernels != "reference" and inputs >= 48 and outputs == 64 and min(size) >= 16:
            assert actual.tobytes() != direct.tobytes(), "Winograd was not used"


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize(("inputs", "outputs", "size"), [(64, 64, (30, 26)), (160, 48, (13, 17)), (300, 500, (9, 9))])
def test_same_bytes_for_any_threads_and_batch_split(
    kernel: int, inputs: int, outputs: int, size: tuple[int, int]
) -> None:
    case = case_of(5, inputs, outputs, size, kernel, 1)
    model = case.reuse_model()
    whole = case.run(model)[0]
    for threads in (2, 3):
        assert case.run(model, threads=threads)[0].tobytes() == whole.tobytes()
    for image in range(5):
        assert case.run(model, x=case.x[image : image + 1])[0].tobytes() == whole[image].tobytes()


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("layout", ["NCHW", "NCHW16c"])
def test_special_values_reach_what_they_reach_directly(kernel: int, layout: str) -> None:
    case = replace(case_of(2, 32, 40, (19, 22), kernel, kernel // 2), activation="none")
    case.x[0, 3, 4, 5], case.x[0, 30, 18, 21], case.x[1, 0, 0, 0] = np.nan, np.inf, -np.inf
    case.x[1, 7, 10, 10] = 3e38  # the transforms overflow, the products do not
    for kernels in runnable_kernel_sets():
        with forced_kernels(kernels):
            direct = case.run(case.reuse_model(winograd=0, y_layout=layout))[0]
            actual = case.run(case.reuse_model(y_layout=layout))[0]
        np.testing.assert_array_equal(np.isnan(actual), np.isnan(direct), err_msg=kernels)
        np.testing.assert_array_equal(np.isinf(actual), np.isinf(direct), err_msg=kernels)
        finite = np.isfinite(direct) & (np.abs(direct) < 1e30)
        np.testing.assert_allclose(actual[finite], direct[finite], rtol=1e-4, atol=1e-4, err_msg=kernels)


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("size", [(30, 26), (9, 9)])
def test_weights_kept_by_the_session_give_the_same_bytes(kernel: int, size: tuple[int, int]) -> None:
    case = case_of(2, 40, 48, size, kernel, kernel // 2)
    constant = onnx.ModelProto.FromString(case.reuse_model())
    # An initializer that is also an input may be given anew in any call.
    replaceable = onnx.ModelProto.FromString(constant.SerializeToString())
    weights = next(value for value in constant.graph.initializer if value.name == "W")
    replaceable.graph.input.append(onnx.helper.make_tensor_value_info("W", weights.data_type, weights.dims))
    for kernels in runnable_kernel_sets():
        with forced_kernels(kernels):
            kept, computed = (case.run(model.SerializeToString())[0] for model in (constant, replaceable))
        assert kept.tobytes() == computed.tobytes(), kernels

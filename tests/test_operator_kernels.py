"""Every kernel set against the scalar reference, and `exact` against ONNX Runtime, over random geometries."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from operator_models import (
    ACTIVATIONS,
    KERNEL_SETS,
    Case,
    alike,
    forced_kernels,
    kernel_set_error,
    runnable_kernel_sets,
)

from drpass import runtime


@st.composite
def convolutions(draw: st.DrawFn) -> Case:
    rank = draw(st.integers(1, 3))
    group = draw(st.sampled_from([1, 1, 1, 2, 3]))
    batch, group_inputs = draw(st.integers(1, 5)), draw(st.integers(1, 9))
    outputs = group * draw(st.sampled_from([1, 2, 7, 16, 17, 40, 70]))
    kernel = [draw(st.integers(1, 4)) for _ in range(rank)]
    dilations = [draw(st.integers(1, 2)) for _ in range(rank)]
    strides = [draw(st.integers(1, 3)) for _ in range(rank)]
    sizes = [(k - 1) * d + 1 + draw(st.integers(0, (120, 14, 5)[rank - 1])) for k, d in zip(kernel, dilations)]
    attributes = {"group": group, "strides": strides, "dilations": dilations}
    pad = draw(st.sampled_from(["pads", "VALID", "SAME_UPPER", "SAME_LOWER"]))
    # ONNX Runtime refuses SAME_* with dilations.
    if pad == "pads" or max(dilations) > 1:
        attributes["pads"] = [draw(st.integers(0, 2)) for _ in range(2 * rank)]
    else:
        attributes["auto_pad"] = pad
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    activation = draw(st.sampled_from(list(ACTIVATIONS)))
    x = alike(rng, (batch, group * group_inputs, *sizes))
    if draw(st.booleans()):
        x[x < 0] = draw(st.sampled_from([0.0, -0.0]))
    weights = rng.normal(size=(outputs, group_inputs, *kernel)).astype(np.float32)
    bias = rng.normal(size=outputs).astype(np.float32) if draw(st.booleans()) else None
    case = Case(x, weights, bias, None, attributes, activation, ACTIVATIONS[activation])
    if draw(st.booleans()):
        y_shape = runtime.session(case.conv_model(), threads=1).run(None, {"X": x})[0].shape
        shape = [size if draw(st.booleans()) else 1 for size in y_shape][draw(st.integers(0, 1)) :]
        case.addend = rng.normal(size=shape).astype(np.float32)
    return case


@st.composite
def methods(draw: st.DrawFn) -> dict:
    method = draw(st.sampled_from(["exact", "lsh", "grid"]))
    if method == "exact":
        return {"method": method}
    parameters = {
        "method": method,
        "scope": draw(st.sampled_from(["image", "batch"])),
        "sub_vector_length": draw(st.integers(1, 10)),
        "max_remaining_ratio": draw(st.sampled_from([0.05, 0.5, 1.0])),
        "table_type": draw(st.sampled_from(["float", "int16"])),
    }
    if method == "grid":
        return dict(parameters, step=draw(st.sampled_from([0.01, 0.3, 1.0])))
    return dict(parameters, hash_bits=draw(st.sampled_from([1, 7, 32, 33, 64])), seed=draw(st.integers(0, 2**40)))


def run_with(kernels: str, case: Case, **parameters: object) -> list[np.ndarray]:
    with forced_kernels(kernels):
        return case.run(case.reuse_model(**parameters))


@pytest.mark.parametrize("kernels", KERNEL_SETS)
def test_forced_kernel_set_is_the_active_one(kernels: str) -> None:
    reason = kernel_set_error(kernels)
    if reason is not None:
        assert "this CPU can't run" in reason
        pytest.skip(reason)
    with forced_kernels(kernels):
        assert runtime.kernel_set() == kernels


def test_default_kernel_set_is_the_best_that_runs_here() -> None:
    with forced_kernels(None):
        assert runtime.kernel_set() == runnable_kernel_sets()[-1]


def test_unknown_kernel_set_is_refused_with_the_known_ones() -> None:
    with forced_kernels("sse9"), pytest.raises(runtime.DrpassError, match=r"must be one of reference, .*not 'sse9'"):
        runtime.kernel_set()


@settings(max_examples=150)
@given(convolutions())
def test_exact_equals_onnxruntime(case: Case) -> None:
    expected = case.run(case.conv_model())[0]
    for kernels in runnable_kernel_sets():
        actual = run_with(kernels, case)[0]
        assert actual.shape == expected.shape
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=case.rounding(), err_msg=kernels)


@settings(max_examples=250)
@given(convolutions(), methods())
def test_kernel_sets_agree_with_the_reference(case: Case, parameters: dict) -> None:
    expected, clusters = run_with("reference", case, stats=True, **parameters)
    for kernels in runnable_kernel_sets():
        actual, found = run_with(kernels, case, stats=True, **parameters)
        np.testing.assert_array_equal(found, clusters, err_msg=kernels)
        atol = case.tolerance(kernels, parameters)
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=atol, err_msg=kernels)


@settings(max_examples=60)
@given(convolutions(), methods())
def test_thread_counts_give_the_same_bytes(case: Case, parameters: dict) -> None:
    model = case.reuse_model(**parameters)
    results = [case.run(model, threads=threads)[0].tobytes() for threads in (1, 2, 3)]
    assert results[0] == results[1] == results[2]


def matrix_case(draw: Any, most_leading: int) -> tuple[Case, np.random.Generator, tuple[int, ...]]:
    """A case of the matrix form without an addend, X transposed in some; what made its numbers; the shape of Y."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    lead = draw(st.lists(st.integers(1, 3), max_size=most_leading))
    rows, inner, outputs = draw(st.integers(1, 200)), draw(st.integers(1, 40)), draw(st.integers(1, 70))
    transposed = not lead and draw(st.booleans())
    x = alike(rng, (inner, rows) if transposed else (*lead, rows, inner))
    case = Case(x, rng.normal(size=(outputs, inner)).astype(np.float32), rng.normal(size=outputs).astype(np.float32))
    if transposed:
        case.attributes["trans_a"] = 1
    return case, rng, (*lead, rows, outputs)


def matrix_product(case: Case) -> np.ndarray:
    """What a case of the matrix form must give, in double."""
    left = (case.x.T if "trans_a" in case.attributes else case.x).astype(np.float64)
    return left @ case.weights.T.astype(np.float64) + case.bias + (0 if case.addend is None else case.addend)


@settings(max_examples=60)
@given(st.data())
def test_matrix_form_equals_numpy(data: st.DataObject) -> None:
    draw = data.draw
    case, rng, (*_, rows, outputs) = matrix_case(draw, most_leading=2)
    if draw(st.booleans()):
        case.addend = rng.normal(size=(rows, 1) if draw(st.booleans()) else (outputs,)).astype(np.float32)
    expected = matrix_product(case)
    parameters = draw(methods())
    reference, clusters = run_with("reference", case, stats=True, **parameters)
    for kernels in runnable_kernel_sets():
        np.testing.assert_allclose(run_with(kernels, case)[0], expected, rtol=1e-5, atol=case.rounding())
        actual, found = run_with(kernels, case, stats=True, **parameters)
        np.testing.assert_array_equal(found, clusters, err_msg=kernels)
        atol = case.tolerance(kernels, parameters)
        np.testing.assert_allclose(actual, reference, rtol=1e-5, atol=atol, err_msg=kernels)

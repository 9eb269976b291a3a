"""``allow_tf32``: the dense part and the tables of centroids on tensor cores.

Where there are none (the emulator) shuffles stand in for the one instruction of tensor cores, so what is shown is all
but that instruction: which element goes where, the rounding of the factors, the end of an odd size.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cuda_device
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from operator_models import Case, alike, forced_kernels, session, targets
from test_cuda import SEEDS, run
from test_cuda_half import feeds_of, rounded_case
from test_cuda_half import run as run_model
from test_operator_kernels import convolutions, matrix_case, methods
from test_operator_layout import blockable

pytestmark = cuda_device.needs_cuda

Array = npt.NDArray[Any]


def to_tf32(array: Array) -> Array:
    """The nearest numbers with 10 bits behind the point, ties away from zero."""
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    return ((bits + 0x1000) & np.uint32(0xFFFFE000)).view(np.float32)


def whole_numbers(case: Case) -> Case:
    """The case with small whole numbers: TF32 holds them, and float their sums, whatever the order."""
    parts = {name: getattr(case, name) for name in ("x", "weights", "bias", "addend")}
    return replace(
        case, **{name: np.clip(np.round(part * 3), -9, 9) for name, part in parts.items() if part is not None}
    )


def clusterings() -> st.SearchStrategy[dict[str, Any]]:
    """Parameters of `methods` that make clusters."""
    return methods().filter(lambda parameters: parameters["method"] != "exact")


@settings(max_examples=25)
@given(convolutions(), st.sampled_from(SEEDS), st.booleans())
def test_every_product_is_added_once_and_to_its_output(case: Case, seed: int, half: bool) -> None:
    case = replace(whole_numbers(case), activation="none", activation_params=())
    expected = case.run(case.conv_model())[0]
    model = case.reuse_model(allow_tf32=1)
    with cuda_device.schedule(seed):
        actual = run_model(model, feeds_of(case), half=half)[0]
    np.testing.assert_array_equal(actual, expected.astype(actual.dtype))


@settings(max_examples=10)
@given(blockable(), st.booleans())
def test_blocks_on_tensor_cores_give_what_planes_give(case: Case, y_blocked: bool) -> None:
    case = replace(whole_numbers(case), addend=None)
    layout = {"y_layout": "NCHW16c"} if y_blocked else {}
    np.testing.assert_array_equal(run(case, allow_tf32=1, **layout)[0], run(case, **layout)[0])


@settings(max_examples=10)
@given(st.data())
def test_factors_are_rounded_to_tf32_and_nothing_else_is(data: st.DataObject) -> None:
    case = matrix_case(data.draw, most_leading=4)[0]
    tight = replace(case, x=to_tf32(case.x), weights=to_tf32(case.weights))
    actual, expected = run(case, allow_tf32=1)[0], run(tight)[0]
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=case.rounding())
    np.testing.assert_array_equal(actual, run(tight, allow_tf32=1)[0])


def test_result_is_rounded_as_tf32_only_where_that_is_allowed() -> None:
    rng = np.random.default_rng(0)
    case = Case(rng.normal(size=(1, 24, 9, 9)).astype(np.float32), rng.normal(size=(70, 24, 3, 3)).astype(np.float32))
    exact = case.run(case.conv_model())[0]
    assert np.abs(run(case)[0] - exact).max() <= case.rounding()
    error = np.abs(run(case, allow_tf32=1)[0] - exact).max()
    assert case.rounding() < error <= 2**-10 * case.magnitude()


@settings(max_examples=10)
@given(convolutions(), st.sampled_from(SEEDS))
def test_float16_loses_nothing_in_the_dense_part(case: Case, seed: int) -> None:
    case = rounded_case(case)
    with cuda_device.schedule(seed):
        actual = run_model(case.reuse_model(allow_tf32=1), feeds_of(case), half=True)[0]
    np.testing.assert_allclose(actual.astype(np.float32), run(case)[0], rtol=1e-3, atol=case.rounding())


@settings(max_examples=15)
@given(convolutions(), clusterings(), st.integers(1, 20), st.sampled_from(SEEDS), st.booleans())
def test_tables_have_every_product_once_and_in_its_place(
    case: Case, parameters: dict[str, Any], length: int, seed: int, half: bool
) -> None:
    """Members of a cluster are the same here, so that centroids are whole numbers, too."""
    case = replace(whole_numbers(case), activation="none", activation_params=())
    parameters |= {"sub_vector_length": length}
    parameters |= {"step": 1e-3} if parameters["method"] == "grid" else {"hash_bits": 64}
    expected = run_model(case.reuse_model(stats=True, **parameters), feeds_of(case), half=half)
    with cuda_device.schedule(seed):
        actual = run_model(case.reuse_model(stats=True, allow_tf32=1, **parameters), feeds_of(case), half=half)
    np.testing.assert_array_equal(actual[1], expected[1])
    if parameters["method"] == "grid":
        np.testing.assert_array_equal(actual[0], expected[0])
    else:  # vectors that point the same way are one cluster, whose mean is no whole number
        np.testing.assert_allclose(actual[0], expected[0], rtol=1e-3, atol=tables_tolerance(case, parameters))


@settings(max_examples=10)
@given(convolutions(), clusterings(), st.sampled_from(SEEDS), st.booleans())
def test_clusters_are_the_same_and_outputs_as_near_as_tf32(
    case: Case, parameters: dict[str, Any], seed: int, half: bool
) -> None:
    case = rounded_case(case) if half else case
    expected, clusters = run_model(case.reuse_model(stats=True, **parameters), feeds_of(case), half=half)
    with cuda_device.schedule(seed):
        actual, found = run_model(case.reuse_model(stats=True, allow_tf32=1, **parameters), feeds_of(case), half=half)
    np.testing.assert_array_equal(found, clusters)
    np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=tables_tolerance(case, parameters))


def tables_tolerance(case: Case, parameters: dict[str, Any]) -> float:
    """Two factors with 10 bits behind the point, and a unit of 16-bit tables where that decides between two of them."""
    unit = 2 * case.magnitude() / 32767 if parameters["table_type"] == "int16" else 0
    return 2**-10 * case.magnitude() + unit + case.rounding()


def test_tables_are_rounded_as_tf32_only_where_that_is_allowed() -> None:
    rng = np.random.default_rng(1)
    x = np.repeat(rng.normal(size=(1, 16, 5, 1)), 7, axis=3).astype(np.float32)
    case = Case(x, rng.normal(size=(70, 16, 3, 3)).astype(np.float32))
    parameters = {"method": "grid", "step": 1e-3, "sub_vector_length": 8}
    exact = case.run(case.conv_model())[0]
    plain, stats = run(case, stats=True, **parameters)
    assert (stats == 5).all()
    assert np.abs(plain - exact).max() <= case.rounding()
    error = np.abs(run(case, allow_tf32=1, **parameters)[0] - exact).max()
    assert case.rounding() < error <= 2**-10 * case.magnitude()


@pytest.mark.parametrize("method", ["grid", "lsh"])
def test_same_bytes_for_every_schedule_on_tensor_cores(method: str) -> None:
    rng = np.random.default_rng(3)
    weights = rng.normal(size=(20, 12, 3, 3)).astype(np.float32)
    case = Case(alike(rng, (2, 12, 9, 8)), weights, attributes={"pads": [1] * 4})
    case.x[0, 8:] = rng.normal(size=case.x[0, 8:].shape)  # for the guard
    parameters = {"step": 0.5, "hash_bits": 12, "table_type": "int16", "sub_vector_length": 4}
    parameters["max_remaining_ratio"] = 0.6
    with forced_kernels("cuda"):
        made = session(case.reuse_model(method=method, stats=True, allow_tf32=1, **parameters))
    expected, stats = made.run(None, {"X": case.x})
    assert (stats == -1).any()
    assert (stats != -1).any()
    for seed in SEEDS:
        with cuda_device.schedule(seed):
            assert made.run(None, {"X": case.x})[0].tobytes() == expected.tobytes()


def test_element_of_16_bits_does_not_overflow_where_tf32_rounds_up() -> None:
    """One tap and one sub-vector group: the unit leaves 9 of 32767, and both factors grow by 2^-11."""
    just_above = np.float32(1 + 2**-11)
    x = np.full((1, 4, 4, 4), just_above)
    x[..., 2:] *= -1
    case = Case(x, np.full((20, 4, 1, 1), just_above))
    y, stats = run(case, stats=True, allow_tf32=1, method="grid", step=0.1, table_type="int16")
    assert (stats == 2).all()
    np.testing.assert_allclose(y, case.run(case.conv_model())[0], rtol=2**-10)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, np.finfo(np.float32).max])
def test_values_at_the_end_of_the_range_stay_there(value: float) -> None:
    case = Case(np.zeros((1, 3, 4, 4), np.float32), np.ones((20, 3, 1, 1), np.float32))
    case.x[0, 1, 2, 3] = value
    y = run(case, allow_tf32=1)[0]
    np.testing.assert_array_equal(y[0, :, 2, 3], np.inf if np.isfinite(value) else value)
    y[0, :, 2, 3] = 0
    assert not y.any()


@pytest.mark.parametrize("kernels", [name for name in targets() if name != "cuda"])
def test_cpu_accepts_the_attribute_and_computes_as_without(kernels: str) -> None:
    rng = np.random.default_rng(0)
    case = Case(alike(rng, (1, 4, 9, 9)), rng.normal(size=(20, 4, 3, 3)).astype(np.float32))
    with forced_kernels(kernels):
        without, with_it = (case.run(case.reuse_model(allow_tf32=allowed))[0] for allowed in (0, 1))
    assert without.tobytes() == with_it.tobytes()


def test_attribute_that_is_no_switch_is_refused() -> None:
    case = Case(np.ones((1, 4, 3, 3), np.float32), np.ones((4, 4, 1, 1), np.float32))
    with forced_kernels("cuda"), pytest.raises(Exception, match=r"allow_tf32 must be in \[0, 1\], not 2"):
        case.run(case.reuse_model(allow_tf32=2))

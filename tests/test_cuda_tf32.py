"""``allow_tf32``: the dense part on tensor cores.

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
from operator_models import Case, alike, forced_kernels, targets
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


@settings(max_examples=25, deadline=None)
@given(convolutions(), st.sampled_from(SEEDS), st.booleans())
def test_every_product_is_added_once_and_to_its_output(case: Case, seed: int, half: bool) -> None:
    case = replace(whole_numbers(case), activation="none", activation_params=())
    expected = case.run(case.conv_model())[0]
    model = case.reuse_model(allow_tf32=1)
    with cuda_device.schedule(seed):
        actual = run_model(model, feeds_of(case), half=half)[0]
    np.testing.assert_array_equal(actual, expected.astype(actual.dtype))


@settings(max_examples=10, deadline=None)
@given(blockable(), st.booleans())
def test_blocks_on_tensor_cores_give_what_planes_give(case: Case, y_blocked: bool) -> None:
    case = replace(whole_numbers(case), addend=None)
    layout = {"y_layout": "NCHW16c"} if y_blocked else {}
    np.testing.assert_array_equal(run(case, allow_tf32=1, **layout)[0], run(case, **layout)[0])


@settings(max_examples=10, deadline=None)
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


@settings(max_examples=10, deadline=None)
@given(convolutions(), methods(), st.sampled_from(SEEDS))
def test_float16_loses_nothing_on_tensor_cores(case: Case, parameters: dict[str, Any], seed: int) -> None:
    case = rounded_case(case)
    with cuda_device.schedule(seed):
        actual, found = run_model(case.reuse_model(stats=True, allow_tf32=1, **parameters), feeds_of(case), half=True)
    expected, clusters = run(case, stats=True, **parameters)
    np.testing.assert_array_equal(found, clusters)
    np.testing.assert_allclose(actual.astype(np.float32), expected, rtol=1e-3, atol=case.rounding())


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

"""The errors of layers, measured beside the original."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from models_for_tests import model, node, random_array
from rewriting import EXACT, rewrite

from drpass.execution import open_session, run
from drpass.operator.spec import ReuseParameters
from drpass.passes import NodeKey
from drpass.tune.shadow import measure_errors

GRID = ReuseParameters("grid", "image", 4, 1.0, table_type="float", max_remaining_ratio=1.0)
KEYS: list[NodeKey] = [("", "first"), ("", "second")]


def two_layers() -> onnx.ModelProto:
    return model(
        [
            node("Conv", ["x", "w1"], ["a"], "first", pads=[1, 1, 1, 1]),
            node("Relu", ["a"], ["b"]),
            node("Conv", ["b", "w2"], ["y"], "second"),
        ],
        {"x": ["N", 4, 12, 12]},
        {"y": None},
        {"w1": random_array(32, 4, 3, 3), "w2": random_array(48, 32, 1, 1)},
    )


def alike(count: int) -> npt.NDArray[np.float32]:
    """Images with few different pixels."""
    return np.round(random_array(count, 4, 12, 12)).astype(np.float32)


def test_error_is_that_of_the_layer_on_the_originals_own_activations() -> None:
    original, feeds = two_layers(), [{"x": alike(2)}, {"x": alike(3)}]
    found = measure_errors(original, dict.fromkeys(KEYS, GRID), feeds, 1)
    # The second layer alone rewritten gets exactly the original's activations too.
    only = rewrite(original, parameters=GRID, include=["second"]).to_proto()
    sessions = [open_session(proto) for proto in (original, only)]
    pairs = [[run(session, feed)[0] for session in sessions] for feed in feeds]
    squares = sum(float(((new - ref).astype(np.float64) ** 2).sum()) for ref, new in pairs)
    reference = sum(float((ref.astype(np.float64) ** 2).sum()) for ref, _ in pairs)
    assert found["", "second"].error == pytest.approx(np.sqrt(squares / reference), rel=1e-4)
    assert found["", "second"].error > 0.01


def test_remaining_ratio_counts_clusters_over_pixels() -> None:
    original = model(
        [node("Conv", ["x", "w"], ["y"], "only")], {"x": [2, 4, 4, 4]}, {"y": None}, {"w": random_array(32, 4, 1, 1)}
    )
    x = np.zeros((2, 4, 4, 4), np.float32)
    x[1, :, :, 2:] = 5.0  # one cluster in the first image, two in the second, of 16 pixels each
    found = measure_errors(original, {("", "only"): GRID}, [{"x": x}], 1)
    # The deviation of an image of one value is zero, so its only group is computed densely: ratio 1.
    assert found["", "only"].remaining_ratios == pytest.approx((np.mean([1.0, 2 / 16]),))


def test_exact_setting_has_rounding_errors_and_no_clusters() -> None:
    found = measure_errors(two_layers(), dict.fromkeys(KEYS, EXACT), [{"x": alike(1)}], 1)
    assert all(entry.error < 1e-5 and entry.remaining_ratios == () for entry in found.values())


def test_layers_that_are_not_asked_for_are_left_out() -> None:
    found = measure_errors(two_layers(), {KEYS[1]: GRID}, [{"x": alike(1)}], 1)
    assert list(found) == KEYS[1:]


def test_largest_ratio_is_of_any_instance_but_not_of_those_over_the_guard() -> None:
    original = model(
        [node("Conv", ["x", "w"], ["y"], "only")], {"x": [3, 4, 4, 4]}, {"y": None}, {"w": random_array(32, 4, 1, 1)}
    )
    x = np.zeros((3, 4, 4, 4), np.float32)
    x[0, :, :, 2:] = 5.0  # two clusters
    x[1] = np.arange(4, dtype=np.float32)  # four
    x[2] = 3 * np.arange(16, dtype=np.float32).reshape(4, 4)  # one for every pixel or two
    setting = ReuseParameters("grid", "image", 4, 0.25, table_type="float", max_remaining_ratio=0.3)
    found = measure_errors(original, {("", "only"): setting}, [{"x": x}], 1)
    assert found["", "only"].largest_ratio == pytest.approx(4 / 16)

"""Vectors of zeros are a cluster of their own, whose rows are left out where they are known to be zero."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from operator_models import Case, block, forced_kernels, runnable_kernel_sets, targets
from test_operator_method import hyperplanes

from drpass import runtime

METHODS = [{"method": "grid", "step": 2.0}, {"method": "lsh", "hash_bits": 3, "seed": 5}]


def sparse_case(zeros: float, channels: int = 32, outputs: int = 70, batch: int = 2) -> Case:
    """A 3x3 convolution over few different vectors of four channels, of which a share is zero."""
    rng = np.random.default_rng(3)
    vectors = np.concatenate([np.zeros((1, 4)), rng.normal(size=(6, 4))]).astype(np.float32)
    shares = [zeros] + [(1 - zeros) / 6] * 6
    chosen = rng.choice(7, size=(batch, channels // 4, 9, 11), p=shares)
    x = np.moveaxis(vectors[chosen], -1, 2).reshape(batch, channels, 9, 11)
    weights = rng.normal(size=(outputs, channels, 3, 3)).astype(np.float32)
    return Case(x, weights, rng.normal(size=outputs).astype(np.float32), None, {"pads": [1, 1, 1, 1]})


def _run(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> np.ndarray:
    result: np.ndarray = runtime.session(model.SerializeToString(), threads=1).run(None, feeds)[0]
    return result


@pytest.mark.parametrize("kernels", targets())
@pytest.mark.parametrize("parameters", METHODS, ids=lambda one: one["method"])
def test_small_values_do_not_share_the_cluster_of_zeros(kernels: str, parameters: dict) -> None:
    """Half of the pixels are zero, the others so small that they have the same signature."""
    x = np.zeros((1, 4, 4, 4), np.float32)
    x[0, :, 0] = 100.0 * np.random.default_rng(0).random((4, 4))  # sets the edge of the cells
    x[0, :, 2:] = -1e-3 if parameters["method"] == "grid" else 0.0
    if parameters["method"] == "lsh":  # all dot products negative: no bit is set, as for zeros
        planes = hyperplanes(5, 3, 4)
        x[0, :, 2:] = np.linalg.lstsq(planes, np.full(3, -1e-3), rcond=None)[0][:, None, None]
    x[0, 3, 1, 2] = -0.0
    case = Case(x, np.random.default_rng(1).normal(size=(16, 4, 1, 1)).astype(np.float32))
    with forced_kernels(kernels):
        y, stats = case.run(case.reuse_model(stats=True, max_remaining_ratio=1.0, **parameters))
        x[0, :, 1] = 0.5 * x[0, :, 2]
        _, without = case.run(case.reuse_model(stats=True, max_remaining_ratio=1.0, **parameters))
    assert (y[0, :, 1] == 0).all()
    assert (y[0, :, 2:] != 0).all()
    assert stats.item() == without.item() + 1


@pytest.mark.parametrize("kernels", runnable_kernel_sets())
@pytest.mark.parametrize("parameters", METHODS, ids=lambda one: one["method"])
@pytest.mark.parametrize("table_type", ["float", "int16"])
@pytest.mark.parametrize("zeros", [0.0, 0.05, 0.6, 0.99])
def test_leaving_zeros_out_changes_no_byte(kernels: str, parameters: dict, table_type: str, zeros: float) -> None:
    """Weights that are not constant may not be finite, so their zeros are added."""
    case = sparse_case(zeros)
    model = onnx.ModelProto.FromString(case.reuse_model(sub_vector_length=4, table_type=table_type, **parameters))
    with forced_kernels(kernels):
        skipped = _run(model, {"X": case.x})
        weights = next(one for one in model.graph.initializer if one.name == "W")
        model.graph.input.append(onnx.helper.make_tensor_value_info("W", weights.data_type, weights.dims))
        model.graph.initializer.remove(weights)
        added = _run(model, {"X": case.x, "W": onnx.numpy_helper.to_array(weights)})
    assert skipped.tobytes() == added.tobytes()


@pytest.mark.parametrize("kernels", targets())
@pytest.mark.parametrize("parameters", [{"method": "grid", "step": 1e-3}, {"method": "lsh", "hash_bits": 48}])
@pytest.mark.parametrize("table_type", ["float", "int16"])
def test_lists_agree_with_the_convolution(kernels: str, parameters: dict, table_type: str) -> None:
    """Vectors that repeat exactly are their own centroids."""
    case = sparse_case(0.6)
    with forced_kernels(kernels):
        y, stats = case.run(case.reuse_model(stats=True, sub_vector_length=4, table_type=table_type, **parameters))
    assert (stats == 7).all()
    expected = case.run(case.conv_model())[0]
    tolerance = case.rounding() if table_type == "float" else 1e-3 * np.abs(expected).max()
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=tolerance)


@pytest.mark.parametrize("kernels", targets())
@pytest.mark.parametrize("parameters", METHODS, ids=lambda one: one["method"])
@pytest.mark.parametrize("table_type", ["float", "int16"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_zeros_meet_weights_that_are_not_finite(kernels: str, parameters: dict, table_type: str, value: float) -> None:
    case = sparse_case(0.6)
    case.weights[5, 9, 1, 1] = value
    with forced_kernels(kernels):
        y = case.run(case.reuse_model(sub_vector_length=4, table_type=table_type, **parameters))[0]
    expected = case.run(case.conv_model())[0]
    assert np.isnan(y[:, 5]).any()
    np.testing.assert_array_equal(np.isnan(y), np.isnan(expected))
    np.testing.assert_array_equal(np.isinf(y), np.isinf(expected))


@pytest.mark.parametrize("kernels", targets())
def test_nothing_but_zeros(kernels: str) -> None:
    case = sparse_case(1.0)
    assert not case.x.any()
    with forced_kernels(kernels):
        y, stats = case.run(case.reuse_model(stats=True, sub_vector_length=4, method="lsh"))
    assert (stats == 1).all()
    np.testing.assert_array_equal(y, np.broadcast_to(case.bias[None, :, None, None], y.shape))


@pytest.mark.parametrize("kernels", runnable_kernel_sets())
@pytest.mark.parametrize("length", [1, 3, 4, 8, 12, 16, 24])
@pytest.mark.parametrize("parameters", METHODS, ids=lambda one: one["method"])
def test_layouts_give_the_same_bytes(kernels: str, length: int, parameters: dict) -> None:
    """In blocks, sub-vector groups of a block are clustered together."""
    case = sparse_case(0.5, channels=48)
    blocks = Case(block(case.x), case.weights, case.bias, None, case.attributes)
    parameters = parameters | {"stats": True, "sub_vector_length": length, "max_remaining_ratio": 1.0}
    with forced_kernels(kernels):
        plain = case.run(case.reuse_model(**parameters))
        blocked = blocks.run(blocks.reuse_model(x_layout="NCHW16c", **parameters))
    assert plain[1].tolist() == blocked[1].tolist()
    assert (plain[1] > 0).any()
    assert plain[0].tobytes() == blocked[0].tobytes()


def test_packed_weights_of_an_impossible_shape_take_no_memory() -> None:
    """Sums of weights are kept when a session is created, before any shape is checked."""
    case = sparse_case(0.5)
    model = onnx.ModelProto.FromString(case.reuse_model(method="grid", table_type="int16"))
    model.graph.initializer[0].CopyFrom(
        onnx.numpy_helper.from_array(np.zeros((1, 1 << 40, 0, 32, 16), np.float32), "W")
    )
    with pytest.raises(Exception, match="W has shape"):
        _run(model, {"X": case.x})

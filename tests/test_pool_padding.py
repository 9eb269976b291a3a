"""Zeros that pad the input of a MaxPool stay zeros in ONNX Runtime, after export and after rewriting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from models_for_tests import conv_model, node, random_array
from onnx.helper import find_min_ir_version_for, make_opsetid
from rewriting import EXACT, attributes, run

from drpass.rewriting import PADDING, rewrite
from drpass.runtime import session

X = {"x": random_array(2, 3, 20, 20)}
WINDOW = {"kernel_shape": [3, 3], "strides": [2, 2]}
PADS = [0, 0, 1, 1, 0, 0, 1, 1]


def padded_pool(opset: int, value: float = 0.0, **pool: Any) -> onnx.ModelProto:
    """x → Conv → Pad → MaxPool → y, in the form that Pad has in this opset."""
    constants: dict[str, Any] = {}
    if opset < 11:
        pad = node("Pad", ["conv_out"], ["padded"], pads=PADS, value=value)
    else:
        pad = node("Pad", ["conv_out", "pads", "zero"], ["padded"])
        constants = {"pads": np.array(PADS), "zero": np.array(value, np.float32)}
    maximum = node("MaxPool", ["padded"], ["y"], name="pool", **{**WINDOW, **pool})
    # Before IR version 4 initializers are inputs too, which says more than this test is about.
    ir_version = max(4, find_min_ir_version_for([make_opsetid("", opset)]))
    return conv_model([pad, maximum], constants, opset=opset, ir_version=ir_version)


def by_definition(model: onnx.ModelProto) -> Any:
    """What ONNX Runtime computes without its optimisations."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"]).run(None, X)[0]


def pool_of(model: onnx.ModelProto) -> dict[str, Any]:
    (found,) = [one for one in model.graph.node if one.name == "pool"]
    return attributes(found)


@pytest.mark.parametrize("opset", [7, 10, 11, 13, 18, 19, 21, 26])
def test_zeros_before_a_maxpool_stay_zeros(opset: int) -> None:
    original = padded_pool(opset)
    expected = by_definition(original)
    with_infinity = conv_model([node("MaxPool", ["conv_out"], ["y"], **WINDOW, pads=[1, 1, 1, 1])])
    assert np.abs(by_definition(with_infinity) - expected).max() > 0.1, "the padding does not matter"
    result = rewrite(original, parameters=EXACT)
    assert f"{PADDING}: pool" in result.report.notes
    rewritten = session(result.to_proto().SerializeToString(), threads=1).run(None, X)[0]
    np.testing.assert_allclose(rewritten, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(run(result.to_proto(), X)["y"], expected, rtol=1e-5, atol=1e-5)
    assert rewrite(result.to_proto(), parameters=EXACT).to_proto() == result.to_proto()


@pytest.mark.parametrize(
    ("value", "pool"),
    [(0.0, {"pads": [1, 1, 1, 1]}), (0.0, {"auto_pad": "SAME_UPPER"}), (0.0, {"ceil_mode": 1}), (-1.0, {})],
    ids=["own pads", "SAME", "rounded up", "another value"],
)
def test_other_pools_after_a_pad_are_left_as_they_are(value: float, pool: dict[str, Any]) -> None:
    result = rewrite(padded_pool(17, value, **pool), parameters=EXACT)
    assert result.report.replaced == 1
    assert pool_of(result.to_proto()) == {**WINDOW, **{key: _stored(one) for key, one in pool.items()}}
    assert not any(note.startswith(PADDING) for note in result.report.notes)


def test_pool_of_a_model_without_anything_to_replace_is_left_as_it_is() -> None:
    original = padded_pool(17)
    result = rewrite(original, parameters=EXACT, exclude=["conv"])
    assert result.to_proto() == original


def test_maxpool_after_zero_padding_is_exported_as_the_framework_computes_it(tmp_path: Path) -> None:
    pytest.importorskip("tf2onnx", reason="needs the extra export")
    import keras

    from drpass.export import export

    image = keras.Input((24, 24, 3))
    negative = keras.layers.Conv2D(8, 3, bias_initializer=keras.initializers.Constant(-2.0))(image)
    pooled = keras.layers.MaxPooling2D(3, 2)(keras.layers.ZeroPadding2D()(negative))
    keras.Model(image, pooled).save(tmp_path / "stem.keras")
    report = export(tmp_path / "stem.keras", tmp_path / "stem.onnx")
    assert report.max_relative_error is not None
    assert report.max_relative_error < 1e-5
    (pool,) = [one for one in onnx.load(tmp_path / "stem.onnx").graph.node if one.op_type == "MaxPool"]
    assert attributes(pool)["auto_pad"] == b"VALID"


def _stored(value: Any) -> Any:
    return value.encode() if isinstance(value, str) else value

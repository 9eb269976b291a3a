"""Weights behind DequantizeLinear, and products that ONNX Runtime computes on integers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from models_for_tests import model, node, random_array
from rewriting import assert_same_outputs, ops, reason, rewrite_exactly

from drpass import rewrite as drpass_rewrite
from drpass.inspection import inspect
from drpass.runtime import session


def test_weights_behind_dequantizelinear_are_folded_and_the_result_is_the_same() -> None:
    rng = np.random.default_rng(0)
    held = {
        "w": rng.integers(-128, 128, (16, 8, 3, 3), dtype=np.int8),
        "s": rng.uniform(0.001, 0.01, 16).astype(np.float32),
        "z": np.zeros(16, np.int8),
    }
    nodes = [node("DequantizeLinear", ["w", "s", "z"], ["wd"], axis=0), node("Conv", ["x", "wd"], ["y"])]
    original = model(nodes, {"x": [1, 8, 9, 9]}, {"y": None}, held)
    rewritten = rewrite_exactly(original).to_proto()
    assert ops(rewritten) == ["DeepReuseGemm"]
    assert_same_outputs(original, rewritten, {"x": random_array(1, 8, 9, 9)})


def test_scale_that_is_not_constant_keeps_the_node() -> None:
    held = {"w": np.ones((16, 8, 3, 3), np.int8)}
    nodes = [node("DequantizeLinear", ["w", "s"], ["wd"]), node("Conv", ["x", "wd"], ["y"])]
    found = model(nodes, {"x": [1, 8, 9, 9], "s": []}, {"y": None}, held)
    assert reason(found, "y") == "weights are not constant"


def quantised(
    last: str = "QuantizeLinear", relu: bool = False, zero: int = 0, op_type: str = "Conv"
) -> onnx.ModelProto:
    """A product in QDQ form: of 8-bit activations and weights in 8 bits for each output, its result in 8 bits."""
    rng = np.random.default_rng(3)
    convolution = op_type == "Conv"
    shape = (16, 8, 3, 3) if convolution else (72, 16)
    held = {
        "w": rng.integers(-127, 128, shape, dtype=np.int8),
        "ws": rng.uniform(0.001, 0.01, 16).astype(np.float32),
        "wz": np.zeros(16, np.int8),
        "s": np.array(0.02, np.float32),
        "z": np.array(120, np.uint8),
        "ys": np.array(0.05, np.float32),
        "yz": np.array(zero, np.uint8),
    }
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], axis=0 if convolution else 1),
        node(op_type, ["d", "wd"], ["a"], "product"),
    ]
    nodes += [node("Relu", ["a"], ["r"])] if relu else []
    result = "r" if relu else "a"
    if last == "QuantizeLinear":
        nodes += [
            node("QuantizeLinear", [result, "ys", "yz"], ["o"]),
            node("DequantizeLinear", ["o", "ys", "yz"], ["y"]),
        ]
    else:
        nodes += [node(last, [result], ["y"])]
    return model(nodes, {"x": [2, 8, 9, 9] if convolution else [7, 72]}, {"y": None}, held)


CASES = {
    "conv": quantised(zero=128),
    "conv and relu": quantised(relu=True),
    "relu that cuts": quantised(relu=True, zero=128),
    "conv to float": quantised("Sigmoid"),
    "matmul": quantised(op_type="MatMul", zero=128),
    "matmul to float": quantised("Sigmoid", op_type="MatMul"),
}


def optimized_ops(proto: onnx.ModelProto, folder: Path) -> list[str]:
    """The operators that ONNX Runtime runs."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [item.op_type for item in onnx.load(folder / "optimized.onnx").graph.node]


@pytest.mark.parametrize("name", CASES)
def test_reason_names_the_operator_that_onnx_runtime_makes_of_it(name: str, tmp_path: Path) -> None:
    (verdict,) = drpass_rewrite(CASES[name]).report.verdicts
    made = {"QLinearConv", "QLinearMatMul", "MatMulIntegerToFloat"} & set(optimized_ops(CASES[name], tmp_path))
    assert len(made) <= 1
    assert ("8-bit integers" in verdict.reason) == bool(made)
    assert all(verdict.reason.endswith(f": {operator}") for operator in made)


@pytest.mark.parametrize("name", CASES)
def test_where_it_is_asked_for_the_result_is_within_one_quantum_of_that_on_integers(name: str) -> None:
    original = CASES[name]
    result = rewrite_exactly(original)
    assert result.report.replaced == 1
    (shape,) = [[dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in original.graph.input]
    feeds = {"x": random_array(*shape)}
    (expected,) = session(original.SerializeToString(), threads=1).run(None, feeds)
    (found,) = session(result.to_proto().SerializeToString(), threads=1).run(None, feeds)
    quantum = 0.05 if "float" not in name else 1e-5
    assert np.abs(found - expected).max() <= 1.001 * quantum
    assert len(np.unique(expected)) > 20


def test_operators_on_integers_are_kept_and_counted(tmp_path: Path) -> None:
    held = {"w": np.ones((16, 8, 3, 3), np.int8), "z": np.array(3, np.uint8)}
    proto = model([node("ConvInteger", ["x", "w", "z"], ["y"])], {"x": None}, {"y": None}, held)
    proto.graph.input[0].CopyFrom(onnx.helper.make_tensor_value_info("x", onnx.TensorProto.UINT8, [1, 8, 9, 9]))
    proto.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("y", onnx.TensorProto.INT32, [1, 16, 7, 7]))
    onnx.save(proto, tmp_path / "in.onnx")
    (info,) = inspect(tmp_path / "in.onnx")
    assert info.macs == 16 * 7 * 7 * 8 * 3 * 3
    assert "32-bit integers" in reason(proto)

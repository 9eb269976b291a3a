"""What a DeepReuseGemm absorbs, and what it must leave alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from models_for_tests import conv_model, model, node, random_array
from rewriting import assert_same_outputs, attributes, ops, rewrite_exactly

from drpass.operator.spec import OP_TYPE

X = random_array(2, 3, 20, 20)
STATISTICS = {
    "scale": random_array(32),
    "shift": random_array(32, seed=1),
    "mean": random_array(32, seed=2),
    "var": np.abs(random_array(32, seed=3)) + np.float32(0.1),
}


def after_conv(*nodes: onnx.NodeProto, **options: Any) -> onnx.ModelProto:
    return conv_model(nodes, **options)


def batchnorm(source: str = "conv_out", output: str = "y", **options: Any) -> onnx.NodeProto:
    return node("BatchNormalization", [source, "scale", "shift", "mean", "var"], [output], **options)


def assert_absorbed(proto: onnx.ModelProto, x: np.ndarray = X) -> dict[str, Any]:
    """All is one node that computes the same; returns its attributes."""
    rewritten = rewrite_exactly(proto).to_proto()
    assert ops(rewritten) == [OP_TYPE]
    assert_same_outputs(proto, rewritten, {"x": x})
    return attributes(rewritten.graph.node[0])


def assert_left(proto: onnx.ModelProto, *expected: str, x: np.ndarray = X, **feeds: np.ndarray) -> None:
    """The operators after rewriting are these, and compute the same."""
    rewritten = rewrite_exactly(proto).to_proto()
    assert ops(rewritten) == list(expected)
    assert_same_outputs(proto, rewritten, {"x": x, **feeds})


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("epsilon", [1e-5, 0.3])
def test_batchnorm_is_folded(bias: bool, epsilon: float) -> None:
    assert_absorbed(after_conv(batchnorm(epsilon=epsilon), constants=STATISTICS, bias=bias))


def test_batchnorm_after_grouped_conv_is_folded() -> None:
    statistics = {name: np.resize(values, 36) for name, values in STATISTICS.items()}
    assert_absorbed(after_conv(batchnorm(), constants=statistics, group=3, outputs=36))


def test_batchnorm_after_gemm_is_folded() -> None:
    held = {"w": random_array(7, 32), **STATISTICS}
    proto = model([node("Gemm", ["x", "w"], ["g"]), batchnorm("g")], {"x": [5, 7]}, {"y": None}, held)
    assert_absorbed(proto, random_array(5, 7))


def test_batchnorm_after_matmul_of_rank_3_is_kept_for_its_channels_are_not_the_last_axis() -> None:
    held = {"w": random_array(7, 32), **STATISTICS}
    nodes = [node("MatMul", ["x", "w"], ["m"]), batchnorm("m")]
    proto = model(nodes, {"x": [2, 32, 7]}, {"y": None}, held)
    assert_left(proto, OP_TYPE, "BatchNormalization", x=random_array(2, 32, 7))


def test_batchnorm_in_training_mode_is_kept() -> None:
    norm = node("BatchNormalization", ["conv_out", "scale", "shift", "mean", "var"], ["y", "m", "v"], training_mode=1)
    rewritten = rewrite_exactly(after_conv(norm, constants=STATISTICS, result="y")).to_proto()
    assert ops(rewritten) == [OP_TYPE, "BatchNormalization"]


def test_batchnorm_with_running_statistics_is_kept() -> None:
    held = {name: values for name, values in STATISTICS.items() if name != "mean"}
    proto = after_conv(batchnorm(), constants=held)
    proto.graph.input.append(onnx.helper.make_tensor_value_info("mean", 1, [32]))
    assert_left(proto, OP_TYPE, "BatchNormalization", mean=STATISTICS["mean"])


@pytest.mark.parametrize("shape", [(32, 1, 1), (1, 32, 1, 1), (1,), (), (1, 1, 1, 1)])
@pytest.mark.parametrize(
    ("op_type", "order"), [("Mul", "yc"), ("Mul", "cy"), ("Div", "yc"), ("Add", "yc"), ("Add", "cy"), ("Sub", "yc")]
)
def test_constant_per_channel_is_folded(shape: tuple[int, ...], op_type: str, order: str) -> None:
    inputs = ["conv_out", "c"] if order == "yc" else ["c", "conv_out"]
    assert_absorbed(after_conv(node(op_type, inputs, ["y"]), constants={"c": random_array(*shape)}))


@pytest.mark.parametrize("shape", [(20,), (1, 20), (1, 1, 20), ()])
@pytest.mark.parametrize("op_type", ["Mul", "Add"])
def test_constant_per_column_of_a_matmul_is_folded(shape: tuple[int, ...], op_type: str) -> None:
    held = {"w": random_array(7, 20), "c": random_array(*shape)}
    nodes = [node("MatMul", ["x", "w"], ["m"]), node(op_type, ["m", "c"], ["y"])]
    assert_absorbed(model(nodes, {"x": [2, 5, 7]}, {"y": [2, 5, 20]}, held), random_array(2, 5, 7))


@pytest.mark.parametrize(
    ("op_type", "inputs"), [("Sub", ["c", "conv_out"]), ("Div", ["c", "conv_out"]), ("Mul", ["conv_out", "conv_out"])]
)
def test_other_arithmetic_is_kept(op_type: str, inputs: list[str]) -> None:
    assert_left(after_conv(node(op_type, inputs, ["y"]), constants={"c": random_array(32, 1, 1)}), OP_TYPE, op_type)


@pytest.mark.parametrize("shape", [(18,), (18, 18), (2, 1, 1, 1), (1, 1, 32, 1, 1), (2, 32, 1, 1)])
@pytest.mark.parametrize("op_type", ["Mul", "Add"])
def test_constant_that_is_not_per_channel_is_kept(shape: tuple[int, ...], op_type: str) -> None:
    held = {"c": random_array(*shape)}
    assert_left(after_conv(node(op_type, ["conv_out", "c"], ["y"]), constants=held), OP_TYPE, op_type)


def test_constant_that_widens_a_single_channel_is_kept() -> None:
    proto = after_conv(node("Mul", ["conv_out", "c"], ["y"]), constants={"c": random_array(4, 1, 1)}, outputs=1)
    assert_left(proto, OP_TYPE, "Mul")


def test_division_by_a_channel_of_zero_is_kept() -> None:
    divisor = random_array(32, 1, 1)
    divisor[3] = 0.0
    proto = after_conv(node("Div", ["conv_out", "c"], ["y"]), constants={"c": divisor})
    rewritten = rewrite_exactly(proto).to_proto()
    assert ops(rewritten) == [OP_TYPE, "Div"]


ACTIVATIONS = [
    ("Relu", {}, [], b"relu", None),
    ("Sigmoid", {}, [], b"sigmoid", None),
    ("HardSigmoid", {"alpha": 0.25, "beta": 0.75}, [], b"hard_sigmoid", [0.25, 0.75]),
    ("HardSigmoid", {}, [], b"hard_sigmoid", [np.float32(0.2), 0.5]),
    ("HardSwish", {}, [], b"hard_swish", None),
    ("LeakyRelu", {"alpha": 0.25}, [], b"leaky_relu", [0.25]),
    ("LeakyRelu", {}, [], b"leaky_relu", [np.float32(0.01)]),
    ("PRelu", {}, [np.float32([[[0.5]]])], b"leaky_relu", [0.5]),
    ("Clip", {}, [np.float32(-0.5), np.float32(1.5)], b"clip", [-0.5, 1.5]),
    ("Clip", {}, [None, np.float32(6)], b"clip", [np.finfo(np.float32).min, 6.0]),
    ("Clip", {}, [np.float32(0)], b"clip", [0.0, np.finfo(np.float32).max]),
    ("Clip", {}, [], b"clip", [np.finfo(np.float32).min, np.finfo(np.float32).max]),
]


@pytest.mark.parametrize(("op_type", "options", "operands", "activation", "parameters"), ACTIVATIONS)
def test_activation_is_absorbed(
    op_type: str, options: dict[str, Any], operands: list[Any], activation: bytes, parameters: list[float] | None
) -> None:
    held = {f"c{index}": array for index, array in enumerate(operands) if array is not None}
    inputs = ["conv_out", *(f"c{index}" if array is not None else "" for index, array in enumerate(operands))]
    found = assert_absorbed(after_conv(node(op_type, inputs, ["y"], **options), constants=held))
    assert found["activation"] == activation
    assert found.get("activation_params") == (None if parameters is None else [np.float32(p) for p in parameters])


GATES = [
    ("Sigmoid", {}, b"silu"),
    ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}, b"hard_swish"),
]


@pytest.mark.parametrize(("op_type", "options", "activation"), GATES)
@pytest.mark.parametrize("order", [1, -1])
def test_product_with_its_own_gate_is_absorbed(
    op_type: str, options: dict[str, float], activation: bytes, order: int
) -> None:
    nodes = [node(op_type, ["conv_out"], ["gate"], **options), node("Mul", ["conv_out", "gate"][::order], ["y"])]
    proto = after_conv(*nodes)
    assert assert_absorbed(proto)["activation"] == activation
    assert rewrite_exactly(proto).report.verdicts[0].absorbed == ("gate", "y")


def test_gate_of_another_slope_or_of_another_value_is_kept() -> None:
    nodes = [node("HardSigmoid", ["conv_out"], ["gate"]), node("Mul", ["conv_out", "gate"], ["y"])]
    assert_left(after_conv(*nodes), OP_TYPE, "HardSigmoid", "Mul")
    nodes = [node("Sigmoid", ["x"], ["gate"]), node("Mul", ["conv_out", "gate"], ["y"])]
    proto = after_conv(*nodes, outputs=3, pads=[1, 1, 1, 1])
    assert "Mul" in ops(rewrite_exactly(proto).to_proto())


def test_gate_that_something_else_reads_is_kept() -> None:
    nodes = [node("Sigmoid", ["conv_out"], ["gate"]), node("Mul", ["conv_out", "gate"], ["y"])]
    proto = after_conv(*nodes)
    proto.graph.output.append(onnx.helper.make_tensor_value_info("gate", 1, None))
    assert_left(proto, OP_TYPE, "Sigmoid", "Mul")


def test_clip_with_attributes_of_opset_6_style_is_absorbed() -> None:
    clip = node("Clip", ["conv_out"], ["y"], min=-1.0, max=1.0)
    found = assert_absorbed(after_conv(clip, opset=10))
    assert found["activation_params"] == [-1.0, 1.0]


@pytest.mark.parametrize("operands", [["lo", "running"], ["running", "hi"]])
def test_clip_with_a_running_limit_is_kept(operands: list[str]) -> None:
    held = {"lo": np.float32(-1), "hi": np.float32(1)}
    proto = after_conv(node("Clip", ["conv_out", *operands], ["y"]), constants=held)
    proto.graph.input.append(onnx.helper.make_tensor_value_info("running", 1, []))
    assert_left(proto, OP_TYPE, "Clip", running=np.array(0.5, np.float32))


def test_clip_whose_limits_cross_is_kept() -> None:
    held = {"lo": np.float32(1), "hi": np.float32(-1)}
    assert_left(after_conv(node("Clip", ["conv_out", "lo", "hi"], ["y"]), constants=held), OP_TYPE, "Clip")


def test_prelu_with_a_slope_per_channel_is_kept() -> None:
    proto = after_conv(node("PRelu", ["conv_out", "s"], ["y"]), constants={"s": random_array(32, 1, 1)})
    assert_left(proto, OP_TYPE, "PRelu")


def test_chain_of_batchnorm_and_leftovers_and_relu_ends_in_one_node() -> None:
    nodes = [
        batchnorm(output="n"),
        node("Mul", ["n", "m"], ["scaled"]),
        node("Add", ["a", "scaled"], ["shifted"]),
        node("Relu", ["shifted"], ["y"]),
    ]
    held = {**STATISTICS, "m": random_array(32, 1, 1), "a": random_array(1, 32, 1, 1)}
    proto = after_conv(*nodes, constants=held)
    assert_absorbed(proto)
    result = rewrite_exactly(proto)
    assert result.report.verdicts[0].absorbed == ("n", "scaled", "shifted", "y")
    assert [tensor.name for tensor in result.to_proto().graph.initializer] == ["conv.weight_packed", "conv.bias"]


def test_nothing_is_absorbed_behind_an_activation() -> None:
    nodes = [node("Relu", ["conv_out"], ["r"]), node("Add", ["r", "a"], ["s"]), node("Sigmoid", ["s"], ["y"])]
    assert_left(after_conv(*nodes, constants={"a": random_array(32, 1, 1)}), OP_TYPE, "Add", "Sigmoid")


def test_conv_with_graph_output_between_it_and_relu_is_kept() -> None:
    proto = after_conv(node("Relu", ["conv_out"], ["y"]))
    proto.graph.output.append(onnx.helper.make_tensor_value_info("conv_out", 1, None))
    assert_left(proto, OP_TYPE, "Relu")


def test_value_with_another_consumer_is_not_absorbed_through() -> None:
    nodes = [node("Relu", ["conv_out"], ["r"]), node("Add", ["r", "conv_out"], ["y"])]
    assert_left(after_conv(*nodes), OP_TYPE, "Relu", "Add")


def test_value_that_a_subgraph_reads_is_not_absorbed_through() -> None:
    branch = onnx.helper.make_graph(
        [node("Neg", ["conv_out"], ["b"])], "b", [], [onnx.helper.make_tensor_value_info("b", 1, None)]
    )
    other = onnx.helper.make_graph(
        [node("Identity", ["r"], ["o"])], "o", [], [onnx.helper.make_tensor_value_info("o", 1, None)]
    )
    nodes = [
        node("Relu", ["conv_out"], ["r"]),
        node("Constant", [], ["flag"], value=onnx.numpy_helper.from_array(np.array(True))),
        node("If", ["flag"], ["y"], then_branch=branch, else_branch=other),
    ]
    assert_left(after_conv(*nodes), OP_TYPE, "Relu", "Constant", "If")


def test_scale_behind_an_addend_is_kept_and_shift_and_activation_are_absorbed() -> None:
    held = {"w": random_array(7, 20), "c": random_array(20), "f": random_array(20)}
    gemm = node("Gemm", ["x", "w", "z"], ["g"])
    shapes = {"x": [5, 7], "z": [5, 20]}
    shifted = model([gemm, node("Add", ["g", "c"], ["s"]), node("Relu", ["s"], ["y"])], shapes, {"y": None}, held)
    scaled = model([gemm, node("Mul", ["g", "f"], ["y"])], shapes, {"y": None}, held)
    feeds = {"x": random_array(5, 7), "z": random_array(5, 20)}
    assert_left(shifted, OP_TYPE, **feeds)
    assert_left(scaled, OP_TYPE, "Mul", **feeds)


def test_arithmetic_of_an_opset_without_numpy_broadcasting_is_not_absorbed() -> None:
    add = node("Add", ["conv_out", "c"], ["y"], broadcast=1, axis=1)
    rewritten = rewrite_exactly(after_conv(add, constants={"c": random_array(32)}, opset=6)).to_proto()
    assert ops(rewritten) == [OP_TYPE, "Add"]

"""Which Conv, Gemm and MatMul nodes become DeepReuseGemm nodes, and the reasons why others are kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models_for_tests import DOUBLE, conv_model, model, node, random_array
from onnx import helper, numpy_helper
from rewriting import assert_same_outputs, attributes, ops, reason, rewrite_exactly

from drpass.operator.spec import OP_TYPE


def gemm_model(
    c: np.ndarray | None = None, *, rows: int = 5, opset: int = 17, c_is_input: bool = False, **options: Any
) -> onnx.ModelProto:
    """x → Gemm "gemm" (K = 7, M = 20) → y; C is constant unless ``c_is_input``."""
    b = random_array(*((20, 7) if options.get("transB") else (7, 20)))
    x = [7, rows] if options.get("transA") else [rows, 7]
    held = {"b": b} | ({"c": c} if c is not None and not c_is_input else {})
    inputs = {"x": x} | ({"c": list(c.shape)} if c is not None and c_is_input else {})
    gemm = node("Gemm", ["x", "b", *(["c"] if c is not None else [])], ["y"], name="gemm", **options)
    return model([gemm], inputs, {"y": [rows, 20]}, held, opset=opset)


def matmul_model(left: list[Any] | None, right: np.ndarray) -> onnx.ModelProto:
    """x [left] → MatMul "matmul" with a constant → y."""
    return model([node("MatMul", ["x", "b"], ["y"], name="matmul")], {"x": left}, {"y": None}, {"b": right})


@settings(max_examples=40)
@given(data=st.data(), rank=st.integers(1, 3), group=st.integers(1, 3))
def test_conv_of_any_window_is_replaced(data: st.DataObject, rank: int, group: int) -> None:
    def draw(low: int, high: int, size: int = rank) -> list[int]:
        return data.draw(st.lists(st.integers(low, high), min_size=size, max_size=size))

    window: dict[str, Any] = {"strides": draw(1, 2), "dilations": draw(1, 2), "group": group}
    auto_pad = data.draw(st.sampled_from(["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"]))
    if auto_pad == "NOTSET":
        window["pads"] = draw(0, 2, 2 * rank)
    else:
        window |= {"auto_pad": auto_pad, "dilations": [1] * rank}  # ONNX Runtime refuses SAME with dilations.
    kernel, channels = draw(1, 3), 2 * group
    x = [2, channels, *draw(6, 9)]
    held = {"w": random_array(3 * group, 2, *kernel), "b": random_array(3 * group)}
    proto = model([node("Conv", ["x", "w", "b"], ["y"], **window)], {"x": x}, {"y": None}, held)
    rewritten = rewrite_exactly(proto).to_proto()
    assert ops(rewritten) == [OP_TYPE]
    assert_same_outputs(proto, rewritten, {"x": random_array(*x)})


@pytest.mark.parametrize("pads", [[0, 1, 0, 0], [0, 0, 2, 0], [2, 0, 1, 3]])
def test_conv_keeps_asymmetric_pads(pads: list[int]) -> None:
    proto = conv_model(pads=pads)
    rewritten = rewrite_exactly(proto).to_proto()
    assert attributes(rewritten.graph.node[0])["pads"] == pads
    assert_same_outputs(proto, rewritten, {"x": random_array(1, 3, 20, 20)})


def test_conv_without_bias_gets_none() -> None:
    rewritten = rewrite_exactly(conv_model(bias=False)).to_proto()
    assert list(rewritten.graph.node[0].input) == ["x", "conv.weight_packed"]


def test_conv_keeps_a_bias_that_is_not_constant() -> None:
    proto = conv_model()
    bias = next(tensor for tensor in proto.graph.initializer if tensor.name == "conv.bias")
    proto.graph.initializer.remove(bias)
    proto.graph.input.append(helper.make_tensor_value_info("conv.bias", 1, [32]))
    rewritten = rewrite_exactly(proto).to_proto()
    assert list(rewritten.graph.node[0].input) == ["x", "conv.weight_packed", "conv.bias"]
    feeds = {"x": random_array(1, 3, 20, 20), "conv.bias": random_array(32)}
    assert_same_outputs(proto, rewritten, feeds)


@pytest.mark.parametrize("trans_a", [0, 1])
@pytest.mark.parametrize("trans_b", [0, 1])
@pytest.mark.parametrize("alpha", [1.0, -0.5])
@pytest.mark.parametrize("beta", [0.0, 1.0, 2.5])
@pytest.mark.parametrize("shape", [None, (), (1,), (20,), (1, 20), (5, 1), (5, 20), (1, 1)])
@pytest.mark.parametrize("c_is_input", [False, True])
def test_gemm_of_any_form_is_replaced(
    trans_a: int, trans_b: int, alpha: float, beta: float, shape: tuple[int, ...] | None, c_is_input: bool
) -> None:
    c = None if shape is None else random_array(*shape)
    proto = gemm_model(c, transA=trans_a, transB=trans_b, alpha=alpha, beta=beta, c_is_input=c_is_input)
    rewritten = rewrite_exactly(proto).to_proto()
    assert OP_TYPE in ops(rewritten)
    assert "Gemm" not in ops(rewritten)
    feeds = {"x": random_array(*((7, 5) if trans_a else (5, 7)))} | ({"c": c} if c is not None and c_is_input else {})
    assert_same_outputs(proto, rewritten, feeds)


def test_gemm_folds_a_constant_row_into_the_bias() -> None:
    rewritten = rewrite_exactly(gemm_model(random_array(1, 20), beta=0.5)).to_proto()
    assert ops(rewritten) == [OP_TYPE]
    assert list(rewritten.graph.node[0].input) == ["x", "b_packed", "b_bias"]


def test_gemm_scales_a_running_c_by_a_mul() -> None:
    rewritten = rewrite_exactly(gemm_model(random_array(5, 20), beta=0.5, c_is_input=True)).to_proto()
    assert ops(rewritten) == ["Mul", OP_TYPE]
    assert list(rewritten.graph.node[1].input) == ["x", "b_packed", "b_bias", "c_scaled"]
    bias = next(tensor for tensor in rewritten.graph.initializer if tensor.name == "b_bias")
    assert not onnx.numpy_helper.to_array(bias).any()


@pytest.mark.parametrize("left", [[5, 7], [2, 5, 7], [2, 3, 5, 7], ["N", "T", 7]])
def test_matmul_with_constant_right_side_is_replaced(left: list[Any]) -> None:
    proto = matmul_model(left, random_array(7, 20))
    rewritten = rewrite_exactly(proto).to_proto()
    assert ops(rewritten) == [OP_TYPE]
    assert attributes(rewritten.graph.node[0]) == {"output_channels": 20, "method": b"exact"}
    sizes = [dim if isinstance(dim, int) else 4 for dim in left]
    assert_same_outputs(proto, rewritten, {"x": random_array(*sizes)})


@pytest.mark.parametrize("through", ["Constant", "Identity", "Constant and Identity"])
def test_weights_behind_constant_and_identity_nodes_count_as_constant(through: str) -> None:
    proto = conv_model(bias=False)
    weights = proto.graph.initializer.pop()
    nodes = []
    if "Constant" in through:
        nodes.append(node("Constant", [], ["held"], value=weights))
    else:
        proto.graph.initializer.append(numpy_helper.from_array(numpy_helper.to_array(weights), "held"))
    nodes.append(node("Identity", ["held"], ["conv.weight"]))
    if through == "Constant":
        nodes = [node("Constant", [], ["conv.weight"], value=weights)]
    for index, item in enumerate(nodes):
        proto.graph.node.insert(index, item)
    rewritten = rewrite_exactly(proto).to_proto()
    assert ops(rewritten) == [OP_TYPE]
    assert [tensor.name for tensor in rewritten.graph.initializer] == ["conv.weight_packed"]
    assert_same_outputs(proto, rewritten, {"x": random_array(1, 3, 20, 20)})


def test_weights_that_are_graph_inputs_are_kept() -> None:
    proto = conv_model(bias=False)
    proto.graph.initializer.pop()
    proto.graph.input.append(helper.make_tensor_value_info("conv.weight", 1, [32, 3, 3, 3]))
    assert reason(proto) == "weights are not constant"


def test_initializer_that_is_also_a_graph_input_is_kept() -> None:
    proto = conv_model()
    proto.graph.input.append(helper.make_tensor_value_info("conv.weight", 1, [32, 3, 3, 3]))
    assert reason(proto) == "weights are an initializer that is also a graph input"


def test_initializer_that_is_also_a_graph_input_is_constant_below_ir_version_4() -> None:
    proto = conv_model(ir_version=3)
    for tensor in proto.graph.initializer:
        proto.graph.input.append(helper.make_tensor_value_info(tensor.name, 1, list(tensor.dims)))
    rewritten = rewrite_exactly(proto).to_proto()
    assert ops(rewritten) == [OP_TYPE]
    assert [value.name for value in rewritten.graph.input] == ["x", "conv.bias", "conv.weight_packed"]
    assert_same_outputs(proto, rewritten, {"x": random_array(1, 3, 20, 20)})


def test_double_is_kept() -> None:
    held = {"w": random_array(7, 20).astype(np.float64)}
    proto = model([node("MatMul", ["x", "w"], ["y"])], {"x": [5, 7]}, {"y": None}, held, element=DOUBLE)
    assert reason(proto) == "unsupported type (float64; only float32 and float16 are supported)"


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ([7], random_array(7, 20), "the left side is a vector"),
        (None, random_array(7, 20), "the rank of the left side is not known (--shape gives it)"),
        ([5, 7], random_array(7), "the right side is a vector"),
        ([2, 5, 7], random_array(2, 7, 20), "batched right side (3 axes)"),
    ],
)
def test_matmul_of_another_form_is_kept(left: list[Any] | None, right: np.ndarray, expected: str) -> None:
    assert reason(matmul_model(left, right)) == expected


def test_matmul_with_constant_left_side_is_kept() -> None:
    proto = model([node("MatMul", ["a", "x"], ["y"])], {"x": [7, 5]}, {"y": None}, {"a": random_array(20, 7)})
    assert reason(proto) == "only the left side is constant"


def test_conv_with_four_spatial_axes_is_kept() -> None:
    held = {"w": random_array(20, 2, 1, 1, 1, 1)}
    proto = model([node("Conv", ["x", "w"], ["y"])], {"x": [1, 2, 3, 3, 3, 3]}, {"y": None}, held)
    assert reason(proto) == "4 spatial axes (1 to 3 are supported)"


def test_gemm_of_an_old_opset_is_kept() -> None:
    assert reason(gemm_model(random_array(5, 20), opset=6)) == "Gemm of opset 6 (supported from opset 7)"


def test_attribute_that_is_a_function_parameter_is_kept() -> None:
    conv = node("Conv", ["a", "w"], ["b"], name="conv")
    parameter = onnx.AttributeProto(name="strides", ref_attr_name="s", type=onnx.AttributeProto.INTS)
    conv.attribute.append(parameter)
    weights = node("Constant", [], ["w"], value=numpy_helper.from_array(random_array(32, 3, 3, 3)))
    function = helper.make_function("local", "F", ["a"], ["b"], [weights, conv], [helper.make_opsetid("", 17)], ["s"])
    call = helper.make_node("F", ["x"], ["y"], domain="local", s=[1, 1])
    shapes = {"x": [1, 3, 20, 20]}, {"y": [1, 32, 18, 18]}
    proto = model([call], *shapes, functions=[function], domains={"local": 1})
    assert reason(proto) == "attribute strides is a parameter of the function"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"channels": 4}, "X has 5 channels, but W was packed for 4"),
        ({"channels": 5, "kernel": 25}, "the output would have a negative size on axis 2"),
    ],
)
def test_node_whose_shapes_contradict_each_other_is_kept(options: dict[str, int], expected: str) -> None:
    proto = conv_model(**options)
    proto.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 5
    assert reason(proto) == f"its shapes contradict each other: {expected}"


def test_gemm_whose_running_c_does_not_broadcast_is_kept() -> None:
    assert "A of shape [4, 20] does not broadcast to [5, 20]" in reason(
        gemm_model(random_array(4, 20), c_is_input=True)
    )

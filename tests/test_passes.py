"""What the pipeline keeps of a model, and where it works: subgraphs, functions, shared weights, names, metadata."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from models_for_tests import (
    IR_VERSION,
    conv_model,
    function_model,
    if_model,
    loop_model,
    model,
    node,
    random_array,
)
from onnx import helper
from rewriting import assert_same_outputs, attributes, ops, rewrite_exactly

from drpass.operator.spec import DOMAIN, OP_TYPE
from drpass.rewriting import rewrite

X = random_array(1, 3, 20, 20)


def opsets(imports) -> dict[str, int]:
    return {item.domain: item.version for item in imports}


@pytest.mark.parametrize("flag", [True, False])
def test_both_branches_of_an_if_are_rewritten(flag: bool) -> None:
    proto = if_model()
    result = rewrite_exactly(proto)
    rewritten = result.to_proto()
    branches = attributes(rewritten.graph.node[0])
    assert [item.op_type for item in branches["then_branch"].node] == [OP_TYPE]
    assert [item.op_type for item in branches["else_branch"].node] == [OP_TYPE]
    assert {verdict.graph for verdict in result.report.verdicts} == {"choose/then_branch", "choose/else_branch"}
    assert_same_outputs(proto, rewritten, {"x": X, "flag": np.array(flag)})


def test_weights_of_the_outer_graph_are_packed_beside_the_node_that_reads_them() -> None:
    rewritten = rewrite_exactly(if_model()).to_proto()
    branches = attributes(rewritten.graph.node[0])
    assert [tensor.name for tensor in branches["else_branch"].initializer] == ["w_outer_packed"]
    assert not rewritten.graph.initializer


def test_body_of_a_loop_is_rewritten() -> None:
    proto = loop_model()
    rewritten = rewrite_exactly(proto).to_proto()
    body = attributes(rewritten.graph.node[0])["body"]
    assert [item.op_type for item in body.node] == [OP_TYPE, "Identity"]
    assert [value.name for value in body.output] == ["go_on", "next"]
    assert_same_outputs(proto, rewritten, {"x": X})


def test_body_of_a_scan_is_rewritten() -> None:
    body = helper.make_graph(
        [node("MatMul", ["row", "w"], ["product"], name="matmul"), node("Identity", ["state"], ["state_out"])],
        "body",
        [helper.make_tensor_value_info(name, 1, [2, 4]) for name in ("state", "row")],
        [helper.make_tensor_value_info(name, 1, [2, None]) for name in ("state_out", "product")],
    )
    scan = node("Scan", ["state0", "x"], ["last", "y"], name="scan", body=body, num_scan_inputs=1)
    shapes = {"state0": [2, 4], "x": [3, 2, 4]}, {"last": [2, 4], "y": [3, 2, 5]}
    proto = model([scan], *shapes, {"w": random_array(4, 5)})
    result = rewrite_exactly(proto)
    assert result.report.verdicts[0].graph == "scan/body"
    assert result.report.replaced == 1
    assert_same_outputs(proto, result.to_proto(), {"state0": random_array(2, 4), "x": random_array(3, 2, 4)})


def test_function_with_its_own_weights_is_rewritten_with_constant_nodes() -> None:
    proto = function_model()
    result = rewrite_exactly(proto)
    rewritten = result.to_proto()
    block, head = rewritten.functions
    assert [item.op_type for item in block.node] == ["Constant", OP_TYPE, "Cast"]
    assert block.node[2].output[0] == "b"
    assert attributes(block.node[2])["to"] == onnx.TensorProto.FLOAT
    assert opsets(block.opset_import)[DOMAIN] == 1
    assert [item.op_type for item in head.node] == ["Conv"]
    assert DOMAIN not in opsets(head.opset_import)
    verdicts = {verdict.node: verdict for verdict in result.report.verdicts}
    assert verdicts["conv_block"].graph == "function local::Block"
    assert verdicts["conv_block"].absorbed == ("b",)
    assert verdicts["conv_head"].reason == "weights are not constant"
    assert_same_outputs(proto, rewritten, {"x": X})


def test_batchnorm_inside_a_function_is_folded_into_constant_nodes() -> None:
    proto = function_model()
    block = proto.functions[0]
    block.node[-1].input[0] = "n"
    statistics = [f"s{index}" for index in range(4)]
    for index, name in enumerate(statistics):
        value = onnx.numpy_helper.from_array(np.abs(random_array(32, seed=index)) + np.float32(0.1))
        block.node.insert(0, node("Constant", [], [name], value=value))
    block.node.insert(len(block.node) - 1, node("BatchNormalization", ["c", *statistics], ["n"]))
    rewritten = rewrite_exactly(proto).to_proto()
    assert sorted(item.op_type for item in rewritten.functions[0].node) == ["Cast", "Constant", "Constant", OP_TYPE]
    assert_same_outputs(proto, rewritten, {"x": X})


def test_names_metadata_doc_strings_and_versions_are_kept() -> None:
    proto = conv_model([node("Relu", ["conv_out"], ["y"], name="relu")])
    proto.doc_string, proto.domain, proto.model_version = "about", "org.example", 7
    proto.graph.doc_string = "about the graph"
    proto.metadata_props.add(key="author", value="somebody")
    conv = proto.graph.node[0]
    conv.doc_string = "about the node"
    conv.metadata_props.add(key="namespace", value="stem")
    proto.graph.output[0].doc_string = "about the output"
    proto.graph.output[0].type.tensor_type.shape.CopyFrom(
        helper.make_tensor_value_info("y", 1, ["N", 32, "H", "W"]).type.tensor_type.shape
    )
    rewritten = rewrite_exactly(proto).to_proto()
    assert rewritten.ir_version == IR_VERSION
    assert opsets(rewritten.opset_import) == {"": 17, DOMAIN: 1}
    for field in ("producer_name", "doc_string", "domain", "model_version", "metadata_props"):
        assert getattr(rewritten, field) == getattr(proto, field), field
    assert rewritten.graph.input == proto.graph.input
    assert rewritten.graph.output == proto.graph.output
    assert rewritten.graph.doc_string == "about the graph"
    assert rewritten.graph.name == "graph"
    reuse = rewritten.graph.node[0]
    assert (reuse.name, reuse.doc_string, list(reuse.output)) == ("conv", "about the node", ["y"])
    assert {item.key: item.value for item in reuse.metadata_props} == {"namespace": "stem"}


def test_value_info_of_kept_values_stays() -> None:
    proto = conv_model([node("Softmax", ["conv_out"], ["y"])])
    proto.graph.value_info.append(helper.make_tensor_value_info("conv_out", 1, ["N", 32, "H", "W"]))
    assert list(rewrite_exactly(proto).to_proto().graph.value_info) == list(proto.graph.value_info)


def test_inferred_shapes_are_not_written_into_the_model() -> None:
    proto = conv_model([node("Softmax", ["conv_out"], ["y"])])
    result = rewrite_exactly(proto, shapes={"x": [4, 3, 20, 20]})
    assert result.report.replaced == 1
    assert not result.to_proto().graph.value_info
    assert result.to_proto().graph.input == proto.graph.input


def test_model_with_nothing_to_replace_comes_back_unchanged() -> None:
    proto = model([node("Relu", ["x"], ["y"])], {"x": ["N", 4]}, {"y": None})
    result = rewrite_exactly(proto)
    assert result.report.verdicts == ()
    assert result.to_proto() == proto


def test_model_whose_nodes_are_all_kept_comes_back_unchanged() -> None:
    proto = conv_model([node("Relu", ["conv_out"], ["y"])])
    assert rewrite_exactly(proto, exclude=["conv"]).to_proto() == proto


@pytest.mark.parametrize("make", [conv_model, if_model, loop_model, function_model])
def test_rewriting_twice_changes_nothing(make) -> None:
    once = rewrite_exactly(make()).to_proto()
    again = rewrite_exactly(once)
    assert again.report.replaced == 0
    assert again.to_proto() == once


def test_nodes_without_names_stay_without_and_are_reported_by_their_output() -> None:
    proto = conv_model([node("Relu", ["conv_out"], ["y"])])
    for item in proto.graph.node:
        item.ClearField("name")
    result = rewrite_exactly(proto)
    verdict = result.report.verdicts[0]
    assert (verdict.node, verdict.replaced, verdict.absorbed) == ("conv_out", True, ("y",))
    assert not result.to_proto().graph.node[0].name


def shared_weights_model(**second) -> onnx.ModelProto:
    held = {"w": random_array(32, 6, 1, 1)}
    nodes = [
        node("Conv", ["x", "w"], ["a"], name="first"),
        node("Conv", ["x", "w"], ["b"], name="second", **second),
        node("Mul", ["a", "b"], ["y"]),
    ]
    return model(nodes, {"x": [1, 6, 20, 20]}, {"y": None}, held)


def test_nodes_with_the_same_weights_share_one_packed_initializer() -> None:
    rewritten = rewrite_exactly(shared_weights_model(strides=[1, 1])).to_proto()
    assert [tensor.name for tensor in rewritten.graph.initializer] == ["w_packed"]


def test_nodes_that_read_the_same_weights_otherwise_do_not_share_them() -> None:
    nodes = [
        node("Gemm", ["x", "w"], ["a"]),
        node("Gemm", ["x", "w"], ["b"], transB=1),
        node("Gemm", ["x", "w"], ["c"], alpha=0.5),
        node("Sum", ["a", "b", "c"], ["y"]),
    ]
    proto = model(nodes, {"x": [5, 7]}, {"y": None}, {"w": random_array(7, 7)})
    rewritten = rewrite_exactly(proto).to_proto()
    assert [t.name for t in rewritten.graph.initializer] == ["w_packed", "w_packed_2", "w_packed_3"]
    assert_same_outputs(proto, rewritten, {"x": random_array(5, 7)})


def test_batchnorm_behind_one_of_two_nodes_with_the_same_weights_leaves_the_other_alone() -> None:
    proto = shared_weights_model()
    statistics = {name: np.abs(random_array(32, seed=index)) for index, name in enumerate(("s", "t", "m", "v"))}
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in statistics.items())
    proto.graph.node[2].input[1] = "n"
    proto.graph.node.insert(2, node("BatchNormalization", ["b", *statistics], ["n"]))
    rewritten = rewrite_exactly(proto).to_proto()
    assert ops(rewritten) == [OP_TYPE, OP_TYPE, "Mul"]
    assert sorted(t.name for t in rewritten.graph.initializer) == ["w_bias", "w_packed", "w_packed_2"]
    assert_same_outputs(proto, rewritten, {"x": random_array(1, 6, 20, 20)})


def test_weights_that_another_node_still_reads_are_kept() -> None:
    total = node("ReduceSum", ["conv.weight"], ["total"], keepdims=0)
    proto = conv_model([total, node("Add", ["conv_out", "total"], ["y"])])
    rewritten = rewrite_exactly(proto).to_proto()
    assert sorted(tensor.name for tensor in rewritten.graph.initializer) == [
        "conv.bias", "conv.weight", "conv.weight_packed",
    ]  # fmt: skip
    assert_same_outputs(proto, rewritten, {"x": X})


def test_unused_initializers_of_the_original_are_kept() -> None:
    rewritten = rewrite_exactly(conv_model(constants={"left over": random_array(3)})).to_proto()
    assert "left over" in [tensor.name for tensor in rewritten.graph.initializer]


def test_new_names_avoid_those_in_use() -> None:
    mul = node("Mul", ["conv_out", "conv.weight_packed"], ["y"])
    proto = conv_model([mul], {"conv.weight_packed": random_array(18)})
    rewritten = rewrite_exactly(proto).to_proto()
    assert {t.name for t in rewritten.graph.initializer} == {"conv.bias", "conv.weight_packed", "conv.weight_packed_2"}
    assert_same_outputs(proto, rewritten, {"x": X})


def test_unknown_custom_domains_are_left_untouched() -> None:
    custom = helper.make_node("Whatever", ["conv_out"], ["y"], name="custom", domain="org.example", setting=3)
    proto = conv_model([custom])
    proto.opset_import.append(helper.make_opsetid("org.example", 2))
    proto.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", 1, ["N"]))
    result = rewrite_exactly(proto)
    rewritten = result.to_proto()
    assert rewritten.graph.node[1] == proto.graph.node[1]
    assert ops(rewritten) == [OP_TYPE, "Whatever"]
    assert opsets(rewritten.opset_import) == {"": 17, "org.example": 2, DOMAIN: 1}
    assert any("strict shape inference" in note for note in result.report.notes)


def test_rewritten_models_pass_the_checker_and_strict_inference() -> None:
    for proto in (conv_model(), if_model(), loop_model(), function_model()):
        rewritten = rewrite(proto).to_proto()
        inferred = onnx.shape_inference.infer_shapes(rewritten, check_type=True, strict_mode=True, data_prop=True)
        # With custom domains the checker takes the model's own functions for unknown operators.
        onnx.checker.check_model(inferred, full_check=True, check_custom_domain=not proto.functions)

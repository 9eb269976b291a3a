"""What differs between two models: replaced nodes, tensors, and what a model says of itself."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from differences import chain, edited, text
from models_for_tests import conv_model, function_model, if_model, loop_model, model, node, random_array
from onnx import helper, numpy_helper
from rewriting import rewrite

from drpass.difference import FieldChange, NodeRef, diff
from drpass.errors import DrpassError


@pytest.mark.parametrize("build", [chain, if_model, loop_model, function_model, conv_model])
def test_a_model_does_not_differ_from_itself(build: Callable[[], onnx.ModelProto]) -> None:
    found = diff(build(), build())
    assert not found.different
    assert text(found).startswith("No difference")


# Replaced nodes


def test_a_replaced_conv_is_one_changed_node_with_what_it_absorbed() -> None:
    before = conv_model([node("Relu", ["conv_out"], ["y"], name="act")])
    (change,) = diff(before, rewrite(before).model).nodes()
    assert (change.kind, change.name, change.op) == ("changed", "conv", "Conv → DeepReuseGemm")
    assert change.absorbed == [NodeRef("act", "Relu")]
    assert change.parameters is not None
    assert change.parameters.startswith("grid L=4")
    assert FieldChange("activation", None, "relu") in change.fields
    assert FieldChange("output 0", "conv_out", "y") in change.fields


def test_attributes_that_say_the_default_are_not_missed_in_another_operator() -> None:
    before = conv_model(strides=[1, 1], dilations=[1, 1], group=1, pads=[0, 0, 0, 0])
    (change,) = diff(before, rewrite(before).model).nodes()
    assert not {"strides", "dilations", "group", "pads"} & {field.field for field in change.fields}
    strided = conv_model(strides=[2, 2], size=40)
    (change,) = diff(strided, conv_model(size=40)).nodes()
    assert change.fields == [FieldChange("strides", "[2, 2]", None)]


def test_the_reverse_shows_what_was_released() -> None:
    before = conv_model([node("Relu", ["conv_out"], ["y"], name="act")])
    (change,) = diff(rewrite(before).model, before).nodes()
    assert change.op == "DeepReuseGemm → Conv"
    assert change.released == [NodeRef("act", "Relu")]
    assert change.absorbed == []


def test_a_batch_normalisation_folded_into_a_conv_is_absorbed_by_it() -> None:
    held = {name: np.abs(random_array(32, seed=index)) for index, name in enumerate(("s", "b", "m", "v"))}
    before = conv_model([node("BatchNormalization", ["conv_out", "s", "b", "m", "v"], ["y"], name="bn")], held)
    after = conv_model(bias=True)
    after.graph.node[0].output[0] = after.graph.output[0].name = "y"
    (change,) = diff(before, after).nodes()
    assert (change.op, change.absorbed) == ("Conv", [NodeRef("bn", "BatchNormalization")])


def test_text_of_a_replaced_conv_says_everything_once() -> None:
    before = conv_model([node("Relu", ["conv_out"], ["y"], name="act")])
    shown = text(diff(before, rewrite(before).model))
    assert "~ conv  Conv → DeepReuseGemm  grid L=4" in shown
    assert "absorbed act (Relu)" in shown
    assert "1 node changed: 1 Conv → DeepReuseGemm" in shown
    assert "1 node removed: 1 Relu" in shown
    assert "- act" not in shown, "an absorbed node is not listed as removed as well"
    assert "sub_vector_length" not in shown, "parameters are in the first line already"
    assert "+ ai.drpass  1" in shown
    assert "- conv.weight  float [32, 3, 3, 3]  3.4 KiB" in shown


def test_replaced_nodes_in_branches_bodies_and_functions_are_found() -> None:
    before = if_model()
    found = diff(before, rewrite(before).model)
    assert {(scope.where, node.name, node.op) for scope in found.scopes for node in scope.nodes} == {
        ("choose.then_branch", "conv_then", "Conv → DeepReuseGemm"),
        ("choose.else_branch", "conv_else", "Conv → DeepReuseGemm"),
    }
    assert "nodes of choose.then_branch" in text(found)


# Everything else in a model


def test_a_changed_initializer_says_where_it_is_used() -> None:
    found = edited(
        lambda after: after.graph.initializer[0].CopyFrom(
            numpy_helper.from_array(random_array(4, 3, 3, 3, seed=9), "w1")
        )
    )
    (change,) = found.scopes[0].initializers
    assert change.kind == "changed"
    assert change.before is not None
    assert change.after is not None
    assert change.before.sha256 != change.after.sha256
    assert (change.after.dtype, change.after.shape, change.after.bytes) == ("float", [4, 3, 3, 3], 432)
    assert change.after.used_by == ["first"]
    assert list(found.nodes()) == []


def test_an_initializer_with_the_same_bytes_and_another_type_differs() -> None:
    def held(kind: type) -> onnx.ModelProto:
        return model([node("Identity", ["x"], ["y"])], {"x": [1]}, {"y": [1]}, {"k": np.zeros(4, kind)})

    (change,) = diff(held(np.float32), held(np.int32)).scopes[0].initializers
    assert change.kind == "changed"


def test_inputs_and_outputs_that_change_type_appear_or_move() -> None:
    def edit(after: onnx.ModelProto) -> None:
        after.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
        after.graph.input.append(helper.make_tensor_value_info("extra", onnx.TensorProto.INT64, [2]))
        after.graph.output.insert(0, helper.make_tensor_value_info("b", onnx.TensorProto.FLOAT, None))

    (scope,) = edited(edit).scopes
    assert scope.inputs == [
        FieldChange("x", "float [N, 3, 8, 8]", "float [batch, 3, 8, 8]"),
        FieldChange("extra", None, "int64 [2]"),
    ]
    assert scope.outputs == [FieldChange("b", None, "float")]


def test_the_order_of_outputs_counts() -> None:
    def pair(*names: str) -> onnx.ModelProto:
        nodes = [node("Abs", ["x"], ["a"]), node("Neg", ["x"], ["b"])]
        return model(nodes, {"x": [1]}, {name: [1] for name in names})

    (scope,) = diff(pair("a", "b"), pair("b", "a")).scopes
    assert scope.outputs == [FieldChange("(order)", "a, b", "b, a")]


def test_opsets_ir_version_producer_and_metadata() -> None:
    def edit(after: onnx.ModelProto) -> None:
        after.opset_import[0].version = 18
        after.opset_import.append(helper.make_opsetid("com.example", 2))
        after.ir_version = 9
        after.producer_name = "other"
        after.metadata_props.add(key="author", value="me")

    found = edited(edit)
    assert found.opsets == [FieldChange("ai.onnx", "17", "18"), FieldChange("com.example", None, "2")]
    assert found.properties == [
        FieldChange("IR version", "8", "9"),
        FieldChange("producer", "tests", "other"),
        FieldChange("metadata author", None, "me"),
    ]
    assert "+ com.example  2" in text(found)


def test_a_function_that_changes_inside_and_one_that_goes() -> None:
    def edit(after: onnx.ModelProto) -> None:
        after.functions[0].node[2].op_type = "Sigmoid"
        del after.functions[1]

    found = edited(edit, function_model())
    (scope,) = found.scopes
    assert scope.where == "function local::Block"
    assert [change.op for change in scope.nodes] == ["Relu → Sigmoid"]
    assert found.functions == [FieldChange("local::Head", "1 nodes", None)]


def test_a_damaged_constant_is_one_line() -> None:
    damaged = chain()
    damaged.graph.initializer[0].raw_data = b"123"
    with pytest.raises(DrpassError, match="w1"):
        diff(chain(), damaged)

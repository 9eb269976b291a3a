from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from command_line import drpass
from hypothesis import given, settings
from hypothesis import strategies as st
from models_for_tests import conv_model, function_model, if_model, loop_model, model, node, random_array
from onnx import helper, numpy_helper
from rewriting import rewrite

from drpass.difference import FieldChange, GraphDiff, NodeRef, diff, lines
from drpass.errors import DrpassError


def chain(*, names: bool = True, prefix: str = "") -> onnx.ModelProto:
    """x → Conv → Relu → Conv → Add → y, every name of a value or node beginning with ``prefix``."""
    nodes = [
        node("Conv", ["x", f"{prefix}w1"], [f"{prefix}a"], name=f"{prefix}first", pads=[1, 1, 1, 1]),
        node("Relu", [f"{prefix}a"], [f"{prefix}b"], name=f"{prefix}relu"),
        node("Conv", [f"{prefix}b", f"{prefix}w2"], [f"{prefix}c"], name=f"{prefix}second"),
        node("Add", [f"{prefix}c", f"{prefix}k"], ["y"], name=f"{prefix}add"),
    ]
    for item in nodes if not names else ():
        item.name = ""
    held = {
        f"{prefix}w1": random_array(4, 3, 3, 3),
        f"{prefix}w2": random_array(5, 4, 3, 3),
        f"{prefix}k": random_array(5, 1, 1),
    }
    return model(nodes, {"x": ["N", 3, 8, 8]}, {"y": ["N", 5, 6, 6]}, held)


def text(found: GraphDiff) -> str:
    return "\n".join(line.plain for line in lines(found))


def edited(edit: Callable[[onnx.ModelProto], object], base: onnx.ModelProto | None = None) -> GraphDiff:
    """The difference that an edit of the chain (or of ``base``) makes."""
    before = base or chain()
    after = onnx.ModelProto()
    after.CopyFrom(before)
    edit(after)
    return diff(before, after)


def only_node(found: GraphDiff) -> list[tuple[str, str, list[FieldChange]]]:
    return [(change.kind, change.name, change.fields) for change in found.nodes()]


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


# Nodes


def test_a_changed_attribute() -> None:
    found = edited(lambda after: after.graph.node[0].attribute[0].ints.__setitem__(0, 2))
    assert only_node(found) == [("changed", "first", [FieldChange("pads", "[1, 1, 1, 1]", "[2, 1, 1, 1]")])]
    assert "~ pads  [1, 1, 1, 1] → [2, 1, 1, 1]" in text(found)


def test_an_attribute_that_appears_and_one_that_goes() -> None:
    def edit(after: onnx.ModelProto) -> None:
        del after.graph.node[0].attribute[:]
        after.graph.node[0].attribute.append(helper.make_attribute("group", 1))

    ((kind, name, fields),) = only_node(edited(edit))
    assert (kind, name) == ("changed", "first")
    assert fields == [FieldChange("pads", "[1, 1, 1, 1]", None), FieldChange("group", None, "1")]


def test_a_long_attribute_that_differs_beyond_what_is_shown() -> None:
    def constant(last: int) -> onnx.ModelProto:
        values = node("Constant", [], ["y"], value_ints=[0] * 500 + [last])
        return model([values], {}, {"y": [501]}, element=onnx.TensorProto.INT64)

    ((_, _, (field,)),) = only_node(diff(constant(1), constant(2)))
    assert field.field == "value_ints"
    assert field.before != field.after
    assert len(field.before or "") < 120


def test_a_constant_with_another_tensor() -> None:
    def constant(value: float) -> onnx.ModelProto:
        tensor = numpy_helper.from_array(np.full((3,), value, np.float32))
        return model([node("Constant", [], ["y"], value=tensor)], {}, {"y": [3]})

    ((_, _, (field,)),) = only_node(diff(constant(1), constant(2)))
    assert "[1.0, 1.0, 1.0]" in (field.before or "")
    assert "[2.0, 2.0, 2.0]" in (field.after or "")


def test_attributes_that_are_nan_in_both_do_not_differ() -> None:
    def leaky(alpha: float) -> onnx.ModelProto:
        return model([node("LeakyRelu", ["x"], ["y"], alpha=alpha)], {"x": [1]}, {"y": [1]})

    assert not diff(leaky(np.nan), leaky(np.nan)).different
    assert diff(leaky(np.nan), leaky(0.5)).different


def test_a_removed_and_an_added_node() -> None:
    def bypass(after: onnx.ModelProto) -> None:
        del after.graph.node[1]
        after.graph.node[1].input[0] = "a"

    removed = edited(bypass)
    assert only_node(removed) == [
        ("removed", "relu", []),
        ("changed", "second", [FieldChange("input 0", "b", "a")]),
    ]
    assert "  - relu  Relu" in text(removed)
    after = chain()
    bypass(after)
    added = diff(after, chain())
    assert ("added", "relu", []) in only_node(added)
    assert "  + relu  Relu" in text(added)


def test_an_optional_input_that_is_left_out() -> None:
    def clip(low: str) -> onnx.ModelProto:
        held = {"low": np.float32(0), "high": np.float32(6)}
        return model([node("Clip", ["x", low, "high"], ["y"])], {"x": [4]}, {"y": [4]}, held)

    ((_, _, fields),) = only_node(diff(clip("low"), clip("")))
    assert fields == [FieldChange("input 1", "low", None)]


def test_another_order_of_nodes_is_no_difference() -> None:
    def two(*order: int) -> onnx.ModelProto:
        nodes = [node("Abs", ["x"], ["a"]), node("Neg", ["x"], ["b"]), node("Exp", ["x"], ["c"])]
        return model([nodes[index] for index in order], {"x": [1]}, {"a": [1], "b": [1], "c": [1]})

    assert not diff(two(0, 1, 2), two(2, 0, 1)).different


# Nodes whose names do not help


def test_a_node_of_another_operator_that_gives_the_same_value_is_the_changed_node() -> None:
    left = model([node("Abs", ["x"], ["y"], name="a")], {"x": [1]}, {"y": [1]})
    right = model([node("Neg", ["x"], ["y"], name="n")], {"x": [1]}, {"y": [1]})
    (change,) = diff(left, right).nodes()
    assert (change.kind, change.op, change.fields) == ("changed", "Abs → Neg", [FieldChange("name", "a", "n")])


def test_unnamed_nodes_are_matched_by_what_they_give() -> None:
    base = chain(names=False)
    found = edited(lambda after: after.graph.node[0].attribute[0].ints.__setitem__(0, 2), base)
    ((kind, name, _),) = only_node(found)
    assert (kind, name) == ("changed", "<a>")


def test_renumbered_names_follow_the_values() -> None:
    def edit(after: onnx.ModelProto) -> None:
        after.graph.node[2].name = "first"  # as an exporter does that counts anew
        after.graph.node[0].name = "zero"

    changes = {name: fields for _, name, fields in only_node(edited(edit))}
    assert changes == {
        "first": [FieldChange("name", "first", "zero")],
        "second": [FieldChange("name", "second", "first")],
    }


def test_when_every_name_is_different_only_names_differ() -> None:
    found = diff(chain(), chain(prefix="n_"))
    assert {change.kind for change in found.nodes()} == {"changed"}
    fields = {field.field for change in found.nodes() for field in change.fields}
    assert fields == {"name", "output 0"}, "renamed inputs are said where they are made"
    assert {(item.kind, item.name, item.new_name) for item in found.scopes[0].initializers} == {
        ("renamed", "w1", "n_w1"),
        ("renamed", "w2", "n_w2"),
        ("renamed", "k", "n_k"),
    }


def test_nodes_of_which_nothing_is_the_same_are_aligned_by_order() -> None:
    after = chain(prefix="n_")
    for item in after.graph.initializer:
        item.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(item) + 1, item.name))
    assert [change.op for change in diff(chain(), after).nodes()] == ["Conv", "Relu", "Conv", "Add"]


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_removed_one_way_is_added_the_other_way(data: st.DataObject) -> None:
    operators = st.lists(st.sampled_from(["Abs", "Neg", "Exp", "Relu"]), min_size=1, max_size=8)

    def build(types: list[str], tag: str) -> onnx.ModelProto:
        named = data.draw(st.lists(st.booleans(), min_size=len(types), max_size=len(types)))
        nodes = [
            helper.make_node(kind, ["x"], [f"v{index}{tag * (index % 2)}"], name=f"{kind}{index}" if keep else "")
            for index, (kind, keep) in enumerate(zip(types, named))
        ]
        return model(nodes, {"x": [1]}, {item.output[0]: [1] for item in nodes})

    left, right = build(data.draw(operators), ""), build(data.draw(operators), "t")
    forth, back = diff(left, right).operators(), diff(right, left).operators()
    balance = {"added": len(right.graph.node), "removed": len(left.graph.node)}
    matched = len(left.graph.node) - sum(count for (kind, _), count in forth.items() if kind == "removed")
    assert balance["added"] - matched == sum(count for (kind, _), count in forth.items() if kind == "added")
    for kind, other in (("removed", "added"), ("added", "removed")):
        one = {op: count for (what, op), count in forth.items() if what == kind}
        assert one == {op: count for (what, op), count in back.items() if what == other}


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


# The command


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    before = conv_model([node("Relu", ["conv_out"], ["y"], name="act")])
    onnx.save(before, tmp_path / "before.onnx")
    rewrite(before).save(tmp_path / "after.onnx")
    return tmp_path / "before.onnx", tmp_path / "after.onnx"


def test_command_exits_with_1_only_if_asked_and_different(files: tuple[Path, Path]) -> None:
    before, after = files
    assert drpass("diff", before, after).status == 0
    assert drpass("diff", before, after, "--exit-code").status == 1
    assert drpass("diff", before, before, "--exit-code").status == 0


def test_command_prints_json(files: tuple[Path, Path]) -> None:
    report = json.loads(drpass("diff", *files, "--json").out)
    assert report["different"] is True
    (change,) = report["scopes"][0]["nodes"]
    assert change["op_after"] == "DeepReuseGemm"
    assert change["absorbed"] == [{"name": "act", "op": "Relu"}]
    assert {"field": "method", "before": None, "after": "grid"} in change["fields"]


def test_command_prints_names_with_brackets_as_they_are(tmp_path: Path) -> None:
    left = model([node("Abs", ["x"], ["y"], name="[bold]a[/b]")], {"x": [1]}, {"y": [1]})
    right = model([node("Neg", ["x"], ["y"], name="[bold]a[/b]")], {"x": [1]}, {"y": [1]})
    onnx.save(left, tmp_path / "l.onnx")
    onnx.save(right, tmp_path / "r.onnx")
    assert "~ [bold]a[/b]  Abs → Neg" in drpass("diff", tmp_path / "l.onnx", tmp_path / "r.onnx").out


def test_command_reads_models_of_unknown_domains(tmp_path: Path) -> None:
    strange = helper.make_node("Strange", ["x"], ["y"], domain="com.unknown", name="s")
    onnx.save(model([strange], {"x": [1]}, {"y": [1]}, domains={"com.unknown": 1}), tmp_path / "l.onnx")
    onnx.save(model([node("Abs", ["x"], ["y"], name="s")], {"x": [1]}, {"y": [1]}), tmp_path / "r.onnx")
    outcome = drpass("diff", tmp_path / "l.onnx", tmp_path / "r.onnx")
    assert outcome.status == 0
    assert "~ s  com.unknown::Strange → Abs" in outcome.out


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 100_000), st.binary(min_size=1, max_size=6))
def test_command_reads_or_refuses_damaged_files(
    tmp_path_factory: pytest.TempPathFactory, offset: int, noise: bytes
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    onnx.save(if_model(), folder / "whole.onnx")
    body = bytearray((folder / "whole.onnx").read_bytes())
    # Most of the file is weights; hit the structure as often.
    offset = offset % len(body) if offset % 2 else offset % 600
    body[offset : offset + len(noise)] = noise
    (folder / "damaged.onnx").write_bytes(body)
    outcome = drpass("diff", folder / "whole.onnx", folder / "damaged.onnx")
    assert outcome.status in (0, 2), outcome.err
    assert outcome.status == 0 or outcome.err.startswith("error: ")

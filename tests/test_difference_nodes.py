"""What differs between two models: nodes, also those whose names do not help."""

from __future__ import annotations

import numpy as np
import onnx
from differences import chain, edited, only_node, text
from hypothesis import given, settings
from hypothesis import strategies as st
from models_for_tests import model, node
from onnx import helper, numpy_helper

from drpass.difference import FieldChange, diff


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


@settings(max_examples=50)
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

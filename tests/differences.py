"""A chain of nodes that tests edit, and what differs then."""

from __future__ import annotations

from collections.abc import Callable

import onnx
from models_for_tests import model, node, random_array

from drpass.difference import FieldChange, GraphDiff, diff, lines


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

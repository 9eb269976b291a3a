"""Where nodes live: the main graph, bodies of If, Loop and Scan, and model-local functions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir

from drpass.operator.spec import DOMAIN, OP_TYPE
from drpass.rules.folding import is_foldable


@dataclass(frozen=True)
class Place:
    """One graph of a model, with what a pass must know to work in it."""

    graph: ir.Graph
    #: "" for the main graph, else "if_node/then_branch" or "function domain::name".
    path: str
    #: Functions can't have initializers: constants are nodes there.
    in_function: bool
    #: The opset version of the domain ai.onnx.
    opset: int


def places(model: ir.Model) -> Iterator[Place]:
    """All graphs of a model, outer before inner, the main graph first."""
    yield from _walk(Place(model.graph, "", False, _opset(model.graph.opset_imports)))
    for function in model.functions.values():
        path = f"function {function.domain}::{function.name}" + (f":{function.overload}" if function.overload else "")
        yield from _walk(Place(function.graph, path, True, _opset(function.opset_imports)))


def is_reuse(node: ir.Node | onnx.NodeProto) -> bool:
    """Whether it is a DeepReuseGemm."""
    return bool(node.domain == DOMAIN and node.op_type == OP_TYPE)


def reuse_nodes(model: ir.Model) -> Iterator[ir.Node]:
    """All DeepReuseGemm nodes of a model, by place, in the order of the graph."""
    return (node for place in places(model) for node in place.graph if is_reuse(node))


def label(node: ir.Node) -> str:
    """How a node is called in reports, and by ``include`` and ``exclude``: its name, else that of its output."""
    return node.name or next((output.name for output in node.outputs if output.name), "") or node.op_type


class Names:
    """The names of the values of a model, or of its nodes, to make new ones."""

    def __init__(self, model: ir.Model, *, nodes: bool = False) -> None:
        if nodes:
            self._used = {node.name or "" for place in places(model) for node in place.graph}
        else:
            self._used = {name for place in places(model) for name in _value_names(place.graph)}

    def unique(self, base: str) -> str:
        """``base``, or ``base`` with the first free number; taken from now on."""
        name, number = base, 1
        while name in self._used:
            number += 1
            name = f"{base}_{number}"
        self._used.add(name)
        return name

    def release(self, name: str | None) -> None:
        """Say that nothing has this name any more."""
        self._used.discard(name or "")


def add_constant(
    place: Place, constant: npt.NDArray[Any] | np.floating[Any] | ir.TensorProtocol, name: str, before: ir.Node
) -> ir.Value:
    """A constant that ``before`` can read: an initializer, or a Constant node inside a function."""
    tensor = constant if isinstance(constant, ir.TensorProtocol) else ir.tensor(constant)
    tensor.name = name
    if not place.in_function:
        shape = ir.Shape(tensor.shape.numpy())
        value = ir.Value(name=name, shape=shape, type=ir.TensorType(tensor.dtype), const_value=tensor)
        place.graph.register_initializer(value)
        return value
    node = ir.node("Constant", [], attributes={"value": tensor}, name=name)
    node.outputs[0].name = name
    place.graph.insert_before(before, node)
    return node.outputs[0]


def drop_unused(values: set[ir.Value], names: Names) -> None:
    """Remove those of ``values`` that were constants and that nothing reads any more, and what fed only them."""
    pending = list(values)
    while pending:
        value = pending.pop()
        if value.uses() or value.is_graph_output() or value.is_graph_input():
            continue
        node = value.producer()
        if value.is_initializer() and value.graph is not None and value.name:
            value.graph.initializers.pop(value.name)
            names.release(value.name)
        elif node is not None and node.graph and (_is_constant_or_identity(node) or is_foldable(node)):
            pending.extend(source for source in node.inputs if source is not None)
            node.graph.remove(node, safe=True)
            names.release(value.name)


def _is_constant_or_identity(node: ir.Node) -> bool:
    return node.domain == "" and node.op_type in ("Constant", "Identity")


def _walk(place: Place) -> Iterator[Place]:
    yield place
    for node in place.graph:
        for attribute in node.attributes.values():
            if attribute.is_ref():
                continue
            if attribute.type == ir.AttributeType.GRAPH:
                bodies = [attribute.as_graph()]
            elif attribute.type == ir.AttributeType.GRAPHS:
                bodies = list(attribute.as_graphs())
            else:
                continue
            for index, body in enumerate(bodies):
                suffix = f"{attribute.name}[{index}]" if len(bodies) > 1 else attribute.name
                path = "/".join(filter(None, (place.path, label(node), suffix)))
                yield from _walk(Place(body, path, place.in_function, place.opset))


def _opset(imports: dict[str, int]) -> int:
    return imports.get("", imports.get("ai.onnx", 0))


def _value_names(graph: ir.Graph) -> Iterator[str]:
    for value in (*graph.inputs, *graph.initializers.values()):
        yield value.name or ""
    for node in graph:
        yield from (output.name or "" for output in node.outputs)

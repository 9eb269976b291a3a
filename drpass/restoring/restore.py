"""Give the computation that a rewritten model stands for back, in operators of ONNX only."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import onnx
import onnx_ir as ir

from drpass import model_io
from drpass.errors import DrpassError
from drpass.model_check import fault, require_valid
from drpass.operator.spec import DOMAIN, OP_TYPE, ReuseParameters, X
from drpass.passes import legacy_inputs
from drpass.passes.declare_types import type_of
from drpass.passes.places import Names, Place, drop_unused, label, places
from drpass.replay import METADATA_KEY, parameters_of
from drpass.restoring.blocks import Channels, find_blocks, unblock
from drpass.restoring.operators import Workshop
from drpass.rewriting import EXTERNAL, ModelLike, message_of
from drpass.rules.anchor import Kept, input_of
from drpass.shape_inference import infer_shapes, shape_of

UNCHANGED = "the model has no node of drpass; it is unchanged"
FOLDED = (
    "what was folded into weights and biases (BatchNormalization, factors, alpha and beta of Gemm, DequantizeLinear) "
    "stays folded; all other weights have the bits that they had"
)


@dataclass(frozen=True)
class Restored:
    """What became of one node of the library."""

    #: The node's name, or the name of its output where it has none; the first of the operators has it too.
    node: str
    op_type: str
    #: "" for the main graph, else the path of the subgraph or function.
    graph: str
    #: The ONNX operators in its place, in order.
    operators: tuple[str, ...]
    #: Of a DeepReuseGemm; None for LRN and pools.
    parameters: ReuseParameters | None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "node": self.node,
            "op_type": self.op_type,
            "graph": self.graph,
            "operators": list(self.operators),
            "parameters": self.parameters.attributes() if self.parameters else None,
        }


@dataclass(frozen=True)
class RestoreReport:
    """What was done, in graph order; ``notes``: what the user should know besides."""

    nodes: tuple[Restored, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        nodes = [node.to_dict() for node in self.nodes]
        return {"restored": len(nodes), "nodes": nodes, "notes": list(self.notes)}


@dataclass(frozen=True)
class RestoreResult:
    """The restored model and the report. A model without nodes of the library is unchanged."""

    model: ir.Model
    report: RestoreReport
    #: None: the model is too large for a message.
    _proto: onnx.ModelProto | None = field(repr=False)

    def to_proto(self) -> onnx.ModelProto:
        """The restored model as a protobuf message (a copy). Raises DrpassError if it is over 2 GB."""
        return message_of(self.model if self._proto is None else self._proto)[0]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the restored model, over 2 GB with its data beside it; raises DrpassError if that fails."""
        model_io.save(self.model if self._proto is None else self._proto, path)


def restore(model: ModelLike) -> RestoreResult:
    """Put ONNX operators in the place of all nodes of the library: exact ones, also where a node clustered.

    ``model`` is not changed. Inputs, outputs, names of nodes, metadata, opsets and the IR version stay; values that
    were in NCHW16c are in NCHW again.

    Raises DrpassError if the model can't be read, is not valid ONNX, or has a node that no ONNX operator can replace.
    """
    proto, name = message_of(model)
    require_valid(proto, name)
    strict_fault = fault(proto, strict=True)
    working = model_io.to_ir(proto, name)
    if not any(node.domain == DOMAIN for place in places(working) for node in place.graph):
        return RestoreResult(working, RestoreReport((), (UNCHANGED,)), proto)
    legacy_inputs.hide(working)
    nodes, blocked = _restore(working, name)
    legacy_inputs.restore(working)
    result = None if model_io.is_large(working) else model_io.to_proto(working)
    if message := fault(model_io.outline(working) if result is None else result, strict=not strict_fault):
        raise DrpassError(f"{name} can't be restored, because the result would not be valid: {message}")
    notes = (*_notes(nodes, blocked), *(() if result else (EXTERNAL,)))
    return RestoreResult(working, RestoreReport(tuple(nodes), notes), result)


def _restore(model: ir.Model, name: str) -> tuple[list[Restored], int]:
    """Restores in place; returns what became of the nodes, and how many values were in blocks."""
    shapes = infer_shapes(model)
    channels: Channels = {}
    work: list[tuple[Place, ir.Node, int | None]] = []
    for place in places(model):
        for node in place.graph:
            with _Refusal(name, place, node):
                find_blocks(node, place, channels)
            if node.domain == DOMAIN:
                shape = shape_of(input_of(node, X), shapes)
                work.append((place, node, None if shape is None else len(shape)))
    workshop, done = Workshop(Names(model), Names(model, nodes=True)), []
    unblock(channels)
    for place, node, rank in work:
        with _Refusal(name, place, node):
            operators = workshop.operators(node, place, rank)
            parameters = parameters_of(node) if node.op_type == OP_TYPE else None
        done.append(
            Restored(label(node), node.op_type, place.path, tuple(new.op_type for new in operators), parameters)
        )
        _substitute(place, node, operators, workshop.names)
    for imports in (model.graph.opset_imports, *(function.opset_imports for function in model.functions.values())):
        imports.pop(DOMAIN, None)
    return done, len(channels)


class _Refusal:
    """Turns Kept into the one line that names the model and the node."""

    def __init__(self, model: str, place: Place, node: ir.Node) -> None:
        self._where = f"{model} can't be restored: {'/'.join(filter(None, (place.path, label(node))))}"

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Kept):
            raise DrpassError(f"{self._where}: {error}") from error


def _substitute(place: Place, old: ir.Node, new: list[ir.Node], names: Names) -> None:
    """Put the operators in the place of the node; the first gets its metadata, the last its output."""
    sources = {value for value in old.inputs if value is not None}
    y, result = old.outputs[0], new[-1].outputs[0]
    declared = type_of(old) if place.in_function else None
    new[0].doc_string = old.doc_string
    new[0].metadata_props.update({key: text for key, text in old.metadata_props.items() if key != METADATA_KEY})
    result.doc_string = y.doc_string
    result.metadata_props.update(y.metadata_props)
    ir.convenience.replace_nodes_and_values(place.graph, old, [old], new, [y], [result])
    if declared is not None:
        _drop_cast(place, result, declared, names)
    drop_unused(sources, names)


def _drop_cast(place: Place, value: ir.Value, dtype: ir.DataType, names: Names) -> None:
    """Take back what `drpass.passes.declare_types` had to say about the type of the value."""
    uses = list(value.uses())
    if len(uses) != 1 or value.is_graph_output():
        return
    cast = uses[0].node
    if cast.op_type != "Cast" or cast.domain or cast.graph is not place.graph:
        return
    if "to" not in cast.attributes or cast.attributes["to"].value != dtype.value:
        return
    declared = cast.outputs[0]
    names.release(value.name)
    value.name, value.type, value.shape = declared.name, declared.type, declared.shape
    ir.convenience.replace_all_uses_with(declared, value, replace_graph_outputs=True)
    place.graph.remove(cast, safe=True)


def _notes(nodes: list[Restored], blocked: int) -> tuple[str, ...]:
    notes = []
    clustered = sum(node.parameters is not None and node.parameters.method != "exact" for node in nodes)
    if clustered:
        notes.append(
            f"nodes that clustered, and compute exactly now what they approximated: {clustered}; outputs differ by that"
        )
    if blocked:
        notes.append(f"values that were in NCHW16c, and are in NCHW again: {blocked}")
    notes.append(FOLDED)
    return tuple(notes)

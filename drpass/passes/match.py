"""Pass 1: find every Conv, Gemm and MatMul, and ask its rule whether it can become a DeepReuseGemm."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from drpass.operator.packing import packed_shape
from drpass.operator.shapes import Shape, ShapeError, infer
from drpass.passes.places import Place, label, places
from drpass.rules import conv, gemm, matmul
from drpass.rules.anchor import Kept, Match, input_of
from drpass.shape_inference import Shapes, dims_of, shape_of

#: The operators that have a rule.
OP_TYPES = ("Conv", "Gemm", "MatMul")


@dataclass(frozen=True)
class Candidate:
    """A node with a rule: what it matched, or why it can't be replaced."""

    node: ir.Node
    place: Place
    match: Match | None
    reason: str = ""

    @property
    def name(self) -> str:
        return label(self.node)


def find_candidates(model: ir.Model, shapes: Shapes) -> list[Candidate]:
    """All Conv, Gemm and MatMul nodes of the main graph, its subgraphs and the functions, in graph order."""
    return [
        _candidate(node, place, shapes)
        for place in places(model)
        for node in place.graph
        if node.op_type in OP_TYPES and node.domain == ""
    ]


def _candidate(node: ir.Node, place: Place, shapes: Shapes) -> Candidate:
    try:
        match = _match(node, place.opset, shapes)
        _check_shapes(match, shapes)
        return Candidate(node, place, match)
    except Kept as kept:
        return Candidate(node, place, None, str(kept))


def _check_shapes(match: Match, shapes: Shapes) -> None:
    """ONNX's own inference lets contradictions pass that DeepReuseGemm refuses, such as a wrong number of channels."""
    packed: Shape = [*packed_shape(match.weights.shape, match.group)]
    bias = match.bias if isinstance(match.bias, ir.Value) else None
    known = [dims_of(value, shapes) for value in (match.x, bias, match.addend)]
    try:
        infer({"output_channels": match.weights.shape[0], **match.attributes}, known[0], packed, known[1], known[2])
    except ShapeError as error:
        raise Kept(f"its shapes contradict each other: {error}") from error


def _match(node: ir.Node, opset: int, shapes: Shapes) -> Match:
    if node.op_type == "Conv":
        return conv.match(node, opset)
    if node.op_type == "Gemm":
        return gemm.match(node, opset)
    left = shape_of(input_of(node, 0), shapes)
    return matmul.match(node, opset, None if left is None else len(left))

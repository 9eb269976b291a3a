"""Pass 1: find every convolution and matrix product, and ask its rule whether it can become a DeepReuseGemm.

Products that are on integers in the file (`drpass.rules.quantised`) are found too, with the reason why they stay.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import onnx_ir as ir

from drpass.operator.packing import packed_shape
from drpass.operator.shapes import Shape, ShapeError, infer
from drpass.passes.places import Place, label, places
from drpass.rules import before_conv, conv, conv_transpose, fused, gemm, matmul, quantised
from drpass.rules.anchor import Kept, Match, input_of
from drpass.shape_inference import Shapes, dims_of, shape_of

#: By domain and operator: its rule, which takes the node, the opset and the rank of its input (None: unknown).
_RULES: dict[tuple[str, str], Callable[[ir.Node, int, int | None], Match]] = {
    ("", "Conv"): lambda node, opset, _: before_conv.fold(conv.match(node, opset), opset),
    ("", "Gemm"): lambda node, opset, _: gemm.match(node, opset),
    ("", "MatMul"): matmul.match,
    ("", "ConvTranspose"): lambda node, opset, _: conv_transpose.match(node, opset),
    (fused.DOMAIN, "FusedConv"): lambda node, opset, _: before_conv.fold(fused.match_conv(node, opset), opset),
    (fused.DOMAIN, "FusedGemm"): lambda node, opset, _: fused.match_gemm(node, opset),
    (fused.DOMAIN, "FusedMatMul"): fused.match_matmul,
    (fused.BLOCKED_DOMAIN, "Conv"): lambda node, opset, _: fused.match_blocked(node, opset),
}
#: The operators that have a rule.
OP_TYPES = tuple(dict.fromkeys(op_type for _, op_type in _RULES))


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


def has_rule(node: ir.Node) -> bool:
    """Whether a rule says what can become of the node."""
    return (node.domain, node.op_type) in _RULES


def find_candidates(model: ir.Model, shapes: Shapes) -> list[Candidate]:
    """All such nodes of the main graph, its subgraphs and the functions, in graph order."""
    return [
        _candidate(node, place, shapes)
        for place in places(model)
        for node in place.graph
        if has_rule(node) or quantised.reason_to_keep(node)
    ]


def _candidate(node: ir.Node, place: Place, shapes: Shapes) -> Candidate:
    if reason := quantised.reason_to_keep(node):
        return Candidate(node, place, None, reason)
    try:
        match = _match(node, place.opset, shapes)
        _check_shapes(match, shapes)
        return Candidate(node, place, replace(match, integers=quantised.integer_operator(node)))
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
    left = shape_of(input_of(node, 0), shapes)
    return _RULES[node.domain, node.op_type](node, opset, None if left is None else len(left))

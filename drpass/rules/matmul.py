"""MatMul with a constant two-dimensional right side: the matrix form; the left side may have any rank from 2."""

from __future__ import annotations

import onnx_ir as ir

from drpass.rules.anchor import Kept, Match, float_constant, input_of, is_constant, require


def match(node: ir.Node, opset: int, rank: int | None) -> Match:
    """Match a MatMul whose left side has ``rank`` axes (None: unknown); raises Kept with the reason."""
    x, b = input_of(node, 0), input_of(node, 1)
    if x is None or b is None:
        raise Kept("an input is missing")
    require(is_constant(b) or not is_constant(x), "only the left side is constant")
    weights = float_constant(b, "weights")
    require(weights.ndim >= 2, "the right side is a vector")
    require(weights.ndim == 2, f"batched right side ({weights.ndim} axes)")
    require(weights.size > 0, "weights are empty")
    if rank is None:
        raise Kept("the rank of the left side is not known (--shape gives it)")
    require(rank >= 2, "the left side is a vector")
    return Match(x, weights.T, rank, b, ("matrix", False, 1.0))

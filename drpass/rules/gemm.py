"""Gemm with a constant B: the matrix form.

1. alpha and transB are folded into the weights, transA becomes trans_a.
2. A constant C that is the same for every row becomes the bias, times beta.
3. Any other C becomes the addend A, with a Mul in front where beta is not 1. With beta = 0 there is none.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from drpass.rules.anchor import (
    FIRST_NUMPY_OPSET,
    Array,
    Kept,
    Match,
    attribute,
    float_constant,
    input_of,
    is_constant,
    require,
)


def match(node: ir.Node, opset: int) -> Match:
    """Match a Gemm; raises Kept with the reason why it can't be replaced."""
    require(opset >= FIRST_NUMPY_OPSET, f"Gemm of opset {opset} (supported from opset {FIRST_NUMPY_OPSET})")
    x, b, c = input_of(node, 0), input_of(node, 1), input_of(node, 2)
    if x is None or b is None:
        raise Kept("an input is missing")
    weights = float_constant(b, "weights")
    require(weights.ndim == 2, f"weights have {weights.ndim} axes instead of 2")
    require(weights.size > 0, "weights are empty")
    alpha, beta = attribute(node, "alpha", 1.0), attribute(node, "beta", 1.0)
    transposed = bool(attribute(node, "transB", 0))
    rows = weights if transposed else weights.T
    if alpha != 1.0:
        rows = (rows * np.float32(alpha)).astype(np.float32)
    attributes: dict[str, Any] = {"trans_a": 1} if attribute(node, "transA", 0) else {}
    recipe = ("matrix", transposed, alpha)
    if c is None or beta == 0.0:
        return Match(x, rows, 2, b, recipe, attributes=attributes)
    bias = _bias(c, beta, rows.shape[0])
    if bias is None:
        return Match(x, rows, 2, b, recipe, addend=c, addend_scale=beta, attributes=attributes)
    return Match(x, rows, 2, b, recipe, bias=bias, attributes=attributes)


def _bias(c: ir.Value, beta: float, channels: int) -> ir.Value | Array | None:
    """C as a bias [M]; None if its rows differ or it is not constant."""
    if not is_constant(c):
        return None
    array = float_constant(c, "C")
    if array.shape == (channels,) and beta == 1.0:
        return c
    if array.ndim > 2 or array.shape[-1:] not in ((), (1,), (channels,)) or array.shape[:-1] not in ((), (1,)):
        return None
    return np.broadcast_to(array.reshape(-1) * np.float32(beta), (channels,)).astype(np.float32)

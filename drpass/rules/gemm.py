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
from drpass.rules.half import keeps_precision


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
        rows = times(rows, alpha, "weights times alpha")
    attributes: dict[str, Any] = {"trans_a": 1} if attribute(node, "transA", 0) else {}
    recipe = ("matrix", transposed, alpha)
    if c is None or beta == 0.0:
        return Match(x, rows, 2, b, recipe, attributes=attributes)
    bias = _bias(c, beta, rows)
    if bias is None:
        return Match(x, rows, 2, b, recipe, addend=c, addend_scale=beta, attributes=attributes)
    return Match(x, rows, 2, b, recipe, bias=bias, attributes=attributes)


def _bias(c: ir.Value, beta: float, rows: Array) -> ir.Value | Array | None:
    """C as a bias [M]; None if its rows differ or it is not constant."""
    if not is_constant(c):
        return None
    channels, array = rows.shape[0], float_constant(c, "C")
    require(array.dtype == rows.dtype, "C and the weights have different types")
    if array.shape == (channels,) and beta == 1.0:
        return c
    if array.ndim > 2 or array.shape[-1:] not in ((), (1,), (channels,)) or array.shape[:-1] not in ((), (1,)):
        return None
    return np.ascontiguousarray(np.broadcast_to(times(array, beta, "C times beta").reshape(-1), (channels,)))


def times(array: Array, factor: float, what: str) -> Array:
    """In float32, rounded to the type of the array. Raises Kept where that has no such numbers."""
    product = array.astype(np.float32) * np.float32(factor)
    dtype = ir.DataType.from_numpy(array.dtype)
    require(keeps_precision(np.abs(product).max(initial=0), dtype), f"{what} leave the range of float16")
    rounded: Array = product.astype(array.dtype)
    return rounded

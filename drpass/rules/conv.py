"""Conv with constant weights: the convolution form.

1. kernel_shape, strides, dilations, pads, auto_pad and group are those of the node.
2. The bias stays the value that it is, constant or not.
3. One to three spatial axes.
4. auto_pad SAME with strides far beyond the kernel is kept: the padding would be negative, and what that means differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx_ir as ir

from drpass.rules.anchor import (
    Array,
    Kept,
    Match,
    attribute,
    float_constant,
    input_of,
    is_computed,
    is_constant,
    require,
)


def match(node: ir.Node, opset: int) -> Match:
    """Match a Conv (the same in every opset); raises Kept with the reason why it can't be replaced."""
    x, w, weights, group = operands(node, "output")
    rank = weights.ndim - 2
    attributes: dict[str, Any] = {
        "kernel_shape": kernel_of(node, weights.shape[2:]),
        **_window(node, weights.shape[2:]),
    }
    if group != 1:
        attributes["group"] = group
    bias = bias_of(input_of(node, 2), weights)
    return Match(x, weights, rank + 2, w, ("conv", group), bias=bias, attributes=attributes)


def operands(node: ir.Node, first: str) -> tuple[ir.Value, ir.Value, Array, int]:
    """Input, weights as value and array, and groups, which divide the channels on the ``first`` axis of the weights.

    Raises Kept where they can't be those of a convolution.
    """
    x, w = input_of(node, 0), input_of(node, 1)
    if x is None or w is None:
        raise Kept("an input is missing")
    weights = float_constant(w, "weights")
    require(weights.size > 0, "weights are empty")
    rank = weights.ndim - 2
    require(1 <= rank <= 3, f"{rank} spatial axes (1 to 3 are supported)")
    group = attribute(node, "group", 1)
    require(group >= 1 and weights.shape[0] % group == 0, f"group {group} does not divide the {first} channels")
    return x, w, weights, group


def kernel_of(node: ir.Node, shape: Sequence[int]) -> list[int]:
    """That of the weights; raises Kept where the attribute says otherwise."""
    kernel = attribute(node, "kernel_shape", tuple(shape))
    require(tuple(kernel) == tuple(shape), "kernel_shape contradicts the weights")
    return list(kernel)


def auto_pad_of(node: ir.Node, kernel: Sequence[int], strides: Sequence[int]) -> str:
    """The attribute auto_pad of a convolution or pool; raises Kept in case 4.

    An axis of SAME is padded by at least kernel - stride, in front by half of that, rounded to zero. ONNX Runtime cuts
    off the image where it is below -1, differently in convolutions and pools.
    """
    auto_pad: str = attribute(node, "auto_pad", "NOTSET")
    require(auto_pad in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"), f"unknown auto_pad '{auto_pad}'")
    cuts = any(size - stride < -1 for size, stride in zip(kernel, strides, strict=True))
    require(not (cuts and auto_pad.startswith("SAME")), f"auto_pad {auto_pad} with strides far beyond the kernel")
    return auto_pad


def _window(node: ir.Node, kernel: Sequence[int]) -> dict[str, Any]:
    """strides, dilations, and pads or auto_pad, where they differ from the default."""
    window: dict[str, Any] = {}
    rank = len(kernel)
    for name in ("strides", "dilations"):
        values = attribute(node, name, (1,) * rank)
        require(len(values) == rank and min(values) >= 1, f"invalid {name}")
        if set(values) != {1}:
            window[name] = list(values)
    auto_pad = auto_pad_of(node, kernel, attribute(node, "strides", (1,) * rank))
    pads = attribute(node, "pads", (0,) * (2 * rank))
    require(len(pads) == 2 * rank and min(pads) >= 0, "invalid pads")
    if auto_pad != "NOTSET":
        window["auto_pad"] = auto_pad
    elif any(pads):
        window["pads"] = list(pads)
    return window


def bias_of(bias: ir.Value | None, weights: Array) -> ir.Value | Array | None:
    """The value that it is; where it is computed from constants, what it is computed to be."""
    if bias is None:
        return None
    if is_computed(bias) and is_constant(bias):
        array = float_constant(bias, "the bias")
        require(array.shape == weights.shape[:1] and array.dtype == weights.dtype, "bias does not fit the weights")
        return array
    if bias.const_value is None:
        return bias
    shape = tuple(bias.const_value.shape.numpy())
    same_type = bias.const_value.dtype == ir.DataType.from_numpy(weights.dtype)
    require(shape == weights.shape[:1] and same_type, "bias does not fit the weights")
    return bias

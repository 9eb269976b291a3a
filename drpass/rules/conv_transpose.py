"""ConvTranspose with a stride of 1: a convolution with the kernel mirrored, and input and output channels exchanged.

1. pads [b, e] become [d (k - 1) - b, d (k - 1) - e], with output_padding added to the ends.
2. A larger stride is kept: its outputs belong to several convolutions of smaller kernels, whose results would have to
   be interleaved; that takes another pass over the output, and 1×1 or 2×2 kernels gain nothing without clustering.
3. output_shape and SAME are kept: versions of ONNX disagree where the odd one of an odd number of pads goes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from drpass.rules import conv
from drpass.rules.anchor import Array, Match, attribute, input_of, require


def match(node: ir.Node, opset: int) -> Match:
    """Match a ConvTranspose (the same in every opset); raises Kept with the reason why it can't be replaced."""
    x, w, weights, group = conv.operands(node, "input")
    rank = weights.ndim - 2
    strides = attribute(node, "strides", (1,) * rank)
    require(len(strides) == rank, "invalid strides")
    require(set(strides) == {1}, f"transposed with stride {max(strides)} (only stride 1 is one convolution)")
    require(not attribute(node, "output_shape", ()), "its pads follow from output_shape")
    mirrored = _mirrored(weights, group)
    attributes: dict[str, Any] = {"kernel_shape": conv.kernel_of(node, weights.shape[2:]), **_window(node, mirrored)}
    if group != 1:
        attributes["group"] = group
    bias = conv.bias_of(input_of(node, 2), mirrored)
    return Match(x, mirrored, rank + 2, w, ("transposed", group), bias=bias, attributes=attributes)


def _mirrored(weights: Array, group: int) -> Array:
    """[C, M / group, \\*kernel] as [M, C / group, \\*kernel], every kernel from its last element to its first."""
    inputs, outputs, *kernel = weights.shape
    groups = weights.reshape(group, inputs // group, outputs, *kernel).swapaxes(1, 2)
    joined = groups.reshape(group * outputs, inputs // group, *kernel)
    return np.ascontiguousarray(np.flip(joined, axis=tuple(range(2, joined.ndim))))


def _window(node: ir.Node, weights: Array) -> dict[str, Any]:
    """Case 1."""
    kernel = weights.shape[2:]
    rank = len(kernel)
    auto_pad = attribute(node, "auto_pad", "NOTSET")
    require(auto_pad in ("NOTSET", "VALID"), f"its pads follow from auto_pad {auto_pad}")
    dilations = attribute(node, "dilations", (1,) * rank)
    require(len(dilations) == rank and min(dilations) >= 1, "invalid dilations")
    given = attribute(node, "pads", (0,) * (2 * rank)) if auto_pad == "NOTSET" else (0,) * (2 * rank)
    more = attribute(node, "output_padding", (0,) * rank)
    require(len(given) == 2 * rank and min(given) >= 0, "invalid pads")
    require(len(more) == rank and min(more) >= 0, "invalid output_padding")
    reach = [dilation * (size - 1) for dilation, size in zip(dilations, kernel, strict=True)]
    pads = [most - pad for most, pad in zip([*reach, *reach], given, strict=True)]
    pads[rank:] = [pad + added for pad, added in zip(pads[rank:], more, strict=True)]
    require(min(pads) >= 0, "it cuts off more than its kernel adds")
    window: dict[str, Any] = {"dilations": list(dilations)} if set(dilations) != {1} else {}
    return {**window, "pads": pads} if any(pads) else window

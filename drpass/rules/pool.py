"""A pooling operator of ONNX whose input is in NCHW16c: the library's Pool.

1. MaxPool, AveragePool, GlobalMaxPool and GlobalAveragePool over two spatial axes; ReduceMean over these is the last.
2. Kernel, strides, pads, auto_pad and ceil_mode are those of the node; every window holds at least one value.
3. Not where ceil_mode meets count_include_pad: what ONNX Runtime divides by depends on its version.
4. Not where ceil_mode could let a window begin behind the image: shape inference below opset 22 counts that window.
"""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from drpass.rules.anchor import attribute, constant, input_of, require
from drpass.rules.conv import auto_pad_of

#: Operator of ONNX, and the mode of the Pool that does the same.
POOLS = {
    "MaxPool": "max",
    "AveragePool": "average",
    "GlobalMaxPool": "max",
    "GlobalAveragePool": "average",
}


_MEAN = "ReduceMean"


def is_pool(node: ir.Node) -> bool:
    """Whether `match` may have an answer."""
    return node.domain == "" and (node.op_type in POOLS or node.op_type == _MEAN)


def drops_axes(node: ir.Node) -> bool:
    """Whether the output of such a node is [N, C] instead of [N, C, 1, 1]."""
    return node.op_type == _MEAN and not attribute(node, "keepdims", 1)


def match(node: ir.Node) -> dict[str, Any]:
    """The attributes of the Pool for an input [N, C, H, W], without channels and layout; raises Kept where there is
    none for the node."""
    require(is_pool(node), "it is no pool")
    require(len(node.outputs) == 1, "its indices are asked for")
    if node.op_type == _MEAN:
        require(sorted(axis % 4 for axis in _axes(node)) == [2, 3], "its mean is not over the spatial axes")
        return {"mode": "average"}
    mode = {"mode": POOLS[node.op_type]}
    return mode if node.op_type.startswith("Global") else {**mode, **_window(node)}


def _axes(node: ir.Node) -> list[int]:
    """An attribute before opset 18, then an input."""
    named = input_of(node, 1)
    axes = attribute(node, "axes", ()) if named is None else constant(named, "axes").reshape(-1)
    require(all(-4 <= axis < 4 for axis in axes), "invalid axes")
    return [int(axis) for axis in axes]


def _window(node: ir.Node) -> dict[str, Any]:
    kernel = attribute(node, "kernel_shape", ())
    require(len(kernel) == 2, f"{len(kernel)} spatial axes (2 are supported)")
    require(all(1 <= size < 2**31 for size in kernel), "invalid kernel_shape")
    require(set(attribute(node, "dilations", (1, 1))) == {1}, "it is dilated")
    strides = attribute(node, "strides", (1, 1))
    require(len(strides) == 2 and all(1 <= stride < 2**31 for stride in strides), "invalid strides")
    window: dict[str, Any] = {"kernel_shape": list(kernel), "strides": list(strides)}
    auto_pad, pads = auto_pad_of(node, kernel, strides), attribute(node, "pads", (0, 0, 0, 0))
    if auto_pad != "NOTSET":
        window["auto_pad"] = auto_pad
    elif any(pads):
        fits = len(pads) == 4 and all(0 <= pad < size for pad, size in zip(pads, (*kernel, *kernel), strict=True))
        require(fits, "invalid pads")
        window["pads"] = list(pads)
    ends = window.get("pads", (0, 0, 0, 0))[2:]
    begins_inside = all(pad + stride <= size for pad, stride, size in zip(ends, strides, kernel, strict=True))
    require(
        begins_inside or not attribute(node, "ceil_mode", 0), "a window of its ceil_mode can begin behind the image"
    )
    for name in ("ceil_mode", "count_include_pad"):
        if attribute(node, name, 0):
            window[name] = 1
    require(not {"ceil_mode", "count_include_pad"} <= set(window), "it rounds its size up and counts padding")
    return window

"""A pooling operator of ONNX whose input is in NCHW16c: the library's Pool.

1. MaxPool, AveragePool, GlobalMaxPool and GlobalAveragePool over two spatial axes.
2. Kernel, strides, pads, auto_pad and ceil_mode are those of the node; every window holds at least one value.
3. Not where ceil_mode meets count_include_pad: what ONNX Runtime divides by depends on its version.
"""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from drpass.rules.anchor import attribute, require

#: Operator of ONNX, and the mode of the Pool that does the same.
POOLS = {
    "MaxPool": "max",
    "AveragePool": "average",
    "GlobalMaxPool": "max",
    "GlobalAveragePool": "average",
}


def match(node: ir.Node) -> dict[str, Any]:
    """The attributes of the Pool, without channels and layout; raises Kept where there is none for the node."""
    require(node.domain == "" and node.op_type in POOLS, "it is no pool")
    require(len(node.outputs) == 1, "its indices are asked for")
    mode = {"mode": POOLS[node.op_type]}
    return mode if node.op_type.startswith("Global") else {**mode, **_window(node)}


def _window(node: ir.Node) -> dict[str, Any]:
    kernel = attribute(node, "kernel_shape", ())
    require(len(kernel) == 2 and min(kernel) >= 1, f"{len(kernel)} spatial axes (2 are supported)")
    require(set(attribute(node, "dilations", (1, 1))) == {1}, "it is dilated")
    strides = attribute(node, "strides", (1, 1))
    require(len(strides) == 2 and min(strides) >= 1, "invalid strides")
    window: dict[str, Any] = {"kernel_shape": list(kernel), "strides": list(strides)}
    auto_pad, pads = attribute(node, "auto_pad", "NOTSET"), attribute(node, "pads", (0, 0, 0, 0))
    require(auto_pad in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"), f"unknown auto_pad '{auto_pad}'")
    if auto_pad != "NOTSET":
        window["auto_pad"] = auto_pad
    elif any(pads):
        fits = len(pads) == 4 and all(0 <= pad < size for pad, size in zip(pads, (*kernel, *kernel), strict=True))
        require(fits, "invalid pads")
        window["pads"] = list(pads)
    for name in ("ceil_mode", "count_include_pad"):
        if attribute(node, name, 0):
            window[name] = 1
    require(not {"ceil_mode", "count_include_pad"} <= set(window), "it rounds its size up and counts padding")
    return window

"""A MaxPool whose padding with zeros ONNX Runtime would lose.

Its optimisation Pad_Fusion adds the pads of a Pad to those of the MaxPool that reads it. But a MaxPool pads with minus
infinity, not with zero: where all of a window is negative, the result is another. ResNet-V2 of Keras begins so. A
MaxPool with auto_pad is left alone, and auto_pad = VALID is another way to say that there are no pads.

1. Pad with zeros along spatial axes, and a MaxPool without pads: it gets auto_pad = VALID.
2. Kept: a MaxPool with pads of its own, which VALID has not, and one that rounds its size up, because ONNX and ONNX
   Runtime do not agree on what that is with VALID.
"""

from __future__ import annotations

import onnx_ir as ir

from drpass.rules.anchor import Kept, attribute, input_of, require
from drpass.rules.before_conv import zero_pads


def require_pad(node: ir.Node, opset: int) -> None:
    """Raise Kept unless the node is case 1."""
    require(node.domain == "" and node.op_type == "MaxPool", "it is no MaxPool")
    require(attribute(node, "auto_pad", "NOTSET") == "NOTSET", "ONNX Runtime leaves it alone")
    require(not any(attribute(node, "pads", ())), "it has pads of its own")
    require(attribute(node, "ceil_mode", 0) == 0, "it rounds its size up")
    x = input_of(node, 0)
    pad = None if x is None else x.producer()
    if pad is None or pad.domain or pad.op_type != "Pad":
        raise Kept("nothing pads its input")
    zero_pads(pad, opset, 2 + len(attribute(node, "kernel_shape", ())))

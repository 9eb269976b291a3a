"""A Resize of ONNX that repeats pixels, and whose input is in NCHW16c: the library's Upsample.

Two spatial axes, each by a whole number given as a constant scale, to the nearest neighbour, found in one of the ways
that agree: asymmetric and rounded down, or between the centres of pixels and rounded to the nearest.
"""

from __future__ import annotations

import onnx_ir as ir

from drpass.rules.anchor import Kept, attribute, constant, input_of, require

#: From this opset on scales are the third input.
_OPSET = 11
_LARGEST = 1024


def is_resize(node: ir.Node) -> bool:
    """Whether `match` may have an answer."""
    return node.domain == "" and node.op_type == "Resize"


def match(node: ir.Node, opset: int) -> list[int]:
    """How often rows and columns of an input [N, C, H, W] are repeated; raises Kept if it does other things."""
    require(is_resize(node) and opset >= _OPSET, "it is no resizing")
    require(attribute(node, "mode", "nearest") == "nearest", "it does not take the nearest")
    require(not attribute(node, "axes", ()) and not attribute(node, "antialias", 0), "it does not say all axes")
    place = attribute(node, "coordinate_transformation_mode", "half_pixel")
    rounding = attribute(node, "nearest_mode", "round_prefer_floor")
    centres = place in ("half_pixel", "pytorch_half_pixel") and rounding in ("round_prefer_floor", "round_prefer_ceil")
    require(centres or (place, rounding) == ("asymmetric", "floor"), "it does not repeat pixels")
    scales = input_of(node, 2)
    if scales is None or input_of(node, 3) is not None:
        raise Kept("its scales are not given")
    found = constant(scales, "scales").reshape(-1).tolist()
    whole = len(found) == 4 and found[:2] == [1, 1] and all(1 <= s <= _LARGEST and s == int(s) for s in found[2:])
    require(whole, "it does not repeat pixels of all axes")
    return [int(scale) for scale in found[2:]]

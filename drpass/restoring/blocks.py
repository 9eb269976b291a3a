"""Which values of a rewritten model are in NCHW16c, as its nodes say it, and how they come back to NCHW.

1. The library's own nodes say it in their attributes.
2. What works on blocks as it is (`drpass.rules.blockwise`) writes blocks where it reads blocks, and needs no change.
3. Anything else that reads blocks, and a graph output in blocks, were not made by `drpass rewrite`: they are refused.
"""

from __future__ import annotations

import onnx_ir as ir

from drpass.operator.spec import BLOCKED, DEPTHWISE, DOMAIN, FULLY_CONNECTED, LAYOUTS, LRN, POOL, UPSAMPLE, A, X
from drpass.passes.places import Place
from drpass.rules import blockwise
from drpass.rules.anchor import attribute, input_of, require

#: The values in NCHW16c with their numbers of channels.
Channels = dict[ir.Value, int]


def find_blocks(node: ir.Node, place: Place, channels: Channels) -> None:
    """Add the output of the node to ``channels`` if it is in NCHW16c; all that it reads must have been there before.

    Raises Kept where the node and what it reads contradict each other.
    """
    if node.domain == DOMAIN:
        count = _own(node, channels)
        counts = [count] if count else []
    else:
        counts = _foreign(node, place.opset, channels)
    for value, count in zip(node.outputs, counts):
        require(not value.is_graph_output(), "it writes a graph output in NCHW16c")
        channels[value] = count


def unblock(channels: Channels) -> None:
    """Record the shapes that the values have in NCHW."""
    for value, count in channels.items():
        if value.shape is not None:
            dims = list(value.shape)
            value.shape = ir.Shape([dims[0], count, *dims[2:-1]]) if len(dims) > 2 else None


def _own(node: ir.Node, channels: Channels) -> int | None:
    """Case 1."""
    x, addend = input_of(node, X), input_of(node, A)
    if node.op_type in (LRN, UPSAMPLE):
        _expect(x, BLOCKED if node.op_type == UPSAMPLE else _layout(node, "layout"), channels)
        return channels.get(x) if x is not None else None
    if node.op_type == FULLY_CONNECTED:
        _expect(x, LAYOUTS[0], channels)
        return None
    y_layout = _layout(node, "y_layout")
    if node.op_type == POOL:
        _expect(x, BLOCKED, channels)
        count = attribute(node, "channels", 0)
        require(x is not None and channels[x] == count, "its channels are not those of its input")
    elif node.op_type == DEPTHWISE:
        count = attribute(node, "channels", 0)
        _expect(x, _layout(node, "x_layout"), channels)
    else:
        count = attribute(node, "output_channels", 0)
        _expect(x, _layout(node, "x_layout"), channels)
        if addend is not None:
            _expect(addend, y_layout, channels)
    return count if y_layout == BLOCKED else None


def _layout(node: ir.Node, name: str) -> str:
    layout: str = attribute(node, name, LAYOUTS[0])
    require(layout in LAYOUTS, f"unknown layout '{layout}'")
    return layout


def _expect(value: ir.Value | None, layout: str, channels: Channels) -> None:
    found = BLOCKED if value is not None and value in channels else LAYOUTS[0]
    name = value.name if value is not None else ""
    require(found == layout, f"it reads '{name}' as {layout}, but that is {found}")


def _foreign(node: ir.Node, opset: int, channels: Channels) -> list[int]:
    """Cases 2 and 3."""
    read = [value for value in node.inputs if value is not None and value in channels]
    if not read:
        return []
    if node.op_type in ("Concat", "Split"):
        require(attribute(node, "axis", 0) == 1, "it does not join channels, but reads NCHW16c")
    return blockwise.match(node, opset, channels)

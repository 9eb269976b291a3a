"""Pass 7: let neighbours hand each other tensors in NCHW16c, so that nothing inside a chain changes the layout.

The pass begins with every value that could be in blocks of 16 channels and takes back those that the node that writes
it or one that reads it can't have so, until all agree. Every chain begins and ends at a node of the library, because
only those change the layout: so no chain costs a conversion. Only the main graph is looked at.

1. DeepReuseGemm with two spatial axes: X and Y each as they like; the addend as Y, and of exactly its shape.
2. A pool or a BatchNormalization that becomes the library's own (`drpass.passes.in_blocks`) where X is in blocks: Y as
   it likes, but for the rank.
3. A Resize that becomes the library's own, LRN, and what works on blocks as it is (`drpass.rules.blockwise`): X and Y
   alike.
4. Graph outputs, and what another graph or any other operator reads: never.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import onnx_ir as ir

from drpass.operator.packing import PANEL
from drpass.operator.shapes import blocked
from drpass.operator.spec import BLOCKED, DOMAIN, LAYOUTS, LRN, OP_TYPE, POOL, UPSAMPLE, A, W, X
from drpass.passes import depthwise, in_blocks
from drpass.passes.places import Names, Place, label, places
from drpass.passes.plan import Verdict
from drpass.rules import blockwise, pool
from drpass.rules.absorbing import same_shape
from drpass.rules.anchor import Kept, attribute, input_of

#: With fewer channels more than half of every block would be empty.
MIN_CHANNELS = PANEL // 2


@dataclass
class Chained:
    """What the pass did."""

    #: (layout of X, layout of Y) of every node of the library that has a value in blocks.
    layouts: dict[ir.Node, tuple[str, str]] = field(default_factory=dict)
    #: For the nodes that became the library's own here.
    verdicts: list[Verdict] = field(default_factory=list)
    #: The number of values in blocks.
    values: int = 0


def chain(model: ir.Model) -> Chained:
    """Put the values between neighbours of the main graph in blocks, in place."""
    place, result = next(places(model)), Chained()
    if any(_has_blocks(node) for node in place.graph):
        return result  # it has chains: what was decided then still holds
    channels, names = _agree(place), (Names(model), Names(model, nodes=True))
    for node in list(place.graph):
        if node.graph is not None and _blocks_of(node, channels):
            node = _settle(node, place, names, channels, result)
            if node.domain == DOMAIN:
                result.layouts[node] = (_layout(input_of(node, X), channels), _layout(node.outputs[0], channels))
    for value, count in channels.items():
        if value.shape is not None:
            dims = [dim if isinstance(dim, int) else dim.value for dim in value.shape]
            value.shape = ir.Shape(blocked([dims[0], count, *dims[2:]]))
    result.values = len(channels)
    return result


def _agree(place: Place) -> dict[ir.Value, int]:
    """The values in blocks, with their numbers of channels."""
    channels: dict[ir.Value, int] = {}
    for node in place.graph:
        counts = _writes(node, place.opset, channels)
        channels |= {value: count for value, count in zip(node.outputs, counts) if _is_inside(value, place.graph)}
    before = -1
    while before != len(channels):
        before = len(channels)
        for node in place.graph:
            for value in _refused(node, place.opset, channels):
                channels.pop(value, None)
    return channels


def _writes(node: ir.Node, opset: int, channels: dict[ir.Value, int]) -> list[int]:
    """The numbers of channels of the outputs that the node can write in blocks; empty if it can't."""
    x = input_of(node, X)
    known = channels.get(x) if x is not None else None
    try:
        if _is_convolution(node):
            count: int = attribute(node, "output_channels", 0)
            return [count] if count >= MIN_CHANNELS and _fills_blocks(node, count) else []
        if _is_own_lrn(node):
            # Lanes without a channel stay 0 / bias^beta.
            return [known] if known and (known % PANEL == 0 or attribute(node, "bias", 1.0) > 0) else []
        if in_blocks.is_kind(node):
            return [known] if known and in_blocks.fits(node, opset, known) and not pool.drops_axes(node) else []
        return blockwise.match(node, opset, channels)
    except Kept:
        return []


def _refused(node: ir.Node, opset: int, channels: dict[ir.Value, int]) -> list[ir.Value]:
    """Those of the node's values in blocks that it can't have so."""
    inputs, outputs = _blocks(node.inputs, channels), _blocks(node.outputs, channels)
    if not inputs and not outputs:
        return []
    if _is_convolution(node):
        return _refused_by_convolution(node, channels)
    if inputs and in_blocks.leaves_blocks(node) and in_blocks.fits(node, opset, channels[inputs[0]]):
        return []  # Case 2
    if len(outputs) == len(node.outputs) and _writes(node, opset, channels):
        return []  # Case 3
    return inputs + outputs


def _refused_by_convolution(node: ir.Node, channels: dict[ir.Value, int]) -> list[ir.Value]:
    x, addend, y = input_of(node, X), input_of(node, A), node.outputs[0]
    refused = [v for i, v in enumerate(node.inputs) if v is not None and v in channels and i not in (X, A)]
    if x is not None and x in channels and not _reads(node, channels[x]):
        refused.append(x)
    if addend is not None:
        alike = addend in channels and y in channels and same_shape(addend, y)
        refused += [] if alike else _blocks((addend, y), channels)
    return refused


def _settle(
    node: ir.Node, place: Place, names: tuple[Names, Names], channels: dict[ir.Value, int], result: Chained
) -> ir.Node:
    """Say in the attributes of a node, or of the one that takes its place, which of its values are in blocks."""
    x, y = node.inputs[X], node.outputs[0]
    if _is_convolution(node):
        for name, value in (("x_layout", x), ("y_layout", y)):
            if value in channels:
                node.attributes.add(ir.AttrString(name, BLOCKED))
    elif _is_own_lrn(node):
        node.attributes.add(ir.AttrString("layout", BLOCKED))
    elif node.op_type in ("Concat", "Split"):
        node.attributes.add(ir.AttrInt64("axis", 1))  # -3 is another axis now
        if node.op_type == "Split":
            in_blocks.split_equally(node, place, names[0])
    elif in_blocks.is_kind(node):
        result.verdicts.append(_verdict(node, place, channels))
        return in_blocks.replace(node, place, names, channels)
    return node


def _verdict(node: ir.Node, place: Place, channels: dict[ir.Value, int]) -> Verdict:
    """About a node that becomes the library's own."""
    relu = in_blocks.relu_after(node)
    last, absorbed = (node, ()) if relu is None else (relu, (label(relu),))
    layouts = (BLOCKED, _layout(last.outputs[0], channels))
    return Verdict(label(node), node.op_type, place.path, True, None, "", absorbed=absorbed, layouts=layouts)


def _is_inside(value: ir.Value, graph: ir.Graph) -> bool:
    uses = value.uses()
    return bool(uses) and not value.is_graph_output() and all(use.node.graph is graph for use in uses)


def _blocks_of(node: ir.Node, channels: dict[ir.Value, int]) -> list[ir.Value]:
    return _blocks((*node.inputs, *node.outputs), channels)


def _blocks(values: Iterable[ir.Value | None], channels: dict[ir.Value, int]) -> list[ir.Value]:
    return [value for value in values if value is not None and value in channels]


def _layout(value: ir.Value | None, channels: dict[ir.Value, int]) -> str:
    return BLOCKED if value is not None and value in channels else LAYOUTS[0]


def _has_blocks(node: ir.Node) -> bool:
    if node.domain != DOMAIN:
        return False
    return node.op_type in (POOL, UPSAMPLE) or any(
        node.attributes[name].value == BLOCKED for name in ("x_layout", "y_layout", "layout") if name in node.attributes
    )


def _is_own_lrn(node: ir.Node) -> bool:
    return node.domain == DOMAIN and node.op_type == LRN


def _is_convolution(node: ir.Node) -> bool:
    """A DeepReuseGemm with two spatial axes."""
    if node.domain != DOMAIN or node.op_type != OP_TYPE:
        return False
    kernel = node.attributes.get("kernel_shape")
    return kernel is not None and kernel.type == ir.AttributeType.INTS and len(kernel.as_ints()) == 2


def _reads(node: ir.Node, count: int) -> bool:
    """Whether the weights are made for an X of so many channels."""
    weights = input_of(node, W)
    shape = None if weights is None else weights.shape
    if shape is None or len(shape) != 5 or shape[3] != count // attribute(node, "group", 1):
        return False
    return _fills_blocks(node, count)


def _fills_blocks(node: ir.Node, count: int) -> bool:
    """A block holds channels of one group only, but for depthwise convolutions."""
    group = attribute(node, "group", 1)
    return bool(group == 1 or count // group % PANEL == 0 or depthwise.takes(node))

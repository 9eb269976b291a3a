"""Pass 7: let neighbours hand each other tensors in NCHW16c, so that nothing inside a chain changes the layout.

The pass begins with every value that could be in blocks of 16 channels and takes back those that the node that writes
it or one that reads it can't have so, until all agree. Every chain begins and ends at a node of the library, because
only those change the layout: so no chain costs a conversion. Only the main graph is looked at.

1. DeepReuseGemm with two spatial axes: X and Y each as they like; the addend as Y, and of exactly its shape.
2. A pool (`drpass.rules.pool`) becomes the library's own where X is in blocks; Y as it likes, but for the rank.
3. A Resize that repeats pixels (`drpass.rules.resize`) becomes the library's own; LRN; what works on blocks as it is
   (`drpass.rules.blockwise`): X and Y alike.
4. Graph outputs, and what another graph or any other operator reads: never.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import onnx_ir as ir

from drpass.operator.packing import PANEL
from drpass.operator.shapes import blocked
from drpass.operator.spec import BLOCKED, DOMAIN, LAYOUTS, LRN, OP_TYPE, POOL, UPSAMPLE, A, W, X
from drpass.passes import depthwise
from drpass.passes.places import Names, Place, drop_unused, label, places
from drpass.passes.plan import Verdict
from drpass.passes.replace import substitute
from drpass.rules import blockwise, pool, resize
from drpass.rules.absorbing import same_shape
from drpass.rules.anchor import Kept, attribute, input_of

#: From this opset on Split needs to be told how many equal parts there are.
_NUM_OUTPUTS = 18

#: With fewer channels more than half of every block would be empty.
MIN_CHANNELS = PANEL // 2


@dataclass
class Chained:
    """What the pass did."""

    #: (layout of X, layout of Y) of every node of the library that has a value in blocks.
    layouts: dict[ir.Node, tuple[str, str]] = field(default_factory=dict)
    #: For the pools and resizings that became the library's own.
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
        if _blocks_of(node, channels):
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
        if pool.is_pool(node):
            pooled = None if pool.drops_axes(node) else _pools(node, channels)
            return [pooled] if pooled else []
        if resize.is_resize(node):
            resize.match(node, opset)
            return [known] if known else []
        return blockwise.match(node, opset, channels)
    except Kept:
        return []


def _pools(node: ir.Node, channels: dict[ir.Value, int]) -> int | None:
    """The number of channels of a pool in blocks; None where it can't read blocks."""
    x = input_of(node, X)
    try:
        pool.match(node)
    except Kept:
        return None
    return channels.get(x) if x is not None else None


def _refused(node: ir.Node, opset: int, channels: dict[ir.Value, int]) -> list[ir.Value]:
    """Those of the node's values in blocks that it can't have so."""
    inputs, outputs = _blocks(node.inputs, channels), _blocks(node.outputs, channels)
    if not inputs and not outputs:
        return []
    if _is_convolution(node):
        return _refused_by_convolution(node, channels)
    if pool.is_pool(node) and _pools(node, channels):
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
    elif pool.is_pool(node):
        layouts = (BLOCKED, _layout(y, channels))
        result.verdicts.append(Verdict(label(node), node.op_type, place.path, True, None, "", layouts=layouts))
        return _replace_pool(node, place, names, channels)
    elif node.op_type in ("Concat", "Split"):
        node.attributes.add(ir.AttrInt64("axis", 1))  # -3 is another axis now
        if node.op_type == "Split":
            _split_equally(node, place, names[0])
    elif resize.is_resize(node):
        result.verdicts.append(
            Verdict(label(node), node.op_type, place.path, True, None, "", layouts=(BLOCKED, BLOCKED))
        )
        return _replace_resize(node, place, names[0], channels)
    return node


def _split_equally(node: ir.Node, place: Place, names: Names) -> None:
    """Sizes of the parts would count channels; that they are equal is said without."""
    node.attributes.pop("split", None)
    sizes = {value for value in node.inputs[1:] if value is not None}
    node.resize_inputs(1)
    drop_unused(sizes, names)
    if place.opset >= _NUM_OUTPUTS:
        node.attributes.add(ir.AttrInt64("num_outputs", len(node.outputs)))


def _replace_resize(node: ir.Node, place: Place, names: Names, channels: dict[ir.Value, int]) -> ir.Node:
    x, y = node.inputs[X], node.outputs[0]
    new = ir.node(UPSAMPLE, [x], {"scales": resize.match(node, place.opset)}, domain=DOMAIN, name=node.name)
    others = {value for value in node.inputs[1:] if value is not None}
    count = channels.pop(y)
    substitute(place, [node], node, new)
    drop_unused(others, names)
    channels[new.outputs[0]] = count
    return new


def _replace_pool(node: ir.Node, place: Place, names: tuple[Names, Names], channels: dict[ir.Value, int]) -> ir.Node:
    x, y = node.inputs[X], node.outputs[0]
    assert x is not None
    count = channels.pop(y, None)
    attributes = {"channels": channels[x], **pool.match(node)}
    if count is not None:
        attributes["y_layout"] = BLOCKED
    new = ir.node(POOL, [x], attributes, domain=DOMAIN, name=node.name)
    axes = {value for value in node.inputs[1:] if value is not None}
    if pool.drops_axes(node):
        _flatten(new, node, place, names)
    else:
        substitute(place, [node], node, new)
    drop_unused(axes, names[0])
    if count is not None:
        channels[new.outputs[0]] = count
    return new


def _flatten(new: ir.Node, node: ir.Node, place: Place, names: tuple[Names, Names]) -> None:
    """Put a Pool and a Flatten in the place of a node whose output has no spatial axes."""
    y, pooled = node.outputs[0], new.outputs[0]
    pooled.name, pooled.type = names[0].unique(f"{y.name}_pooled"), y.type
    if y.shape is not None:
        pooled.shape = ir.Shape([*y.shape, 1, 1])
    place.graph.insert_before(node, new)
    flatten = ir.node("Flatten", [pooled], name=names[1].unique(f"{node.name}_flatten") if node.name else None)
    substitute(place, [node], node, flatten)


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

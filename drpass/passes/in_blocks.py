"""Operators of ONNX that become the library's own where what they read is in NCHW16c: for the pass `layout`.

1. Pools (`drpass.rules.pool`): Pool, and a Flatten where the spatial axes go.
2. A Resize that repeats pixels (`drpass.rules.resize`): Upsample.
3. BatchNormalization that no convolution absorbed: a DepthwiseConv of one tap, with the Relu that alone reads it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from drpass.operator.packing import PANEL
from drpass.operator.spec import BLOCKED, DEPTHWISE, DOMAIN, POOL, UPSAMPLE, X
from drpass.passes.places import Names, Place, add_constant, drop_unused
from drpass.passes.replace import substitute
from drpass.rules import pool, resize
from drpass.rules.anchor import FIRST_NUMPY_OPSET, Kept, float_tensor, input_of, require
from drpass.rules.fold_batchnorm import affine
from drpass.rules.half import in_range, keeps_precision


def is_kind(node: ir.Node) -> bool:
    """Whether `fits` can be asked."""
    return pool.is_pool(node) or resize.is_resize(node) or _is_batchnorm(node)


def leaves_blocks(node: ir.Node) -> bool:
    """Whether it is a node of such a kind whose output can be in NCHW, too."""
    return pool.is_pool(node) or _is_batchnorm(node)


def fits(node: ir.Node, opset: int, channels: int) -> bool:
    """Whether the library has an operator for a node of such a kind that reads so many channels in blocks."""
    try:
        if pool.is_pool(node):
            pool.match(node)
        elif resize.is_resize(node):
            resize.match(node, opset)
        else:
            _check_batchnorm(node, opset, channels)
    except Kept:
        return False
    return True


def replace(node: ir.Node, place: Place, names: tuple[Names, Names], channels: dict[ir.Value, int]) -> ir.Node:
    """Put the library's operator in the place of a node that fits; ``channels`` follows the output.

    ``names`` are those of values and of nodes.
    """
    if resize.is_resize(node):
        new = ir.node(UPSAMPLE, [node.inputs[X]], {"scales": resize.match(node, place.opset)}, domain=DOMAIN)
        return _substitute([node], new, place, names, channels)
    return (_replace_batchnorm if _is_batchnorm(node) else _replace_pool)(node, place, names, channels)


def split_equally(node: ir.Node, place: Place, names: Names) -> None:
    """Say without sizes, which would count channels, that the parts of a Split are equal."""
    node.attributes.pop("split", None)
    sizes = {value for value in node.inputs[1:] if value is not None}
    node.resize_inputs(1)
    drop_unused(sizes, names)
    if place.opset >= _NUM_OUTPUTS:
        node.attributes.add(ir.AttrInt64("num_outputs", len(node.outputs)))


#: From this opset on Split needs to be told how many equal parts there are.
_NUM_OUTPUTS = 18


def relu_after(node: ir.Node) -> ir.Node | None:
    """The Relu that goes with a BatchNormalization: it alone reads what that writes."""
    uses = () if node.outputs[0].is_graph_output() else node.outputs[0].uses()
    if len(uses) != 1 or not _is_batchnorm(node):
        return None
    (use,) = uses
    alike = use.node.op_type == "Relu" and use.node.domain == "" and use.node.graph is node.graph
    return use.node if alike else None


def _check_batchnorm(node: ir.Node, opset: int, channels: int) -> None:
    require(opset >= FIRST_NUMPY_OPSET, "it may be in training mode")
    scale, shift = affine(node, channels)
    dtype = _dtype(node)
    fits = keeps_precision(np.abs(scale), dtype) and in_range(np.abs(shift), dtype)
    require(fits, "its factors would leave the range of float16")


def _replace_batchnorm(
    node: ir.Node, place: Place, names: tuple[Names, Names], channels: dict[ir.Value, int]
) -> ir.Node:
    x, relu = node.inputs[X], relu_after(node)
    assert x is not None
    count = channels[x]
    scale, shift = affine(node, count)
    packed = np.zeros((-(-count // PANEL) * PANEL,))
    packed[:count] = scale
    dtype = _dtype(node).numpy()
    stem = node.name or "batchnorm"
    constants = [
        add_constant(place, array.astype(dtype), names[0].unique(f"{stem}_{name}"), node)
        for array, name in ((packed.reshape(-1, 1, PANEL), "scale"), (shift, "shift"))
    ]
    attributes: dict[str, Any] = {"channels": count, "kernel_shape": [1, 1], "x_layout": BLOCKED}
    if relu is not None:
        attributes["activation"] = "relu"
    new = ir.node(DEPTHWISE, [x, *constants], attributes, domain=DOMAIN)
    return _substitute([node] if relu is None else [node, relu], new, place, names, channels)


def _replace_pool(node: ir.Node, place: Place, names: tuple[Names, Names], channels: dict[ir.Value, int]) -> ir.Node:
    x = node.inputs[X]
    assert x is not None
    new = ir.node(POOL, [x], {"channels": channels[x], **pool.match(node)}, domain=DOMAIN)
    if not pool.drops_axes(node):
        return _substitute([node], new, place, names, channels)
    axes = {value for value in node.inputs[1:] if value is not None}
    new.name = node.name
    _flatten(new, node, place, names)
    drop_unused(axes, names[0])
    return new


def _substitute(
    old: list[ir.Node], new: ir.Node, place: Place, names: tuple[Names, Names], channels: dict[ir.Value, int]
) -> ir.Node:
    new.name = old[0].name
    counts = [channels.pop(node.outputs[0], None) for node in old]
    others = {value for value in old[0].inputs[1:] if value is not None}
    substitute(place, old, old[0], new)
    drop_unused(others, names[0])
    if counts[-1] is not None:
        channels[new.outputs[0]] = counts[-1]
        if new.op_type != UPSAMPLE:
            new.attributes.add(ir.AttrString("y_layout", BLOCKED))
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


def _is_batchnorm(node: ir.Node) -> bool:
    return node.domain == "" and node.op_type == "BatchNormalization" and input_of(node, X) is not None


def _dtype(node: ir.Node) -> ir.DataType:
    gamma = node.inputs[1]
    assert gamma is not None
    return ir.DataType(float_tensor(gamma, "its statistics").dtype)

"""Pass 8: give depthwise convolutions the library's operator for them, whose weights are packed for it.

Until here they are DeepReuseGemm, so that all rules hold for them; there every channel would be a group with a panel of
weights of its own. Only two spatial axes, the exact method, and no addend.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from drpass.deferred import deferred
from drpass.external_data import forget
from drpass.operator.packing import PANEL
from drpass.operator.spec import DEPTHWISE, DOMAIN, A, B, W, X
from drpass.passes.places import Names, Place, add_constant, drop_unused, is_reuse, places
from drpass.passes.replace import substitute
from drpass.rules.anchor import Kept, attribute, float_tensor, input_of

#: Attributes that both operators have.
_SHARED = (
    "kernel_shape",
    "strides",
    "dilations",
    "pads",
    "auto_pad",
    "activation",
    "activation_params",
    "x_layout",
    "y_layout",
)


def is_depthwise(node: ir.Node) -> bool:
    """Whether the pass takes the node, a DeepReuseGemm."""
    kernel = node.attributes.get("kernel_shape")
    if kernel is None or kernel.is_ref() or kernel.type != ir.AttributeType.INTS or len(kernel.as_ints()) != 2:
        return False
    channels, group = attribute(node, "output_channels", 0), attribute(node, "group", 1)
    alone = input_of(node, A) is None and len(node.outputs) == 1
    exact = attribute(node, "method", "exact") == "exact"
    return bool(alone and exact and 1 < group == channels) and _fits(node, group)


def separate(model: ir.Model, names: Names) -> None:
    """Replace them all, in place."""
    for place in places(model):
        for node in list(place.graph):
            if is_reuse(node) and is_depthwise(node):
                _replace(node, place, names)


def _fits(node: ir.Node, channels: int) -> bool:
    weights = input_of(node, W)
    try:
        shape = () if weights is None else tuple(float_tensor(weights, "weights").shape.numpy())
    except Kept:
        return False
    return len(shape) == 5 and (shape[0], shape[1], shape[3], shape[4]) == (channels, 1, 1, PANEL)


def _replace(node: ir.Node, place: Place, names: Names) -> None:
    packed = node.inputs[W]
    assert packed is not None
    weights = add_constant(place, _repacked(packed), names.unique(f"{packed.name}_depthwise"), node)
    inputs = [input_of(node, X), weights, input_of(node, B)]
    while inputs[-1] is None:
        inputs.pop()
    attributes: dict[str, Any] = {"channels": attribute(node, "output_channels", 0)}
    attributes |= {name: node.attributes[name].value for name in _SHARED if name in node.attributes}
    new = ir.node(DEPTHWISE, inputs, attributes, domain=DOMAIN, name=node.name)
    old = {value for value in node.inputs if value is not None}
    substitute(place, [node], node, new)
    drop_unused(old, names)


def _repacked(value: ir.Value) -> ir.LazyTensor:
    """[C, 1, T, 1, 16], one lane of which is used, as [ceil(C / 16), T, 16]."""
    tensor = float_tensor(value, "weights")
    channels, _, taps, _, _ = tensor.shape.numpy()
    blocks = -(-channels // PANEL)

    def repack() -> npt.NDArray[Any]:
        packed = np.asarray(tensor.numpy())
        rows = np.zeros((blocks * PANEL, taps), packed.dtype)
        rows[:channels] = packed[:, 0, :, 0, 0]
        forget(packed)
        return np.ascontiguousarray(rows.reshape(blocks, PANEL, taps).transpose(0, 2, 1))

    return deferred(repack, (blocks, taps, PANEL), ir.DataType(tensor.dtype))

"""Depthwise convolutions: as DeepReuseGemm every channel would be a group with a panel of weights of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from drpass.deferred import deferred
from drpass.external_data import forget
from drpass.operator.packing import PANEL
from drpass.operator.spec import DEPTHWISE, A, B, W
from drpass.rules.anchor import Kept, attribute, float_tensor, input_of

OPERATOR = DEPTHWISE

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


def takes(node: ir.Node) -> bool:
    """Whether a DeepReuseGemm is one. With one tap and a bias DepthwiseConv means a BatchNormalization."""
    kernel = node.attributes.get("kernel_shape")
    if kernel is None or kernel.is_ref() or kernel.type != ir.AttributeType.INTS or len(kernel.as_ints()) != 2:
        return False
    channels, group = attribute(node, "output_channels", 0), attribute(node, "group", 1)
    if tuple(kernel.as_ints()) == (1, 1) and input_of(node, B) is not None:
        return False
    return 1 < group == channels and is_plain(node) and packed_shape_of(node)[:4:3] == (channels, 1)


def is_plain(node: ir.Node) -> bool:
    """Whether a DeepReuseGemm is exact and has neither an addend nor statistics."""
    exact = attribute(node, "method", "exact") == "exact"
    return bool(exact and input_of(node, A) is None and len(node.outputs) == 1)


def packed_shape_of(node: ir.Node) -> tuple[int, ...]:
    """The shape of its packed weights; five zeros where they are no constant of five axes."""
    weights = input_of(node, W)
    try:
        shape = () if weights is None else tuple(float_tensor(weights, "weights").shape.numpy())
    except Kept:
        shape = ()
    return shape if len(shape) == 5 else (0,) * 5


def attributes(node: ir.Node) -> dict[str, Any]:
    """Of the new operator."""
    shared = {name: node.attributes[name].value for name in _SHARED if name in node.attributes}
    return {"channels": attribute(node, "output_channels", 0), **shared}


def weights(node: ir.Node) -> ir.LazyTensor:
    """[C, 1, T, 1, 16], one lane of which is used, as [ceil(C / 16), T, 16]."""
    value = node.inputs[W]
    assert value is not None
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

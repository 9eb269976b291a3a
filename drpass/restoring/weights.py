"""Weights as ONNX has them, from those that are packed for the library."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from drpass.deferred import deferred
from drpass.external_data import forget
from drpass.operator.packing import (
    PANEL,
    WIDE_PANEL,
    Array,
    packed_shape,
    unpack_depthwise,
    unpack_fully_connected,
    unpack_weights,
)
from drpass.rules.anchor import float_tensor, require


def unpacked(
    value: ir.Value, channels: int, group: int, kernel: tuple[int, ...], transposed: bool
) -> ir.TensorProtocol:
    """The weights of a DeepReuseGemm, unpacked when they are read; raises Kept where they are none."""
    tensor = float_tensor(value, "weights")
    packed = tuple(tensor.shape.numpy())
    require(len(packed) == 5, f"weights have {len(packed)} axes instead of 5")
    shape = (channels, packed[3], *kernel)
    fits = group >= 1 and channels >= 1 and channels % group == 0 and packed == packed_shape(shape, group)
    require(fits, f"weights {list(packed)} are no packing of {list(shape)} in {group} groups")
    return _deferred(tensor, lambda data: unpack_weights(data, channels, kernel or None), shape, transposed)


def unpacked_depthwise(value: ir.Value, channels: int, kernel: tuple[int, ...]) -> ir.TensorProtocol:
    """The weights of a DepthwiseConv, as `unpacked` gives them."""
    tensor = float_tensor(value, "weights")
    packed, wanted = tuple(tensor.shape.numpy()), (-(-channels // PANEL), math.prod(kernel), PANEL)
    require(channels >= 1 and packed == wanted, f"weights {list(packed)} are not {list(wanted)}")
    return _deferred(tensor, lambda data: unpack_depthwise(data, channels, kernel), (channels, 1, *kernel))


def unpacked_wide(value: ir.Value, outputs: int, transposed: bool) -> ir.TensorProtocol:
    """The weights of a FullyConnected: [M, K], or ``transposed`` [K, M]; as `unpacked` gives them."""
    tensor = float_tensor(value, "weights")
    packed = tuple(tensor.shape.numpy())
    fits = len(packed) == 3 and outputs >= 1 and (packed[0], packed[2]) == (-(-outputs // WIDE_PANEL), WIDE_PANEL)
    require(fits, f"weights {list(packed)} are none of {outputs} outputs")
    return _deferred(tensor, lambda data: unpack_fully_connected(data, outputs), (outputs, packed[1]), transposed)


def _deferred(
    tensor: ir.TensorProtocol, unpack: Callable[[Array], Array], shape: tuple[int, ...], transposed: bool = False
) -> ir.TensorProtocol:
    """What is unpacked of a tensor when it is read, or that transposed; ``shape`` is from before."""

    def make() -> Array:
        data = tensor.numpy()
        weights = unpack(data)
        forget(data)
        return np.ascontiguousarray(weights.T) if transposed else weights

    return deferred(make, shape[::-1] if transposed else shape, ir.DataType(tensor.dtype))

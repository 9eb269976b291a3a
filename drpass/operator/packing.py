"""Weights in the layout that the operator computes from (docs/operator.md, *Packing*).

Panels of 16 output channels are the innermost axis, whatever the instruction set, so that a file runs anywhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

#: Output channels in a panel: one register of AVX-512, two of AVX2, four of 128 bits.
PANEL = 16
#: Outputs in a panel of a FullyConnected.
WIDE_PANEL = 256

#: Of float32 or float16.
Array = npt.NDArray[Any]


def pack_weights(weights: npt.ArrayLike, group: int = 1) -> Array:
    """Pack ``weights`` [M, Cg, \\*kernel] (the matrix form has no kernel axes) as [group, P, T, Cg, 16] of float16
    where they are of that, else of float32.

    Entry [g, p, t, c, j] is the weight of output channel g·Mg + 16·p + j for input channel c of its group and kernel
    tap t; it is zero where 16·p + j ≥ Mg. Mg = M / group, P = ceil(Mg / 16), T = product of the kernel.

    Raises ValueError if ``weights`` has fewer than two axes or ``group`` does not divide M.
    """
    array = np.asarray(weights)
    if array.dtype != np.float16:
        array = array.astype(np.float32, copy=False)
    if array.ndim < 2:
        raise ValueError(f"weights need the axes [M, Cg, *kernel], not the shape {array.shape}")
    inputs, taps, per_group = array.shape[1], math.prod(array.shape[2:]), _per_group(array.shape[0], group)
    # One copy only: weights can be a large part of memory.
    packed = np.zeros(packed_shape(array.shape, group), array.dtype)
    rows = array.reshape(group, per_group, inputs, taps)
    full, rest = divmod(per_group, PANEL)
    panels = rows[:, : full * PANEL].reshape(group, full, PANEL, inputs, taps)
    packed[:, :full] = panels.transpose(0, 1, 4, 3, 2)
    if rest:
        packed[:, full, :, :, :rest] = rows[:, full * PANEL :].transpose(0, 3, 2, 1)
    return packed


def packed_shape(shape: Sequence[int], group: int = 1) -> tuple[int, ...]:
    """The shape that `pack_weights` gives weights of ``shape`` [M, Cg, \\*kernel]."""
    return group, -(-shape[0] // group // PANEL), math.prod(shape[2:]), shape[1], PANEL


def unpack_weights(packed: Array, output_channels: int, kernel_shape: Sequence[int] | None) -> Array:
    """The inverse of `pack_weights`: [M, Cg, \\*kernel_shape]; ``None`` (the matrix form) gives [M, Cg].

    Raises ValueError if ``packed`` is not a packing of ``output_channels`` channels with that kernel.
    """
    group, panels, taps, inputs, width = packed.shape
    kernel = tuple(kernel_shape or ())
    per_group, rest = divmod(output_channels, max(group, 1))
    if rest or width != PANEL or panels != -(-per_group // PANEL) or taps != math.prod(kernel):
        raise ValueError(f"{packed.shape} is not a packing of {output_channels} channels with the kernel {kernel}")
    rows = packed.transpose(0, 1, 4, 3, 2).reshape(group, panels * PANEL, inputs, taps)
    return np.ascontiguousarray(rows[:, :per_group]).reshape(output_channels, inputs, *kernel)


def unpack_depthwise(packed: Array, channels: int, kernel_shape: Sequence[int]) -> Array:
    """[C, 1, \\*kernel_shape] from the weights of a DepthwiseConv, [ceil(C / 16), T, 16].

    Raises ValueError if ``packed`` are no weights of C ``channels`` with that kernel.
    """
    taps = math.prod(kernel_shape)
    if packed.shape != (-(-channels // PANEL), taps, PANEL):
        raise ValueError(f"{packed.shape} are no weights of {channels} channels with the kernel {tuple(kernel_shape)}")
    rows = packed.transpose(0, 2, 1).reshape(-1, taps)[:channels]
    return np.ascontiguousarray(rows).reshape(channels, 1, *kernel_shape)


def unpack_fully_connected(packed: Array, outputs: int) -> Array:
    """[M, K] from the weights of a FullyConnected, [ceil(M / 256), K, 256].

    Raises ValueError if ``packed`` are no weights of M ``outputs``.
    """
    if packed.ndim != 3 or (packed.shape[0], packed.shape[2]) != (-(-outputs // WIDE_PANEL), WIDE_PANEL):
        raise ValueError(f"{packed.shape} are no weights of {outputs} outputs")
    rows = packed.transpose(0, 2, 1).reshape(-1, packed.shape[1])
    return np.ascontiguousarray(rows[:outputs])


def scale_packed(packed: Array, scale: npt.NDArray[np.float64]) -> Array:
    """Multiply the weights of output channel m by ``scale[m]`` ([M], in double) without unpacking them."""
    group, panels = packed.shape[:2]
    per_group = _per_group(scale.shape[0], group)
    factors = np.zeros((group, panels * PANEL))
    factors[:, :per_group] = scale.reshape(group, per_group)
    scaled = np.empty_like(packed)
    factors = factors.reshape(group, panels, 1, 1, PANEL)
    return np.multiply(packed, factors, out=scaled, dtype=np.float64, casting="same_kind")


def block(array: Array) -> Array:
    """The tensor [N, C, spatial axes] in NCHW16c: [N, ceil(C / 16), spatial axes, 16]."""
    channels = array.shape[1]
    padded = np.pad(array, [(0, 0), (0, -channels % PANEL), *[(0, 0)] * (array.ndim - 2)])
    blocks = padded.reshape(array.shape[0], -1, PANEL, *array.shape[2:])
    return np.ascontiguousarray(np.moveaxis(blocks, 2, -1))


def unblock(array: Array, channels: int) -> Array:
    """The tensor [N, C, spatial axes] of C ``channels`` that ``array`` [N, ceil(C / 16), spatial axes, 16] holds."""
    planes = np.moveaxis(array, -1, 2)
    return planes.reshape(array.shape[0], -1, *array.shape[2:-1])[:, :channels]


def _per_group(channels: int, group: int) -> int:
    if group < 1 or channels % group:
        raise ValueError(f"{channels} output channels are not a multiple of group {group}")
    return channels // group

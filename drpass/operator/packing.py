"""Weights in the layout that the operator computes from (docs/operator.md, *Packing*).

Panels of 16 output channels are the innermost axis, whatever the instruction set, so that a file runs anywhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

#: Output channels in a panel: one register of AVX-512, two of AVX2, four of 128 bits.
PANEL = 16

Array = npt.NDArray[np.float32]
_Number = TypeVar("_Number", np.float32, np.float64)


def pack_weights(weights: npt.ArrayLike, group: int = 1) -> Array:
    """Pack ``weights`` [M, Cg, \\*kernel] (the matrix form has no kernel axes) as float32 [group, P, T, Cg, 16].

    Entry [g, p, t, c, j] is the weight of output channel g·Mg + 16·p + j for input channel c of its group and kernel
    tap t; it is zero where 16·p + j ≥ Mg. Mg = M / group, P = ceil(Mg / 16), T = product of the kernel.

    Raises ValueError if ``weights`` has fewer than two axes or ``group`` does not divide M.
    """
    array = np.asarray(weights, dtype=np.float32)
    if array.ndim < 2:
        raise ValueError(f"weights need the axes [M, Cg, *kernel], not the shape {array.shape}")
    channels, inputs, taps = array.shape[0], array.shape[1], math.prod(array.shape[2:])
    padded = _panels(array.reshape(channels, inputs, taps), group)
    return np.ascontiguousarray(padded.transpose(0, 1, 4, 3, 2))


def unpack_weights(packed: Array, output_channels: int, kernel_shape: Sequence[int] | None) -> Array:
    """The inverse of `pack_weights`: float32 [M, Cg, \\*kernel_shape]; ``None`` (the matrix form) gives [M, Cg].

    Raises ValueError if ``packed`` is not a packing of ``output_channels`` channels with that kernel.
    """
    group, panels, taps, inputs, width = packed.shape
    kernel = tuple(kernel_shape or ())
    per_group, rest = divmod(output_channels, max(group, 1))
    if rest or width != PANEL or panels != -(-per_group // PANEL) or taps != math.prod(kernel):
        raise ValueError(f"{packed.shape} is not a packing of {output_channels} channels with the kernel {kernel}")
    rows = packed.transpose(0, 1, 4, 3, 2).reshape(group, panels * PANEL, inputs, taps)
    return np.ascontiguousarray(rows[:, :per_group]).reshape(output_channels, inputs, *kernel)


def scale_packed(packed: Array, scale: npt.NDArray[np.float64]) -> Array:
    """Multiply the weights of output channel m by ``scale[m]`` ([M], in double) without unpacking them."""
    factors = _panels(np.asarray(scale, dtype=np.float64), packed.shape[0])
    return np.asarray(packed * factors[:, :, None, None, :], dtype=np.float32)


def unblock(array: Array, channels: int) -> Array:
    """The tensor [N, C, spatial axes] of C ``channels`` that ``array`` [N, ceil(C / 16), spatial axes, 16] holds."""
    planes = np.moveaxis(array, -1, 2)
    return planes.reshape(array.shape[0], -1, *array.shape[2:-1])[:, :channels]


def _panels(array: npt.NDArray[_Number], group: int) -> npt.NDArray[_Number]:
    """[M, \\*rest] as [group, P, 16, \\*rest], padded with zeros."""
    channels: int = array.shape[0]
    rest: tuple[int, ...] = array.shape[1:]
    if group < 1 or channels % group:
        raise ValueError(f"{channels} output channels are not a multiple of group {group}")
    per_group = channels // group
    panels = -(-per_group // PANEL)
    padded = np.zeros((group, panels * PANEL, *rest), array.dtype)
    padded[:, :per_group] = array.reshape(group, per_group, *rest)
    return padded.reshape(group, panels, PANEL, *rest)

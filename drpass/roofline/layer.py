"""The sizes of one convolution or matrix product, which are all that its cost depends on."""

from __future__ import annotations

import math
from dataclasses import dataclass

from drpass.operator.packing import PANEL


@dataclass(frozen=True)
class Layer:
    """One call of a layer: N = ``images``, C = ``channels`` and M = ``outputs`` of all groups.

    ``size`` and ``out_size``: spatial axes of input and output; of a matrix product ``(rows,)``, with an empty
    ``kernel`` and one image a matrix. ``blocked``: X is in NCHW16c.
    """

    images: int
    channels: int
    outputs: int
    size: tuple[int, ...]
    out_size: tuple[int, ...]
    kernel: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    dilations: tuple[int, ...] = ()
    group: int = 1
    blocked: bool = False

    @property
    def taps(self) -> int:
        """T."""
        return math.prod(self.kernel)

    @property
    def pixels(self) -> int:
        """Of an image of the input."""
        return math.prod(self.size)

    @property
    def out_pixels(self) -> int:
        """Of an image of the output."""
        return math.prod(self.out_size)

    @property
    def group_channels(self) -> int:
        """Cg."""
        return self.channels // self.group

    @property
    def group_outputs(self) -> int:
        """Mg."""
        return self.outputs // self.group

    @property
    def panel_outputs(self) -> int:
        """Mg rounded up to whole panels of packed weights."""
        return -(-self.group_outputs // PANEL) * PANEL

    @property
    def multiplications(self) -> int:
        """Multiply-adds of the direct product."""
        return self.images * self.out_pixels * self.outputs * self.taps * self.group_channels

    @property
    def x_bytes(self) -> int:
        """Of X in float."""
        return 4 * self.images * self.channels * self.pixels

    @property
    def y_bytes(self) -> int:
        """Of Y in float."""
        return 4 * self.images * self.outputs * self.out_pixels

    @property
    def w_bytes(self) -> int:
        """Of the weights in float, as they are."""
        return 4 * self.outputs * self.group_channels * self.taps

    @property
    def packed_bytes(self) -> int:
        """Of the packed weights."""
        return 4 * self.group * self.panel_outputs * self.group_channels * self.taps

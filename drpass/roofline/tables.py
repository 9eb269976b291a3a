"""Counts of the kernels of steps 6 and 7: units, tables and reconstruction; see `reuse` for what is counted."""

from __future__ import annotations

import math
from dataclasses import dataclass

from drpass.roofline.clusters import THREADS, Clusters
from drpass.roofline.kernel import Kernel
from drpass.roofline.layer import Layer
from drpass.roofline.passes import Passes, table_columns

#: Reads that a loop of unknown length has on their way: nvcc unrolls it by four.
_ON_THEIR_WAY = 4


def unit_kernels(layer: Layer, c: Clusters) -> list[Kernel]:
    """A thread has one output, and goes through all channels."""
    sums = layer.packed_bytes / layer.taps
    tap_sums = Kernel(
        "tap sums",
        blocks=math.ceil(sums / 4 / THREADS),
        fp32=2.0 * layer.packed_bytes / 4,
        memory=layer.packed_bytes + sums,
        l2=layer.packed_bytes + sums,
    )
    rounds = math.ceil(layer.panel_outputs / THREADS)
    units = Kernel(
        "units",
        blocks=c.instances * layer.group,
        fp32=2.0 * c.instances * sums / 4,
        memory=sums + 8.0 * c.instances * layer.group * layer.panel_outputs,
        l2=c.instances * sums,
        waits=rounds * c.sub_groups * (1 + math.ceil(c.length / _ON_THEIR_WAY)),
    )
    return [tap_sums, units]


#: Clusters and columns of a block of `table`, and elements of the sub-vector that it has in shared memory at a time.
_ROWS, _COLUMNS, _SLICE = 32, 64, 16


@dataclass(frozen=True)
class TableCounts:
    """Instructions of a thread of `table`, and bytes of shared memory that a warp reads for a multiply-add.

    ``weights``: to bring a slice of them; ``slice``: for the rest of a slice; ``step``: beside the multiply-adds of so
    many elements of the sub-vector; ``tile``: for a tile of clusters; ``short``, ``float_``: to store one.
    """

    weights: int
    slice: int
    elements: int
    step: float
    tile: int
    short: int
    float_: int
    reads: float


#: A thread has 8 sums. A warp has 4 clusters of 64 columns, on tensor cores 16 of 16.
_FUSED = TableCounts(42, 55, 1, 5.5, 69, 83, 49, 4 * (4 + 64) / (4 * 64))
_TENSOR = TableCounts(58, 73, 8, 13, 69, 152, 78, 4 * (16 + 16) / (16 * 16))


def table_kernel(layer: Layer, c: Clusters, passes: Passes, narrow: bool, *, tensor: bool) -> Kernel:
    """Products of centroids and the weights of a tap. Blocks multiply whole tiles, the last rows and columns too."""
    counts = _TENSOR if tensor else _FUSED
    row_tiles = math.ceil(c.clusters / _ROWS)
    columns = math.ceil(passes.width / _COLUMNS) * passes.output_passes  # tiles
    tiles = c.kept * row_tiles * layer.taps * columns
    blocks = c.kept * min(row_tiles, math.ceil(c.capacity / _ROWS), 16) * layer.taps * columns
    slices = math.ceil(c.length / _SLICE)
    depth = math.ceil(c.length / counts.elements) * counts.elements
    products = tiles * _ROWS * _COLUMNS * depth
    written = (2.0 if narrow else 4.0) * c.kept * c.clusters * layer.taps * passes.columns
    # Weights that fit in a slice are brought once a block.
    brought = blocks if slices == 1 else tiles * slices
    steps = tiles * (slices * counts.slice + depth / counts.elements * counts.step + counts.tile)
    stored = tiles * (counts.short if narrow else counts.float_)
    centroids = 4.0 * c.kept * c.clusters * c.length
    return Kernel(
        "table",
        launches=passes.count,
        blocks=blocks,
        fp32=0.0 if tensor else 2.0 * products,
        tensor=2.0 * products if tensor else 0.0,
        others=THREADS * (brought * counts.weights + steps + stored),
        shared=counts.reads * products + 4.0 * _SLICE * (brought * _COLUMNS + tiles * slices * _ROWS),
        memory=centroids + layer.packed_bytes + written,
        l2=4.0 * c.length * (brought / slices * _COLUMNS + tiles * _ROWS) + written,
    )


#: Output pixels of a block of `reconstruct`, and of a thread, by its columns.
_PIXELS, _EACH = {64: 32, 16: 64}, {64: 2, 16: 1}
#: Instructions to find the pair of a sub-vector group and a tap, which one thread of a block does; the table row of a
#: pixel; the table, for a thread; and to read four elements of a row: those of 16 bits are unpacked and added, the
#: addition of float is counted elsewhere.
_PAIRED, _LOOKED_UP, _TABLE_FOUND, _READ_SHORT, _READ = 200, 27, 9, 17, 9


def reconstruct_kernel(layer: Layer, c: Clusters, passes: Passes, narrow: bool) -> Kernel:
    """A table row for every output pixel, tap and sub-vector group; every pass over the groups goes through Y."""
    unit = table_columns(layer)
    tile = _PIXELS[unit]
    pixels = layer.images // c.instances * layer.out_pixels
    tiles = c.instances * layer.group * math.ceil(pixels / tile) * passes.columns // unit
    pairs = layer.taps * c.sub_groups * c.kept_share
    added = c.instances * layer.group * pixels * pairs * passes.columns
    looked_up = tiles * tile * pairs
    y = layer.y_bytes * (2 * passes.k_passes - (1 if c.kept == c.parts else 0)) if c.kept else 0.0
    element = 2.0 if narrow else 4.0
    return Kernel(
        "reconstruct",
        launches=passes.count,
        blocks=tiles if c.kept else 0,
        fp32=0.0 if narrow else 2.0 * added,
        others=(_PAIRED / tile + _LOOKED_UP) * looked_up
        + added / 4 * (_TABLE_FOUND / _EACH[unit] + (_READ_SHORT if narrow else _READ)),
        shared=4.0 * looked_up * 2,
        memory=element * c.kept * c.clusters * layer.taps * passes.columns + 4.0 * c.kept * c.pixels + y,
        l2=element * added + 4.0 * looked_up + y,
        gathered=element * added,
        # Blocks that run together are taken to be at the same sub-vector group.
        gathered_from=element * c.clusters * layer.taps * passes.width,
    )

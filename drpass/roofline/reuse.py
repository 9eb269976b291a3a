"""Counts of the kernels that compute a clustered layer, as custom_ops/cuda launches them.

Bytes and floating-point operations follow from the sizes; other instructions are counted in the PTX that nvcc 13.0
makes, with 20 for a division (CUDA C++ Programming Guide: "up to 20"). Not counted: threads that wait for an atomic
addition of another, collisions in a hash table, blocks without work, and what a kernel finds in L2 because the one
before left it there. What L1 holds is counted as read in L2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from drpass.operator.spec import ReuseParameters
from drpass.roofline.dense import dense_kernel, exact_kernels
from drpass.roofline.kernel import Kernel
from drpass.roofline.layer import Layer
from drpass.roofline.passes import Passes, table_columns

_THREADS = 256
#: Pixels of a block of `count` and `number`.
_CHUNK = 1024
#: Bytes of L2 for an address that no neighbour of the warp shares, and for an atomic operation: read and written.
_SECTOR, _ATOMIC = 32, 64
#: Words of 32 bits that a member of a cluster is added to: 24 bits begin at any bit of a word, and cross into the next
#: from 23 of 32.
_WORDS_ADDED = 1 + 23 / 32
#: Reads that a loop of unknown length has on their way: nvcc unrolls it by four.
_ON_THEIR_WAY = 4
#: Instructions of `insert`: for a pixel with `grid` and with `lsh`; for an element that is hashed, and compared.
_INSERTED, _INSERTED_KEY, _HASHED, _COMPARED = 340, 260, 25, 28
#: Of `keys`, which computes so many bits at a time: for a pixel, an element and a round of bits.
_BITS, _KEYED, _KEYED_ELEMENT, _SIGNED = 16, 330, 30, 66
#: Of `count` and `number` for a pixel; of `sum` for a pixel and an element; of `mean` for a value.
_COUNTED, _NUMBERED, _SUMMED, _SUMMED_ELEMENT, _AVERAGED = 44, 68, 276, 68, 200
#: In double precision, for a word of a sum and for a mean (its division alone is about ten).
_PER_WORD, _PER_MEAN = 4, 15


@dataclass(frozen=True)
class Clusters:
    """What there is to cluster, as ClusterView says it.

    ``parts``: sub-vector groups of all groups and scope instances, ``kept`` of which are clustered, with ``clusters``
    each on average; ``pixels``: of a scope instance; ``capacity``: the guard's limit.
    """

    instances: int
    length: int
    sub_groups: int
    pixels: int
    capacity: int
    slots: int
    parts: int
    kept: float
    clusters: float
    words: int

    @property
    def kept_share(self) -> float:
        """Of the parts."""
        return self.kept / self.parts

    @property
    def blocks(self) -> int:
        """Of one pixel a thread, in one part."""
        return math.ceil(self.pixels / _THREADS)


def find_clusters(layer: Layer, parameters: ReuseParameters, remaining_ratios: float | Sequence[float]) -> Clusters:
    """``remaining_ratios``: r_c of every sub-vector group of every group, or one for all; 1: computed densely."""
    instances = 1 if parameters.scope == "batch" else layer.images
    length = min(parameters.sub_vector_length, layer.group_channels)
    sub_groups = math.ceil(layer.group_channels / length)
    pixels = layer.images // instances * layer.pixels
    capacity = math.floor(parameters.max_remaining_ratio * pixels)
    if parameters.method == "lsh" and parameters.hash_bits < 31:
        capacity = min(capacity, 1 << parameters.hash_bits)
    ratios = [remaining_ratios] if isinstance(remaining_ratios, (int, float)) else list(remaining_ratios)
    kept = [ratio for ratio in ratios if ratio < 1 and ratio * pixels <= capacity]
    parts = instances * layer.group * sub_groups
    return Clusters(
        instances=instances,
        length=length,
        sub_groups=sub_groups,
        pixels=pixels,
        capacity=capacity,
        slots=max(16, 1 << (max(2 * capacity, 1) - 1).bit_length()),
        parts=parts,
        kept=parts * len(kept) / len(ratios),
        clusters=max(1.0, pixels * sum(kept) / len(kept)) if kept else 0.0,
        words=3 if parameters.method == "grid" else 4,
    )


def reuse_kernels(layer: Layer, parameters: ReuseParameters, remaining_ratios: float | Sequence[float]) -> list[Kernel]:
    """All kernels of one call, fills of memory included, in their order; see `find_clusters`."""
    if parameters.method == "exact":
        return exact_kernels(layer)
    c = find_clusters(layer, parameters, remaining_ratios)
    if c.capacity == 0:
        return exact_kernels(layer)
    hashing = _cell_edges(layer, c) if parameters.method == "grid" else _keys(layer, c, parameters.hash_bits)
    clustering = [
        _insert(layer, c, parameters),
        _count(c),
        _number(c),
        _sum(layer, c),
        _mean(c),
        _list(layer, c),
    ]
    dense = dense_kernel(layer, c.instances, layer.group_channels * (1 - c.kept_share))
    narrow = parameters.table_type == "int16"
    units = _units(layer, c) if narrow else []
    passes = Passes(layer, c.instances, c.sub_groups, c.capacity)
    tables = [_table(layer, c, passes, narrow), _reconstruct(layer, c, passes, narrow)]
    return [_fills(layer, c, parameters), *hashing, *clustering, dense, *units, *tables]


def _fills(layer: Layer, c: Clusters, parameters: ReuseParameters) -> Kernel:
    """Of the hash tables, counts, flags and magnitudes, and the largest values of `lsh`."""
    bytes_ = 4.0 * (c.parts * (c.slots + 2) + c.instances * layer.channels)
    return Kernel("fills", launches=4 if parameters.method == "grid" else 5, memory=bytes_, l2=bytes_)


def _cell_edges(layer: Layer, c: Clusters) -> list[Kernel]:
    channels = layer.images * layer.channels
    moments = 8.0 * 16 * channels
    read = Kernel(
        "moments",
        blocks=math.ceil(channels * 8 / 32),
        # Converted, multiplied, and added to two sums; without contraction.
        double=4.0 * channels * layer.pixels,
        memory=layer.x_bytes + moments,
        l2=layer.x_bytes + moments,
        double_chain=4.0 * math.ceil(layer.pixels / 8),
    )
    rounds = math.ceil(layer.channels / _THREADS) * (layer.images // c.instances)
    edge = Kernel(
        "edge",
        blocks=c.instances,
        double=16.0 * channels,
        memory=moments,
        l2=moments,
        # One thread adds up the variances of all channels.
        waits=rounds + layer.channels / _ON_THEIR_WAY,
        double_chain=16.0 * rounds + layer.channels,
    )
    return [read, edge]


def _keys(layer: Layer, c: Clusters, bits: int) -> list[Kernel]:
    vectors = c.parts * c.pixels
    rounds = math.ceil(bits / _BITS)
    products = vectors * c.length * rounds * _BITS
    keys = Kernel(
        "keys",
        blocks=c.parts * c.blocks,
        fp32=2.0 * products,
        others=float(vectors * (_KEYED + rounds * (c.length * _KEYED_ELEMENT + _SIGNED))),
        memory=layer.x_bytes + 8.0 * vectors,
        l2=layer.x_bytes + 8.0 * vectors,
    )
    return [Kernel("planes", blocks=math.ceil(c.length * 64 / _THREADS), memory=256.0 * c.length), keys]


def _insert(layer: Layer, c: Clusters, parameters: ReuseParameters) -> Kernel:
    """Counted in full where the guard gives up. The first of a cluster counts as the others: it compares nothing, but
    has two atomic operations instead."""
    vectors = c.parts * c.pixels
    if parameters.method == "lsh":
        instructions, compared, read = _INSERTED_KEY, _SECTOR, 8.0 * vectors
    else:
        instructions = _INSERTED + c.length * (_HASHED + _COMPARED)
        compared, read = _scattered(layer, c), float(layer.x_bytes)
    return Kernel(
        "insert",
        blocks=c.parts * c.blocks,
        others=float(vectors * instructions),
        memory=read + 4.0 * vectors,
        l2=read + vectors * (4.0 + _SECTOR + compared),
        gathered=float(_SECTOR * vectors),
        gathered_from=4.0 * c.slots,
    )


def _scattered(layer: Layer, c: Clusters) -> int:
    """Bytes of L2 for a sub-vector anywhere: its channels lie apart, but in NCHW16c."""
    return _SECTOR * (math.ceil(4 * c.length / _SECTOR) if layer.blocked else c.length)


def _count(c: Clusters) -> Kernel:
    return _firsts("count", c, _COUNTED, 0.0)


def _number(c: Clusters) -> Kernel:
    """Writes the id, the number of members and empty sums of every cluster."""
    return _firsts("number", c, _NUMBERED, c.kept * c.clusters * (_SECTOR + 4 + 8 * c.length * c.words))


def _firsts(name: str, c: Clusters, instructions: int, written: float) -> Kernel:
    """Which pixels are the first of their cluster: the id of each, and what the hash table has there."""
    vectors = c.kept * c.pixels
    return Kernel(
        name,
        blocks=c.kept * math.ceil(c.pixels / _CHUNK),
        others=vectors * instructions,
        memory=4.0 * vectors + written,
        l2=(4.0 + _SECTOR) * vectors + written,
        gathered=_SECTOR * vectors,
        gathered_from=4.0 * c.slots,
    )


def _sum(layer: Layer, c: Clusters) -> Kernel:
    vectors = c.kept * c.pixels
    read = c.kept_share * layer.x_bytes
    sums = 8.0 * c.kept * c.clusters * c.length * c.words
    return Kernel(
        "sum",
        blocks=c.kept * c.blocks,
        others=vectors * (_SUMMED + c.length * _SUMMED_ELEMENT),
        memory=read + 8.0 * vectors + sums,
        l2=read + vectors * (8.0 + _SECTOR + _ATOMIC * (1 + _WORDS_ADDED * c.length)),
        gathered=_SECTOR * vectors,
        gathered_from=4.0 * c.slots,
    )


def _mean(c: Clusters) -> Kernel:
    values = c.kept * c.clusters * c.length
    blocks = min(math.ceil(c.capacity * c.length / (16 * _THREADS)), math.ceil(c.clusters * c.length / _THREADS))
    bytes_ = values * (8 * c.words + 4) + 4.0 * c.kept * c.clusters
    return Kernel(
        "mean",
        blocks=c.kept * blocks,
        double=values * (c.words * _PER_WORD + _PER_MEAN),
        others=values * _AVERAGED,
        memory=bytes_,
        l2=bytes_ + _ATOMIC * values,
    )


def _list(layer: Layer, c: Clusters) -> Kernel:
    bytes_ = 4.0 * c.instances * layer.channels
    waits = math.ceil(layer.group_channels / 32) + math.ceil(c.sub_groups / 32)
    return Kernel("list", blocks=c.instances * layer.group, memory=bytes_, l2=bytes_, waits=waits)


def _units(layer: Layer, c: Clusters) -> list[Kernel]:
    """A thread has one output, and goes through all channels."""
    sums = layer.packed_bytes / layer.taps
    tap_sums = Kernel(
        "tap sums",
        blocks=math.ceil(sums / 4 / _THREADS),
        fp32=2.0 * layer.packed_bytes / 4,
        memory=layer.packed_bytes + sums,
        l2=layer.packed_bytes + sums,
    )
    rounds = math.ceil(layer.panel_outputs / _THREADS)
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
#: Instructions to bring a weight and a centroid there; beside a multiply-add; to store an element, rounded or not.
_BROUGHT_WEIGHT, _BROUGHT_CENTROID, _BESIDE, _STORED_SHORT, _STORED = 43, 25, 11 / 8, 12, 8


def _table(layer: Layer, c: Clusters, passes: Passes, narrow: bool) -> Kernel:
    """Products of centroids and the weights of a tap. Blocks multiply whole tiles, the last rows and columns too."""
    row_tiles = math.ceil(c.clusters / _ROWS)
    columns = math.ceil(passes.width / _COLUMNS) * passes.output_passes  # tiles
    tiles = c.kept * row_tiles * layer.taps * columns
    products = tiles * _ROWS * _COLUMNS * c.length
    elements = c.kept * c.clusters * layer.taps * passes.columns
    written = (2.0 if narrow else 4.0) * elements
    slices = tiles * math.ceil(c.length / _SLICE) * _SLICE
    bringing = slices * (_COLUMNS * _BROUGHT_WEIGHT + _ROWS * _BROUGHT_CENTROID)
    centroids = 4.0 * c.kept * c.clusters * c.length
    return Kernel(
        "table",
        launches=passes.count,
        blocks=c.kept * min(row_tiles, math.ceil(c.capacity / _ROWS), 16) * layer.taps * columns,
        fp32=2.0 * products,
        others=bringing + _BESIDE * products + (_STORED_SHORT if narrow else _STORED) * elements,
        # A warp multiplies 4 rows and 64 columns.
        shared=4.0 * (4 + _COLUMNS) / (4 * _COLUMNS) * products + 4.0 * slices * (_COLUMNS + _ROWS),
        memory=centroids + layer.packed_bytes + written,
        l2=4.0 * tiles * c.length * (_COLUMNS + _ROWS) + written,
    )


#: Output pixels of a block of `reconstruct`, and of a thread, by its columns.
_PIXELS, _EACH = {64: 32, 16: 64}, {64: 2, 16: 1}
#: Instructions to find the table row of a pixel for a tap (five divisions); to find the table, for a thread; and to
#: read four elements of a row: those of 16 bits are unpacked and added, the addition of float is counted elsewhere.
_LOOKED_UP, _TABLE_FOUND, _READ_SHORT, _READ = 185, 27, 17, 9


def _reconstruct(layer: Layer, c: Clusters, passes: Passes, narrow: bool) -> Kernel:
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
        others=_LOOKED_UP * looked_up + added / 4 * (_TABLE_FOUND / _EACH[unit] + (_READ_SHORT if narrow else _READ)),
        shared=4.0 * looked_up * 2,
        memory=element * c.kept * c.clusters * layer.taps * passes.columns + 4.0 * c.kept * c.pixels + y,
        l2=element * added + 4.0 * looked_up + y,
        gathered=element * added,
        # Blocks that run together are taken to be at the same sub-vector group.
        gathered_from=element * c.clusters * layer.taps * passes.width,
    )

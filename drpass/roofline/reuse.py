"""Counts of the kernels that compute a clustered layer, as custom_ops/cuda launches them.

Bytes and floating-point operations follow from the sizes; other instructions are counted in the PTX that nvcc 13.0
makes, with 20 for a division (CUDA C++ Programming Guide: "up to 20"). Not counted: threads that wait for an atomic
addition of another, collisions in a hash table, blocks without work, and what a kernel finds in L2 because the one
before left it there. What L1 holds is counted as read in L2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from drpass.operator.spec import ReuseParameters
from drpass.roofline.clusters import THREADS, Clusters, find_clusters
from drpass.roofline.dense import dense_kernel, exact_kernels
from drpass.roofline.kernel import Kernel
from drpass.roofline.layer import Layer
from drpass.roofline.passes import Passes
from drpass.roofline.tables import reconstruct_kernel, table_kernel, unit_kernels

#: Pixels of a block of `count` and `number`.
_CHUNK = 1024
#: Bytes of L2 for an address that no neighbour of the warp shares, and for an atomic operation: read and written.
_SECTOR, _ATOMIC = 32, 64
#: Words of 32 bits that a member of a cluster is added to: 24 bits begin at any bit of a word, and cross into the next
#: from 23 of 32.
_WORDS_ADDED = 1 + 23 / 32
#: Instructions of `insert`: for a pixel with `grid` and with `lsh`; for an element that is hashed, and compared.
_INSERTED, _INSERTED_KEY, _HASHED, _COMPARED = 340, 260, 25, 28
#: Of `keys`, which brings so many elements at a time: for a pixel, such a slice, an element, and a bit.
_SLICE, _KEYED, _SLICED, _KEYED_ELEMENT, _SIGNED = 8, 250, 35, 31, 4
#: Of `count` and `number` for a pixel; of `sum` for a pixel and an element; of `mean` for a value.
_COUNTED, _NUMBERED, _SUMMED, _SUMMED_ELEMENT, _AVERAGED = 44, 68, 276, 68, 200
#: In double precision, for a word of a sum and for a mean (its division alone is about ten).
_PER_WORD, _PER_MEAN = 4, 15


def reuse_kernels(
    layer: Layer, parameters: ReuseParameters, remaining_ratios: float | Sequence[float], *, tensor: bool = False
) -> list[Kernel]:
    """All kernels of one call, fills of memory included, in their order; see `find_clusters`.

    ``tensor``: with ``allow_tf32``, on a device that has TF32.
    """
    if parameters.method == "exact":
        return exact_kernels(layer, tensor=tensor)
    c = find_clusters(layer, parameters, remaining_ratios)
    if c.capacity == 0:
        return exact_kernels(layer, tensor=tensor)
    hashing = _cell_edges(layer, c) if parameters.method == "grid" else _keys(layer, c, parameters.hash_bits)
    clustering = [
        _insert(layer, c, parameters),
        _count(c),
        _number(c),
        _sum(layer, c),
        _mean(c),
        _list(layer, c),
    ]
    dense = dense_kernel(layer, c.instances, layer.group_channels * (1 - c.kept_share), tensor=tensor)
    narrow = parameters.table_type == "int16"
    units = unit_kernels(layer, c) if narrow else []
    passes = Passes(layer, c.instances, c.sub_groups, c.capacity)
    tables = [table_kernel(layer, c, passes, narrow, tensor=tensor), reconstruct_kernel(layer, c, passes, narrow)]
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
    rounds = math.ceil(layer.channels / THREADS) * (layer.images // c.instances)
    edge = Kernel(
        "edge",
        blocks=c.instances,
        double=16.0 * channels,
        memory=moments,
        l2=moments,
        # One thread adds up the variances of all channels, which are in shared memory.
        waits=rounds,
        double_chain=16.0 * rounds + layer.channels,
    )
    return [read, edge]


def _keys(layer: Layer, c: Clusters, bits: int) -> list[Kernel]:
    vectors = c.parts * c.pixels
    lanes = next((lanes for lanes in (8, 16) if bits <= lanes), 32)
    rounds = math.ceil(bits / lanes)
    # Elements are read from shared memory four pixels at a time.
    instructions = math.ceil(c.length / _SLICE) * _SLICED + c.length * (_KEYED_ELEMENT + lanes / 4) + lanes * _SIGNED
    keys = Kernel(
        "keys",
        blocks=c.parts * c.blocks,
        fp32=2.0 * vectors * c.length * rounds * lanes,
        others=float(vectors * (_KEYED + rounds * instructions)),
        memory=layer.x_bytes + 8.0 * vectors,
        l2=layer.x_bytes + 8.0 * vectors,
    )
    return [Kernel("planes", blocks=math.ceil(c.length * 64 / THREADS), memory=256.0 * c.length), keys]


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
    blocks = min(math.ceil(c.capacity * c.length / (16 * THREADS)), math.ceil(c.clusters * c.length / THREADS))
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

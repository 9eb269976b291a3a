"""Typical faults in the kernels for CUDA, for tests/cuda_mutations.py."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """``old`` becomes ``new`` at its only place in a file of custom_ops/cuda."""

    name: str
    file: str
    old: str
    new: str


FAULTS = [
    Fault(
        "dense: no barrier between steps",
        "dense.cu",
        "    if (more) store(v, fetched, 1 - buffer, s);\n    __syncthreads();",
        "    if (more) store(v, fetched, 1 - buffer, s);",
    ),
    Fault(
        "dense: the last step is dropped",
        "dense.cu",
        "(v.taps * count + kDepth - 1) / kDepth",
        "v.taps * count / kDepth",
    ),
    Fault(
        "dense: reads one column past the image",
        "dense.cu",
        "< static_cast<unsigned>(v.in[slot]);",
        "<= static_cast<unsigned>(v.in[slot]);",
    ),
    Fault("dense: a tile has a pixel too many", "dense.cu", "i < tile.count ?", "i <= tile.count ?"),
    Fault("dense: shared memory for a row too few", "dense.cu", "Row rows[2][kDepth];", "Row rows[2][kDepth - 1];"),
    Fault(
        "clusters: members counted without atomics",
        "clusters.cu",
        "atomicAdd(c.members + cluster, 1);",
        "++c.members[cluster];",
    ),
    Fault(
        "clusters: race on the key table",
        "clusters.cu",
        "if (seen < 0) seen = atomicCAS(table + slot, -1, pixel);",
        "if (seen < 0) table[slot] = pixel;",
    ),
    Fault("clusters: not the first pixel", "clusters.cu", "if (pixel < seen) atomicMin(table + slot, pixel);", ""),
    Fault("clusters: the guard lets one more pass", "clusters.cu", ">= c.capacity) give_up", "> c.capacity) give_up"),
    Fault(
        "clusters: a probe that does not go on", "clusters.cu", "(hash + probe) & (c.slots - 1)", "hash & (c.slots - 1)"
    ),
    Fault(
        "clusters: no barrier in the scan",
        "scan.h",
        "  if (lane == 31) warps[warp] = sum;\n  __syncthreads();",
        "  if (lane == 31) warps[warp] = sum;",
    ),
    Fault("clusters: sums are not begun at zero", "clusters.cu", "c.sums[cluster * words + word] = 0;", ";"),
    Fault("clusters: the high word of a sum is lost", "clusters.cu", "if (high) atomicAdd", "if (false) atomicAdd"),
    Fault("clusters: a list one place too far", "clusters.cu", "(1u << lane) - 1", "(2u << lane) - 1"),
    Fault("clusters: ids begin anew in every chunk", "clusters.cu", "int id = earlier + scan", "int id = scan"),
    Fault(
        "cell edge: one sum after the other",
        "cell_edge.cu",
        "((s[0] + s[1]) + (s[2] + s[3]))",
        "(((s[0] + s[1]) + s[2]) + s[3])",
    ),
    Fault("keys: zero counts as positive", "keys.cu", "dot[i] > 0", "dot[i] >= 0"),
    Fault("keys: bits of another pixel", "keys.cu", "votes >> neighbours &", "votes &"),
    Fault("keys: coordinates of the first slice for all", "keys.cu", "c.planes + begin * kPlaneStride", "c.planes"),
    Fault("keys: elements over those that are still read", "keys.cu", "      __syncwarp();\n#pragma", "#pragma"),
    Fault("keys: elements read before they are there", "keys.cu", "      __syncwarp();\n      add", "      add"),
    Fault("keys: infinity is no reason for the guard", "keys.cu", ">= 0x7F800000", "> 0x7F800000"),
    Fault(
        "reconstruction: no barrier after the look-up",
        "reconstruct.cu",
        "tile.instance, next);\n    __syncthreads();",
        "tile.instance, next);",
    ),
    Fault(
        "reconstruction: the padding has a row", "reconstruct.cu", "if (row < 0) continue;", "if (row < -1) continue;"
    ),
    Fault(
        "reconstruction: shared memory for a pair too few",
        "reconstruct.cu",
        "int rows[S::kPairs][S::kPixels];",
        "int rows[S::kPairs - 1][S::kPixels];",
    ),
    Fault(
        "reconstruction: earlier passes are forgotten", "reconstruct.cu", "p.k > 0 || c.dense_counts", "c.dense_counts"
    ),
    Fault(
        "reconstruction: what is in Y is forgotten", "reconstruct.cu", "p.k > 0 || c.dense_counts[area] > 0", "p.k > 0"
    ),
    Fault("reconstruction: one buffer for the pairs", "reconstruct.cu", "buffer = 1 - buffer) {", "buffer = 0) {"),
    Fault(
        "reconstruction: pairs of the next step over those of this",
        "reconstruct.cu",
        "s.pairs[1 - buffer][i] = ",
        "s.pairs[buffer][i] = ",
    ),
    Fault(
        "tables: no barrier before the next slice",
        "table.cu",
        "      __syncthreads();\n      // Weights",
        "      // Weights",
    ),
    Fault(
        "tables: weights of the first slice for all",
        "table.cu",
        "length > kSlice || cluster == tile.first * kRows",
        "begin == 0 && cluster == tile.first * kRows",
    ),
    Fault("tables: 16 bits that overflow", "table.cu", "kRounded ? min(max(", "false ? min(max("),
    Fault(
        "tables: tensor cores that nobody allowed",
        "table.cu",
        "v.tf32 ? table_kernel<true>",
        "true ? table_kernel<true>",
    ),
    Fault(
        "tables: tensor cores that nobody uses", "table.cu", "v.tf32 ? table_kernel<true>", "false ? table_kernel<true>"
    ),
    Fault(
        "clusters: zeros share their cell", "clusters.cu", "return zero_a == zero_b;", "return zero_a | zero_b | true;"
    ),
    Fault(
        "clusters: zeros share their signature",
        "clusters.cu",
        "is_zero(v, part, a) == is_zero(v, part, b)",
        "(is_zero(v, part, a) | true)",
    ),
    Fault("cell edge: no barrier before the sum", "cell_edge.cu", "n);\n    __syncthreads();", "n);"),
    Fault(
        "cell edge: no barrier after the sum",
        "cell_edge.cu",
        "    __syncthreads();\n    if (channel <",
        "    if (channel <",
    ),
    Fault("units: too fine by a factor", "units.cu", "16 / v.taps : 1", "1 : 1"),
    Fault(
        "scratch: too short for the sums",
        "cluster_scratch.cu",
        "c.capacity, c.length, c.words}",
        "c.capacity, c.length}",
    ),
    Fault("scratch: the table is not cleared", "cluster_scratch.cu", "fill_all(table_, 0xFF);", ""),
    Fault(
        "half: four weights read from two",
        "element.h",
        "make_float4(low.x, low.y, high.x, high.y)",
        "make_float4(low.x, low.y, low.x, low.y)",
    ),
    Fault("half: no room for sums of float", "engine.cu", "  if (v.half) {", "  if (false) {"),
    # The emulator rounds every conversion to nearest, so bits are taken away before it.
    Fault(
        "half: rounded towards zero",
        "element.h",
        "__float2half_rn(value)",
        "__float2half_rn(__uint_as_float(__float_as_uint(value) & 0xFFFFE000u))",
    ),
    Fault("tensor cores: factors are cut off, not rounded", "tensor_cores.h", "(bits + 0x1000)", "(bits)"),
    Fault(
        "tensor cores: rows and columns of B change places",
        "dense_product.h",
        "w[depth + column + 4 * e][output_ + 8 * j + row]",
        "w[depth + row][output_ + 8 * j + column + 4 * e]",
    ),
    Fault(
        "tensor cores: the lower half of a tile is put over the upper",
        "dense_product.h",
        "+ row + half * 8,",
        "+ row,",
    ),
    Fault(
        "memo: calls at the same time",
        "memo.cu",
        "if (atomicCAS(m.owned, 0, 1) == 0) {",
        "if (atomicCAS(m.owned, 0, 1) < 2) {",
    ),
    Fault("memo: never given back", "memo.cu", "if (*c.turn) atomicExch(m.owned, 0);", ""),
    Fault(
        "memo: the same values are the same window",
        "memo.cu",
        "for (uint64_t i = lane;; i += 32)",
        "for (uint64_t i = 0;;)",
    ),
    Fault("memo: cut tiles are as others", "memo.cu", "splitmix64(window.cut, ~uint64_t{0})", "0"),
    Fault("memo: the padding is read", "memo.cu", "return inside ? result : -1;", "return result;"),
    Fault(
        "memo: shared memory for a part of a window",
        "memo.cu",
        "int pixels[kWarps][kMostWindow]",
        "int pixels[kWarps][16]",
    ),
    Fault("memo: what is used is not noted", "memo.cu", "    atomicExch(m.used + slot, turn);\n", ""),
    Fault(
        "memo: claims without atomics",
        "memo.cu",
        "atomicMin(m.claims + set_of(m, key) * kWays + key.y % kWays, static_cast<unsigned>(tile))",
        "m.claims[set_of(m, key) * kWays + key.y % kWays] = static_cast<unsigned>(tile)",
    ),
    Fault("memo: claims of earlier calls", "memo.cu", "    m.claims[claim] = ~0u;\n", ""),
    Fault("memo: room is made of what is used", "memo.cu", "m.used[way] != turn &&", ""),
    Fault("memo: the list begins anew in every block", "memo.cu", "earlier = total;", "earlier = 0;"),
    Fault(
        "memo: nothing is brought from it",
        "memo.cu",
        "const bool kept = c.slots[tile] >= 0;",
        "const bool kept = false;",
    ),
    Fault("memo: no memory is an error", "memo.cu", "    return;  // no memory: no memo", "    throw;"),
    Fault(
        "memo: more tiles than are missing",
        "dense.cu",
        "min(kPixels, *list.count * kTilePixels - first_pixel)}",
        "kPixels}",
    ),
    Fault("memo: columns past the last", "dense.h", "y >= v.out[1] || x >= v.out[2]", "y >= v.out[1]"),
    Fault(
        "launch: waits",
        "launch.h",
        "  if (blocks == 0) return;",
        "  if (blocks == 0 || cudaStreamSynchronize(static_cast<cudaStream_t>(stream)) != cudaSuccess) return;",
    ),
    Fault(
        "launch: the default stream",
        "launch.h",
        "<cudaStream_t>(stream))",
        "<cudaStream_t>(stream ? nullptr : stream))",
    ),
    Fault("launch: errors pass unseen", "launch.h", "if (error == cudaSuccess) return;", "return;"),
    Fault(
        "pool: a window past the image", "pool.cu", "min(start_y + v.rows.kernel, v.rows.in)", "start_y + v.rows.kernel"
    ),
    Fault(
        "depthwise: a tap past the image",
        "depthwise.cu",
        "static_cast<unsigned>(x) >= v.columns.in",
        "x >= v.columns.in",
    ),
    Fault(
        "depthwise: weights of the first block", "depthwise.cu", "static_cast<int64_t>(block) * v.rows", "0 * v.rows"
    ),
    Fault(
        "depthwise: lanes without a channel",
        "depthwise.cu",
        "if (!v.y_planes) store_element",
        "if (v.y_planes) store_element",
    ),
    Fault(
        "depthwise: planes without an image",
        "depthwise.cu",
        "slab / v.blocks * v.channels + channel",
        "int64_t{channel}",
    ),
    Fault(
        "fully connected: rows past the last", "fully_connected.cu", "      if (first + r < v.rows) sums", "      sums"
    ),
    Fault("fully connected: outputs past the last", "fully_connected.cu", "  if (m >= v.outputs) return;", ""),
    Fault("fully connected: one panel of weights", "fully_connected.cu", "(panel * v.inputs + k)", "k"),
    Fault(
        "upsample: the same row always", "upsample.cu", "row / v.row_scale * v.columns", "row % v.row_scale * v.columns"
    ),
    Fault("upsample: elements past the last", "upsample.cu", "  if (element >= v.elements) return;", ""),
    Fault("lrn: a window one channel short", "lrn.cu", "min(c + v.after,", "min(c + v.after - 1,"),
]

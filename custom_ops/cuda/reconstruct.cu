#include "cuda/reconstruct.h"

#include <climits>

#include "cuda/launch.h"

namespace drpass::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWide = 64, kNarrow = 16;  // columns of a block

// A block has kColumns outputs of kPixels output pixels; a thread has 4 neighbouring columns of kEach pixels.
template <int kColumns>
struct Shape {
  static constexpr int kLanes = kColumns / 4, kSlots = kThreads / kLanes, kEach = kColumns == kWide ? 2 : 1;
  static constexpr int kPixels = kSlots * kEach;
  static constexpr int kPairs = 32;  // rows of an output pixel that are looked up at a time
};

// Where an output pixel reads its first tap: the input pixel of the scope instance, and the position on every axis;
// INT_MIN on axis 0 past the last pixel.
struct Source {
  unsigned pixel;
  int position[3];
};

// A sub-vector group and a tap. Places are no pointers, so that nvcc knows what memory they are in.
struct Pair {
  int64_t ids;    // where those of the sub-vector group begin; -1: it is computed densely, and there is nothing to add
  int64_t table;  // where that of the sub-vector group begins, in bytes
  int tap;
  unsigned pixel;  // from that of the first tap, and so for the position
  int position[3];
};

template <int kColumns>
struct Shared {
  using S = Shape<kColumns>;
  int rows[S::kPairs][S::kPixels];  // the table row of a pixel, or -1: nothing to add
  Pair pairs[2][S::kPairs];
  Source sources[S::kPixels];
  float y[kColumns][S::kPixels + 1];
};

struct Tile {
  int instance, first_pixel, count, column;  // pixels of the scope instance; column of the tables
};

template <int kColumns>
__device__ Tile tile_of(const View& v, const PassView& p, unsigned block) {
  constexpr int kPixels = Shape<kColumns>::kPixels;
  const int pixels = v.instance_images * v.output_pixels, tiles = (pixels - 1) / kPixels + 1;
  const int columns = p.width / kColumns;
  Tile tile;
  tile.column = static_cast<int>(block % columns) * kColumns;
  block /= columns;
  tile.first_pixel = static_cast<int>(block % tiles) * kPixels;
  tile.instance = p.instance + static_cast<int>(block / tiles);
  tile.count = min(kPixels, pixels - tile.first_pixel);
  return tile;
}

// Pixels are counted as unsigned numbers, because they may be far outside where the position is in the padding.
__device__ unsigned pixel_of(const View& v, const int (&position)[3]) {
  return (static_cast<unsigned>(position[0]) * v.in[1] + position[1]) * v.in[2] + position[2];
}

__device__ Source source_of(const View& v, const Tile& tile, int i) {
  Source source{0, {INT_MIN, 0, 0}};
  if (i >= tile.count) return source;
  int pixel = tile.first_pixel + i;
  const int image = pixel / v.output_pixels;
  pixel %= v.output_pixels;
#pragma unroll
  for (int slot = 2; slot >= 0; --slot) {
    source.position[slot] = pixel % v.out[slot] * v.stride[slot] - v.pad[slot];
    pixel /= v.out[slot];
  }
  source.pixel = static_cast<unsigned>(image) * v.pixels + pixel_of(v, source.position);
  return source;
}

// Pairs are numbered through a pass.
__device__ Pair pair_of(const View& v, const ClusterView& c, const PassView& p, int instance, int index) {
  const int k = p.k + index / v.taps;
  int tap = index % v.taps;
  const int64_t part = area_of(v, p, instance) * c.sub_groups + k;
  Pair pair;
  pair.ids = c.dense[part] ? -1 : part * c.pixels;
  pair.table = table_place(v, c, p, instance, k);
  pair.tap = tap;
#pragma unroll
  for (int slot = 2; slot >= 0; --slot) {
    pair.position[slot] = tap % v.kernel[slot] * v.dilation[slot];
    tap /= v.kernel[slot];
  }
  pair.pixel = pixel_of(v, pair.position);
  return pair;
}

// The rows of `count` pairs. A thread stays with its pixel.
template <int kColumns>
__device__ void look_up(const View& v, const ClusterView& c, const Pair* pairs, int count, Shared<kColumns>& s) {
  constexpr int kPixels = Shape<kColumns>::kPixels;
  static_assert(kThreads % kPixels == 0, "a thread stays with its pixel");
  const int pixel = threadIdx.x % kPixels;
  const Source source = s.sources[pixel];
  for (int i = threadIdx.x / kPixels; i < count; i += kThreads / kPixels) {
    const Pair& pair = pairs[i];
    bool inside = pair.ids >= 0;
#pragma unroll
    for (int slot = 0; slot < 3; ++slot)
      inside &= static_cast<unsigned>(source.position[slot] + pair.position[slot]) < static_cast<unsigned>(v.in[slot]);
    s.rows[i][pixel] = inside ? c.ids[pair.ids + (source.pixel + pair.pixel)] * v.taps + pair.tap : -1;
  }
}

// Calls body(image, pixel, output of the group, value in shared memory) for every output of a tile, so that neighbouring
// threads have neighbours in Y.
template <int kColumns, typename Body>
__device__ void for_outputs(const View& v, const PassView& p, const Tile& tile, Shared<kColumns>& s, const Body& body) {
  constexpr int kPixels = Shape<kColumns>::kPixels;
  for (int i = threadIdx.x; i < kColumns * kPixels; i += kThreads) {
    const int pixel = v.y_pixel == 1 ? i % kPixels : i / kColumns, column = v.y_pixel == 1 ? i / kPixels : i % kColumns;
    const int m = p.output + tile.column + column, index = tile.first_pixel + pixel;
    if (pixel >= tile.count || m >= v.panels * kPanel) continue;
    const int image = tile.instance * v.instance_images + index / v.output_pixels;
    body(image, index % v.output_pixels, m, s.y[column][pixel]);
  }
}

// Adds a row for every pair. While rows of one step are looked up, one warp finds the pairs of the next.
template <int kColumns, typename Element, typename Sum>
__device__ void add_rows(const View& v, const ClusterView& c, const PassView& p, const Tile& tile, Shared<kColumns>& s,
                         Sum (&sum)[Shape<kColumns>::kEach][4]) {
  using S = Shape<kColumns>;
  const int lane = threadIdx.x % S::kLanes, slot = threadIdx.x / S::kLanes;
  const int all = p.sub_groups * v.taps, i = threadIdx.x;
  if (i < min(S::kPairs, all)) s.pairs[0][i] = pair_of(v, c, p, tile.instance, i);
  for (int first = 0, buffer = 0; first < all; first += S::kPairs, buffer = 1 - buffer) {
    const int count = min(S::kPairs, all - first), next = first + S::kPairs + i;
    __syncthreads();
    look_up(v, c, s.pairs[buffer], count, s);
    if (i < S::kPairs && next < all) s.pairs[1 - buffer][i] = pair_of(v, c, p, tile.instance, next);
    __syncthreads();
#pragma unroll 2
    for (int pair = 0; pair < count; ++pair) {
      const Element* table = reinterpret_cast<const Element*>(p.tables + s.pairs[buffer][pair].table);
      const Element* column = table + (tile.column / 4 + lane);
#pragma unroll
      for (int e = 0; e < S::kEach; ++e) {
        const int row = s.rows[pair][slot + e * S::kSlots];
        if (row < 0) continue;
        const Element value = column[static_cast<int64_t>(row) * (p.width / 4)];
        sum[e][0] += value.x;
        sum[e][1] += value.y;
        sum[e][2] += value.z;
        sum[e][3] += value.w;
      }
    }
  }
}

// Four blocks a multiprocessor: where nothing is asked for, ptxas spills registers to fit in six.
template <int kColumns>
__global__ __launch_bounds__(kThreads, 4) void reconstruct_kernel(View v, ClusterView c, PassView p) {
  using S = Shape<kColumns>;
  __shared__ Shared<kColumns> s;
  const Tile tile = tile_of<kColumns>(v, p, blockIdx.x);
  const int64_t area = area_of(v, p, tile.instance);
  if (c.reused[area] == 0) return;
  for (int i = threadIdx.x; i < S::kPixels; i += kThreads) s.sources[i] = source_of(v, tile, i);
  const bool before = p.k > 0 || c.dense_counts[area] > 0;  // a part of the sum is there
  for_outputs(v, p, tile, s, [&](int image, int pixel, int m, float& value) {
    value = before && m < v.group_outputs ? v.sums[v.y_at(image, p.group * v.group_outputs + m, pixel)] : 0.0f;
  });
  __syncthreads();

  const int at = threadIdx.x % S::kLanes * 4, slot = threadIdx.x / S::kLanes;
  float sum[S::kEach][4] = {};
#pragma unroll
  for (int i = 0; i < S::kEach; ++i)
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int m = p.output + tile.column + at + j;
      if (slot + i * S::kSlots < tile.count && m < v.panels * kPanel) sum[i][j] = s.y[at + j][slot + i * S::kSlots];
    }
  if (is_narrow(p, area)) {
    int rows[S::kEach][4] = {};
    add_rows<kColumns, short4>(v, c, p, tile, s, rows);
#pragma unroll
    for (int i = 0; i < S::kEach; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int m = p.output + tile.column + at + j, width = v.panels * kPanel;
        if (m < width) sum[i][j] = fmaf(static_cast<float>(rows[i][j]), p.units.units[area * width + m], sum[i][j]);
      }
  } else {
    add_rows<kColumns, float4>(v, c, p, tile, s, sum);
  }
#pragma unroll
  for (int i = 0; i < S::kEach; ++i)
#pragma unroll
    for (int j = 0; j < 4; ++j) s.y[at + j][slot + i * S::kSlots] = sum[i][j];
  __syncthreads();

  const bool last = p.k + p.sub_groups == c.sub_groups;
  for_outputs(v, p, tile, s, [&](int image, int pixel, int m, float& value) {
    const int channel = p.group * v.group_outputs + m;
    const int64_t place = v.y_at(image, channel, pixel);
    if (m >= v.group_outputs) {
      if (v.y_blocked) v.store(place, 0.0f);  // lanes past the last channel
    } else if (last) {
      v.store(place, finish(v, value, image, channel, pixel));
    } else {
      v.sums[place] = value;
    }
  });
}

template <int kColumns>
void launch_reconstruct(const View& v, const ClusterView& c, const PassView& p, void* stream) {
  const int64_t pixels = static_cast<int64_t>(v.instance_images) * v.output_pixels;
  const int64_t tiles = divide_up(pixels, Shape<kColumns>::kPixels) * (p.width / kColumns);
  launch("reconstruct", reconstruct_kernel<kColumns>, p.instances * tiles, kThreads, stream, v, c, p);
}

}  // namespace

int table_columns(const View& v) { return v.group_outputs <= kNarrow ? kNarrow : kWide; }

void launch_reconstruction(const View& v, const ClusterView& c, const PassView& p, void* stream) {
  if (p.width % kWide == 0)
    launch_reconstruct<kWide>(v, c, p, stream);
  else
    launch_reconstruct<kNarrow>(v, c, p, stream);
}

}  // namespace drpass::cuda

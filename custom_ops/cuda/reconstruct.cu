#include "cuda/reconstruct.h"

#include <algorithm>

#include "cuda/launch.h"

namespace drpass::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWide = 64, kNarrow = 16;  // columns of a block

// Where the tables of a sub-vector group begin.
__device__ char* table_of(const View& v, const ClusterView& c, const PassView& p, int instance, int k) {
  const int64_t index = static_cast<int64_t>(instance - p.instance) * p.sub_groups + (k - p.k);
  return p.tables + index * c.capacity * v.taps * p.width * kElement;
}

__device__ int64_t area_of(const View& v, const PassView& p, int instance) {
  return static_cast<int64_t>(instance) * v.groups + p.group;
}

__device__ bool is_narrow(const PassView& p, int64_t area) { return p.units.narrow && p.units.narrow[area]; }

// ---- Tables: a product of centroids and the weights of a tap, for every tap.

constexpr int kRows = 32;   // clusters of a block
constexpr int kSlice = 16;  // elements of the sub-vector that are in shared memory at a time

struct TableShared {
  float w[kSlice][kWide];
  float centroids[kRows][kSlice];
};

__device__ void load_slice(const View& v, const ClusterView& c, const PassView& p, int64_t part, int k, int tap,
                           int column, int cluster, int count, int begin, TableShared& s) {
  const int length = c.vector_size(v, k);
  for (int i = threadIdx.x; i < kSlice * kWide; i += kThreads) {
    const int l = begin + i / kWide, m = p.output + column + i % kWide;
    const int64_t line = (static_cast<int64_t>(p.group) * v.panels + m / kPanel) * v.taps + tap;
    const int64_t channel = static_cast<int64_t>(k) * c.length + l;
    const bool inside = l < length && m / kPanel < v.panels;
    s.w[i / kWide][i % kWide] = inside ? v.load(v.w, (line * v.group_channels + channel) * kPanel + m % kPanel) : 0.0f;
  }
  for (int i = threadIdx.x; i < kRows * kSlice; i += kThreads) {
    const int row = cluster + i / kSlice, l = begin + i % kSlice;
    const bool inside = row < count && l < length;
    s.centroids[i / kSlice][i % kSlice] =
        inside ? c.centroids[(part * c.capacity + row) * c.length + l] : 0.0f;
  }
}

// Blocks of kRows clusters, kWide columns and one tap; `blocks` of them share the clusters of a table. A thread has 4
// neighbouring columns of 2 clusters.
__global__ __launch_bounds__(kThreads) void table_kernel(View v, ClusterView c, PassView p, int blocks) {
  __shared__ TableShared s;
  const int columns = (p.width + kWide - 1) / kWide;
  int64_t block = blockIdx.x;
  const int column = static_cast<int>(block % columns) * kWide;
  block /= columns;
  const int tap = static_cast<int>(block % v.taps);
  block /= v.taps;
  const int first = static_cast<int>(block % blocks);
  block /= blocks;
  const int k = p.k + static_cast<int>(block % p.sub_groups), instance = p.instance + static_cast<int>(block / p.sub_groups);
  const int64_t area = area_of(v, p, instance), part = area * c.sub_groups + k;
  if (c.dense[part]) return;

  const int count = c.counts[part], at = threadIdx.x % 16 * 4, row = threadIdx.x / 16 * 2;
  const bool narrow = is_narrow(p, area);
  char* table = table_of(v, c, p, instance, k);
  for (int cluster = first * kRows; cluster < count; cluster += blocks * kRows) {
    float sum[2][4] = {};
    for (int begin = 0; begin < c.vector_size(v, k); begin += kSlice) {
      __syncthreads();
      load_slice(v, c, p, part, k, tap, column, cluster, count, begin, s);
      __syncthreads();
#pragma unroll
      for (int l = 0; l < kSlice; ++l) {
        if (begin + l >= c.vector_size(v, k)) break;
#pragma unroll
        for (int i = 0; i < 2; ++i)
#pragma unroll
          for (int j = 0; j < 4; ++j) sum[i][j] = fmaf(s.centroids[row + i][l], s.w[l][at + j], sum[i][j]);
      }
    }
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      if (cluster + row + i >= count || column + at >= p.width) continue;
      const int64_t place = (static_cast<int64_t>(cluster + row + i) * v.taps + tap) * p.width + column + at;
      if (narrow) {
        short element[4];
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const int m = p.output + column + at + j, width = v.panels * kPanel;
          const float inverse = m < width ? p.units.inverses[area * width + m] : 0.0f;
          element[j] = static_cast<short>(__float2int_rn(sum[i][j] * inverse));
        }
        reinterpret_cast<short4*>(table)[place / 4] = make_short4(element[0], element[1], element[2], element[3]);
      } else {
        reinterpret_cast<float4*>(table)[place / 4] = make_float4(sum[i][0], sum[i][1], sum[i][2], sum[i][3]);
      }
    }
  }
}

// ---- Reconstruction

// A block has kColumns outputs of kPixels output pixels; a thread has 4 neighbouring columns of kEach pixels.
template <int kColumns>
struct Shape {
  static constexpr int kLanes = kColumns / 4, kSlots = kThreads / kLanes, kEach = kColumns == kWide ? 2 : 1;
  static constexpr int kPixels = kSlots * kEach;
  static constexpr int kPairs = 32;  // rows of an output pixel that are looked up at a time
};

struct Source {
  int image, position[3];  // image of the scope instance, and the first tap's position on every axis
};

template <int kColumns>
struct Shared {
  using S = Shape<kColumns>;
  int rows[S::kPairs][S::kPixels];  // the table row of a pixel, or -1: nothing to add
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

__device__ Source source_of(const View& v, int pixel) {
  Source source;
  source.image = pixel / v.output_pixels;
  pixel %= v.output_pixels;
#pragma unroll
  for (int slot = 2; slot >= 0; --slot) {
    source.position[slot] = pixel % v.out[slot] * v.stride[slot] - v.pad[slot];
    pixel /= v.out[slot];
  }
  return source;
}

// The input pixel (of the scope instance) that a tap reads, or -1 in the padding.
__device__ int input_of(const View& v, const Source& source, int tap) {
  int position[3];
  bool inside = true;
#pragma unroll
  for (int slot = 2; slot >= 0; --slot) {
    position[slot] = source.position[slot] + tap % v.kernel[slot] * v.dilation[slot];
    inside &= static_cast<unsigned>(position[slot]) < static_cast<unsigned>(v.in[slot]);
    tap /= v.kernel[slot];
  }
  return inside ? source.image * v.pixels + (position[0] * v.in[1] + position[1]) * v.in[2] + position[2] : -1;
}

// Pairs of a sub-vector group and a tap, numbered through a pass.
template <int kColumns>
__device__ void look_up(const View& v, const ClusterView& c, const PassView& p, const Tile& tile, int first, int pairs,
                        Shared<kColumns>& s) {
  constexpr int kPixels = Shape<kColumns>::kPixels;
  for (int i = threadIdx.x; i < pairs * kPixels; i += kThreads) {
    const int pair = first + i / kPixels, pixel = i % kPixels, tap = pair % v.taps;
    const int64_t part = area_of(v, p, tile.instance) * c.sub_groups + p.k + pair / v.taps;
    const int input = pixel < tile.count && !c.dense[part] ? input_of(v, s.sources[pixel], tap) : -1;
    s.rows[i / kPixels][pixel] = input < 0 ? -1 : c.ids[part * c.pixels + input] * v.taps + tap;
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

template <int kColumns, typename Element, typename Sum>
__device__ void add_rows(const View& v, const ClusterView& c, const PassView& p, const Tile& tile, Shared<kColumns>& s,
                         Sum (&sum)[Shape<kColumns>::kEach][4]) {
  using S = Shape<kColumns>;
  const int lane = threadIdx.x % S::kLanes, slot = threadIdx.x / S::kLanes;
  const int all = p.sub_groups * v.taps;
  for (int first = 0; first < all; first += S::kPairs) {
    const int pairs = min(S::kPairs, all - first);
    __syncthreads();
    look_up(v, c, p, tile, first, pairs, s);
    __syncthreads();
    for (int pair = 0; pair < pairs; ++pair) {
      const char* table = table_of(v, c, p, tile.instance, p.k + (first + pair) / v.taps);
      const Element* column = reinterpret_cast<const Element*>(table) + (tile.column / 4 + lane);
#pragma unroll
      for (int i = 0; i < S::kEach; ++i) {
        const int row = s.rows[pair][slot + i * S::kSlots];
        if (row < 0) continue;
        const Element value = column[static_cast<int64_t>(row) * (p.width / 4)];
        sum[i][0] += value.x;
        sum[i][1] += value.y;
        sum[i][2] += value.z;
        sum[i][3] += value.w;
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
  for (int i = threadIdx.x; i < S::kPixels; i += kThreads) s.sources[i] = source_of(v, tile.first_pixel + i);
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

void launch_pass(const View& v, const ClusterView& c, const PassView& p, void* stream) {
  // Most tables have far fewer rows than they may have.
  const int64_t blocks = std::min<int64_t>(divide_up(c.capacity, kRows), 16);
  const int64_t tables = static_cast<int64_t>(p.instances) * p.sub_groups;
  launch("table", table_kernel, tables * blocks * v.taps * divide_up(p.width, kWide), kThreads, stream, v, c, p,
         static_cast<int>(blocks));
  if (p.width % kWide == 0)
    launch_reconstruct<kWide>(v, c, p, stream);
  else
    launch_reconstruct<kNarrow>(v, c, p, stream);
}

}  // namespace drpass::cuda

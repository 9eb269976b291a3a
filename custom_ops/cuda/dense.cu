#include "cuda/dense.h"

#include <climits>
#include <type_traits>

#include "cuda/dense_product.h"
#include "cuda/launch.h"

namespace drpass::cuda {
namespace {

constexpr int kThreads = kDenseThreads;

// A row of the product: one tap of one channel.
struct Row {
  int64_t offset;   // in X, from the first tap of the group's first channel
  int position[3];  // of the tap
  int weight;       // row of a panel of packed weights; -1: past the end
};

// An output pixel of the scope instance, and where it reads its first tap: in X, and on every axis. Where there is none, the
// pixel is -1, and the position on axis 0 INT_MIN.
struct Origin {
  int64_t offset;
  int position[3];
  int pixel;
};

struct Tile {
  int instance, group, first_pixel, first_output, count;
};

// The work of one block. Tiles of outputs are neighbours, so that those that read the same pixels run together.
template <int kPixels, int kOutputs>
__device__ Tile tile_of(const View& v, unsigned block) {
  Tile tile;
  const int output_tiles = (v.group_outputs + kOutputs - 1) / kOutputs;
  const int pixels = v.instance_images * v.output_pixels, pixel_tiles = (pixels - 1) / kPixels + 1;
  tile.first_output = static_cast<int>(block % output_tiles) * kOutputs;
  block /= output_tiles;
  tile.first_pixel = static_cast<int>(block % pixel_tiles) * kPixels;
  block /= pixel_tiles;
  tile.group = static_cast<int>(block % v.groups);
  tile.instance = static_cast<int>(block / v.groups);
  tile.count = min(kPixels, pixels - tile.first_pixel);
  return tile;
}

// The same, for a list of tiles of the TileGrid, of which kPixels / kTilePixels are a block's.
template <int kPixels, int kOutputs>
__device__ Tile tile_of(const View& v, const TileList& list, unsigned block) {
  const int output_tiles = (v.group_outputs + kOutputs - 1) / kOutputs;
  const int first_pixel = static_cast<int>(block / output_tiles) * kPixels;
  return {0, 0, first_pixel, static_cast<int>(block % output_tiles) * kOutputs,
          min(kPixels, *list.count * kTilePixels - first_pixel)};
}

__device__ Origin origin_of(const View& v, const Tile& tile, int pixel) {
  Origin origin{0, {INT_MIN, 0, 0}, pixel};
  if (pixel < 0) return origin;
  const int image = tile.instance * v.instance_images + pixel / v.output_pixels;
  pixel %= v.output_pixels;
#pragma unroll
  for (int slot = 2; slot >= 0; --slot) {
    origin.position[slot] = pixel % v.out[slot] * v.stride[slot] - v.pad[slot];
    pixel /= v.out[slot];
  }
  const int64_t index =
      (static_cast<int64_t>(origin.position[0]) * v.in[1] + origin.position[1]) * v.in[2] + origin.position[2];
  origin.offset = image * v.x_image + index * v.x_pixel + v.x_offset(tile.group * v.group_channels);
  return origin;
}

// channels: the `count` dense channels, or null for all.
__device__ Row row_of(const View& v, int row, const int* channels, int count) {
  Row result{0, {0, 0, 0}, -1};
  if (row >= v.taps * count) return result;
  int tap = row / count;
  const int channel = channels ? channels[row % count] : row % count;
  result.weight = tap * v.group_channels + channel;
#pragma unroll
  for (int slot = 2; slot >= 0; --slot) {
    result.position[slot] = tap % v.kernel[slot] * v.dilation[slot];
    tap /= v.kernel[slot];
  }
  const int64_t index =
      (static_cast<int64_t>(result.position[0]) * v.in[1] + result.position[1]) * v.in[2] + result.position[2];
  result.offset = index * v.x_pixel + v.x_offset(channel);
  return result;
}

template <bool kHalf>
__device__ float read(const View& v, const Origin& origin, const Row& row) {
  bool inside = row.weight >= 0;
#pragma unroll
  for (int slot = 0; slot < 3; ++slot)
    inside &= static_cast<unsigned>(origin.position[slot] + row.position[slot]) < static_cast<unsigned>(v.in[slot]);
  return inside ? load_element(v.x, kHalf, origin.offset + row.offset) : 0.0f;
}

template <int kPixels, int kOutputs, typename Product_>
struct Shared {
  using Product = Product_;
  float x[2][kDepth][kPixels + Product::kXPad];
  float w[2][kDepth][kOutputs + Product::kWPad];
  Row rows[2][kDepth];
  Origin origins[kPixels];
};

// What a thread brings from global memory for one step.
template <int kPixels, int kOutputs>
struct Fetched {
  static constexpr int kCount = kPixels * kDepth / kThreads;
  float x[kCount];
  float4 w;
};

// Element i of the tile of X that this thread brings: neighbouring threads read neighbours in memory, which are pixels of
// a plane or channels of a pixel.
template <int kPixels>
__device__ void element_of(const View& v, int i, int& pixel, int& depth) {
  if (v.x_pixel == 1) {
    pixel = threadIdx.x % kPixels;
    depth = threadIdx.x / kPixels + i * (kThreads / kPixels);
  } else {
    pixel = threadIdx.x / kDepth + i * (kThreads / kDepth);
    depth = threadIdx.x % kDepth;
  }
}

template <bool kHalf, int kPixels, int kOutputs, typename S>
__device__ void fetch(const View& v, const S& s, const Tile& tile, int buffer,
                      Fetched<kPixels, kOutputs>& f) {
#pragma unroll
  for (int i = 0; i < f.kCount; ++i) {
    int pixel, depth;
    element_of<kPixels>(v, i, pixel, depth);
    f.x[i] = read<kHalf>(v, s.origins[pixel], s.rows[buffer][depth]);
  }
  f.w = make_float4(0, 0, 0, 0);
  const int quad = threadIdx.x % 4, depth = threadIdx.x / 4 % kDepth, column = threadIdx.x / (4 * kDepth);
  const int panel = tile.first_output / kPanel + column, row = s.rows[buffer][depth].weight;
  if (column >= kOutputs / kPanel || panel >= v.panels || row < 0) return;
  const int64_t rows = static_cast<int64_t>(v.taps) * v.group_channels;
  const int64_t line = (static_cast<int64_t>(tile.group) * v.panels + panel) * rows + row;
  f.w = load_quad(v.w, kHalf, line * kPanel + quad * 4);
}

template <int kPixels, int kOutputs, typename S>
__device__ void store(const View& v, const Fetched<kPixels, kOutputs>& f, int buffer, S& s) {
  using Product = typename S::Product;
#pragma unroll
  for (int i = 0; i < f.kCount; ++i) {
    int pixel, depth;
    element_of<kPixels>(v, i, pixel, depth);
    s.x[buffer][depth][pixel] = Product::factor(f.x[i]);
  }
  const int quad = threadIdx.x % 4, depth = threadIdx.x / 4 % kDepth, column = threadIdx.x / (4 * kDepth);
  if (column < kOutputs / kPanel)
    *reinterpret_cast<float4*>(&s.w[buffer][depth][column * kPanel + quad * 4]) =
        make_float4(Product::factor(f.w.x), Product::factor(f.w.y), Product::factor(f.w.z), Product::factor(f.w.w));
}

// The sums go through the room of X in shared memory, 32 outputs at a time, so that neighbouring threads have neighbours in
// Y, and the code of the epilogue is there once.
template <int kPixels, int kOutputs, typename S>
__device__ void write(const View& v, const Tile& tile, bool raw, const typename S::Product& product, S& s) {
  constexpr int kRows = kOutputs < 2 * kDepth ? kOutputs : 2 * kDepth;
  auto rows = s.x[0];
  for (int first = 0; first < kOutputs; first += kRows) {
    __syncthreads();
    product.put(first, kRows, rows);
    __syncthreads();
#pragma unroll 1
    for (int i = threadIdx.x; i < kRows * kPixels; i += kThreads) {
      const int row = v.y_pixel == 1 ? i / kPixels : i % kRows, index = v.y_pixel == 1 ? i % kPixels : i / kRows;
      const int m = tile.first_output + first + row, channel = tile.group * v.group_outputs + m;
      const int scope_pixel = s.origins[index].pixel;
      if (scope_pixel < 0 || m >= v.panels * kPanel) continue;
      const int image = tile.instance * v.instance_images + scope_pixel / v.output_pixels;
      const int pixel = scope_pixel % v.output_pixels;
      const int64_t place = v.y_at(image, channel, pixel);
      if (m >= v.group_outputs) {
        if (v.y_blocked) v.store(place, 0.0f);  // lanes past the last channel
      } else if (raw) {
        v.sums[place] = rows[row][index];
      } else {
        v.store(place, finish(v, rows[row][index], image, channel, pixel));
      }
    }
  }
}

// One tile of kPixels * kOutputs outputs a block: while a step is multiplied, the next is on its way from global memory.
// Pixels of the tile count through those of `list`, or where that is null through those of the scope instance.
template <int kPixels, int kOutputs, bool kHalf, typename S>
__device__ void compute(const View& v, const DenseChannels& dense, const TileList* list, const Tile& tile, S& s) {
  static_assert(kThreads % kPixels == 0 || kPixels % kThreads == 0, "a thread stays with its pixel");
  const int part = tile.instance * v.groups + tile.group;
  const int* channels = dense.channels ? dense.channels + static_cast<int64_t>(part) * v.group_channels : nullptr;
  const int count = dense.counts ? dense.counts[part] : v.group_channels;
  const bool raw = dense.reused && dense.reused[part] > 0;
  if (raw && count == 0) return;

  const int steps = (v.taps * count + kDepth - 1) / kDepth;
  for (int i = threadIdx.x; i < kPixels; i += kThreads) {
    int pixel = i < tile.count ? tile.first_pixel + i : -1;
    if (list && pixel >= 0) pixel = list->grid.pixel(v, list->tiles[pixel / kTilePixels], pixel % kTilePixels);
    s.origins[i] = origin_of(v, tile, pixel);
  }
  if (threadIdx.x < 2 * kDepth)
    s.rows[threadIdx.x / kDepth][threadIdx.x % kDepth] = row_of(v, threadIdx.x, channels, count);
  __syncthreads();

  typename S::Product product;
  Fetched<kPixels, kOutputs> fetched;
  fetch<kHalf, kPixels, kOutputs>(v, s, tile, 0, fetched);
  store(v, fetched, 0, s);
  __syncthreads();
  for (int step = 0; step < steps; ++step) {
    const int buffer = step % 2;
    const bool more = step + 1 < steps;
    if (more) fetch<kHalf, kPixels, kOutputs>(v, s, tile, 1 - buffer, fetched);
    if (threadIdx.x < kDepth) s.rows[buffer][threadIdx.x] = row_of(v, (step + 2) * kDepth + threadIdx.x, channels, count);
    product.add(s.x[buffer], s.w[buffer]);
    if (more) store(v, fetched, 1 - buffer, s);
    __syncthreads();
  }
  write<kPixels, kOutputs>(v, tile, raw, product, s);
}

// Two blocks a multiprocessor: where nothing is asked for, ptxas spills registers to fit in more.
template <int kPixels, int kOutputs, bool kHalf, bool kTensor>
__global__ __launch_bounds__(kThreads, 2) void dense_kernel(View v, DenseChannels dense) {
  using Product = std::conditional_t<kTensor && kTensorCores, TensorProduct<kPixels, kOutputs>,
                                     FusedProduct<kPixels, kOutputs>>;
  __shared__ Shared<kPixels, kOutputs, Product> s;
  compute<kPixels, kOutputs, kHalf>(v, dense, nullptr, tile_of<kPixels, kOutputs>(v, blockIdx.x), s);
}

template <int kPixels, int kOutputs, bool kHalf>
__global__ __launch_bounds__(kThreads, 2) void dense_tiles_kernel(View v, TileList list) {
  __shared__ Shared<kPixels, kOutputs, FusedProduct<kPixels, kOutputs>> s;
  const Tile tile = tile_of<kPixels, kOutputs>(v, list, blockIdx.x);
  if (tile.count > 0) compute<kPixels, kOutputs, kHalf>(v, {}, &list, tile, s);
}

template <int kPixels, int kOutputs, bool kHalf, bool kTensor>
void launch_kernel(const View& v, const DenseChannels& dense, void* stream) {
  const int64_t pixels = static_cast<int64_t>(v.instance_images) * v.output_pixels;
  const int64_t tiles = divide_up(pixels, kPixels) * divide_up(v.group_outputs, kOutputs);
  launch("dense", dense_kernel<kPixels, kOutputs, kHalf, kTensor>, v.scopes * v.groups * tiles, kThreads, stream, v, dense);
}

template <int kPixels, int kOutputs>
void launch_tiles(const View& v, const DenseChannels& dense, void* stream) {
  if (v.half)
    v.tf32 ? launch_kernel<kPixels, kOutputs, true, true>(v, dense, stream)
           : launch_kernel<kPixels, kOutputs, true, false>(v, dense, stream);
  else
    v.tf32 ? launch_kernel<kPixels, kOutputs, false, true>(v, dense, stream)
           : launch_kernel<kPixels, kOutputs, false, false>(v, dense, stream);
}

template <int kPixels, int kOutputs>
void launch_tile_list(const View& v, const TileList& list, int64_t most, void* stream) {
  static_assert(kPixels % kTilePixels == 0, "a block has whole tiles");
  const int64_t blocks = divide_up(most * kTilePixels, kPixels) * divide_up(v.group_outputs, kOutputs);
  launch("dense", v.half ? dense_tiles_kernel<kPixels, kOutputs, true> : dense_tiles_kernel<kPixels, kOutputs, false>,
         blocks, kThreads, stream, v, list);
}

}  // namespace

void launch_dense_tiles(const View& v, const TileList& list, int64_t most, void* stream) {
  if (v.group_outputs <= kPanel)
    launch_tile_list<256, 16>(v, list, most, stream);
  else
    launch_tile_list<128, 64>(v, list, most, stream);
}

void launch_dense(const View& v, const DenseChannels& dense, void* stream) {
  if (v.group_outputs <= kPanel)
    launch_tiles<256, 16>(v, dense, stream);
  else
    launch_tiles<128, 64>(v, dense, stream);
}

}  // namespace drpass::cuda

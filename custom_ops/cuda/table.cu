// Step 6: tables of cluster results. For every tap a product of centroids and the weights of that tap.
#include <algorithm>
#include <type_traits>

#include "cuda/dense_product.h"
#include "cuda/launch.h"
#include "cuda/reconstruct.h"

namespace drpass::cuda {
namespace {

constexpr int kThreads = kDenseThreads;
constexpr int kRows = 32, kColumns = 64;  // of a block: clusters, and columns of the table
constexpr int kSlice = kDepth;            // elements of the sub-vector that are in shared memory at a time

// Fused multiply-adds of float. A thread has 4 neighbouring columns of 2 clusters.
class FusedRows {
 public:
  static constexpr int kXPad = 2, kWPad = 0;

  __device__ static float factor(float value) { return value; }

  __device__ void add(const float (*x)[kRows + kXPad], const float (*w)[kColumns + kWPad], int depth) {
#pragma unroll
    for (int l = 0; l < kSlice; ++l) {
      if (l >= depth) break;
      const float2 rows = *reinterpret_cast<const float2*>(&x[l][row_]);
      const float4 columns = *reinterpret_cast<const float4*>(&w[l][column_]);
      const float xs[2] = {rows.x, rows.y}, ws[4] = {columns.x, columns.y, columns.z, columns.w};
#pragma unroll
      for (int i = 0; i < 2; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j) sum_[i][j] = fmaf(xs[i], ws[j], sum_[i][j]);
    }
  }

  template <typename Body>
  __device__ void for_each(const Body& body) const {
#pragma unroll
    for (int i = 0; i < 2; ++i) body(row_ + i, column_, sum_[i]);
  }

 private:
  int row_ = threadIdx.x / 16 * 2, column_ = threadIdx.x % 16 * 4;
  float sum_[2][4] = {};
};

// Tensor cores: a warp has 16 clusters of 16 columns.
using TensorRows = TensorProduct<kRows, kColumns, 16>;

template <typename Product>
struct Shared {
  float x[kSlice][kRows + Product::kXPad];
  float w[kSlice][kColumns + Product::kWPad];
  float inverses[kColumns];  // 1 / unit of a column; 0 where there is none
};

// What one block works on.
struct Tile {
  int k, instance, tap, column, first;  // first: of its clusters, in tiles of kRows
  int64_t area, part;
};

__device__ Tile tile_of(const View& v, const ClusterView& c, const PassView& p, int blocks) {
  Tile tile;
  const int columns = (p.width + kColumns - 1) / kColumns;
  int64_t block = blockIdx.x;
  tile.column = static_cast<int>(block % columns) * kColumns;
  block /= columns;
  tile.tap = static_cast<int>(block % v.taps);
  block /= v.taps;
  tile.first = static_cast<int>(block % blocks);
  block /= blocks;
  tile.k = p.k + static_cast<int>(block % p.sub_groups);
  tile.instance = p.instance + static_cast<int>(block / p.sub_groups);
  tile.area = area_of(v, p, tile.instance);
  tile.part = tile.area * c.sub_groups + tile.k;
  return tile;
}

// The weights of elements from `begin` on: four neighbouring columns of one element a thread.
template <typename Product>
__device__ void load_weights(const View& v, const ClusterView& c, const PassView& p, const Tile& tile, int begin,
                             Shared<Product>& s) {
  static_assert(kThreads == kSlice * kColumns / 4, "a thread has one place in shared memory");
  const int l = threadIdx.x / (kColumns / 4), column = threadIdx.x % (kColumns / 4) * 4;
  const int m = p.output + tile.column + column;
  float4 w = make_float4(0, 0, 0, 0);
  if (begin + l < c.vector_size(v, tile.k) && m / kPanel < v.panels) {
    const int64_t line = (static_cast<int64_t>(p.group) * v.panels + m / kPanel) * v.taps + tile.tap;
    const int64_t channel = static_cast<int64_t>(tile.k) * c.length + begin + l;
    w = load_quad(v.w, v.half, (line * v.group_channels + channel) * kPanel + m % kPanel);
  }
  *reinterpret_cast<float4*>(&s.w[l][column]) =
      make_float4(Product::factor(w.x), Product::factor(w.y), Product::factor(w.z), Product::factor(w.w));
}

// Elements of the centroids from `cluster` on.
template <typename Product>
__device__ void load_centroids(const View& v, const ClusterView& c, const Tile& tile, int cluster, int count, int begin,
                               Shared<Product>& s) {
  const float* centroids = c.centroids + tile.part * c.capacity * c.length;
  const int l = threadIdx.x % kSlice;
  const bool inside = begin + l < c.vector_size(v, tile.k);
#pragma unroll
  for (int row = threadIdx.x / kSlice; row < kRows; row += kThreads / kSlice) {
    const bool there = inside && cluster + row < count;
    const float value = there ? centroids[static_cast<int64_t>(cluster + row) * c.length + begin + l] : 0.0f;
    s.x[l][row] = Product::factor(value);
  }
}

// An element of 16 bits. Units leave room for what the factors give; rounded to TF32 they can give a little more.
template <bool kRounded>
__device__ short narrowed(float value, float inverse) {
  const int element = __float2int_rn(value * inverse);
  return static_cast<short>(kRounded ? min(max(element, -32767), 32767) : element);
}

// Neighbouring elements of a row; `place` is in elements, and a multiple of their number.
template <bool kRounded>
__device__ void store(char* table, bool narrow, int64_t place, const float (&sum)[4], const float* inverses) {
  if (narrow)
    reinterpret_cast<short4*>(table)[place / 4] =
        make_short4(narrowed<kRounded>(sum[0], inverses[0]), narrowed<kRounded>(sum[1], inverses[1]),
                    narrowed<kRounded>(sum[2], inverses[2]), narrowed<kRounded>(sum[3], inverses[3]));
  else
    reinterpret_cast<float4*>(table)[place / 4] = make_float4(sum[0], sum[1], sum[2], sum[3]);
}

template <bool kRounded>
__device__ void store(char* table, bool narrow, int64_t place, const float (&sum)[2], const float* inverses) {
  if (narrow)
    reinterpret_cast<short2*>(table)[place / 2] =
        make_short2(narrowed<kRounded>(sum[0], inverses[0]), narrowed<kRounded>(sum[1], inverses[1]));
  else
    reinterpret_cast<float2*>(table)[place / 2] = make_float2(sum[0], sum[1]);
}

// Blocks of kRows clusters, kColumns columns and one tap; `blocks` of them share the clusters of a table.
template <bool kTensor>
__global__ __launch_bounds__(kThreads) void table_kernel(View v, ClusterView c, PassView p, int blocks) {
  constexpr bool kRounded = kTensor && kTensorCores;
  using Product = std::conditional_t<kRounded, TensorRows, FusedRows>;
  __shared__ Shared<Product> s;
  const Tile tile = tile_of(v, c, p, blocks);
  if (c.dense[tile.part]) return;
  const int count = c.counts[tile.part], length = c.vector_size(v, tile.k);
  const bool narrow = is_narrow(p, tile.area);
  char* table = p.tables + table_place(v, c, p, tile.instance, tile.k);
  for (int i = threadIdx.x; i < kColumns; i += kThreads) {
    const int m = p.output + tile.column + i, width = v.panels * kPanel;
    s.inverses[i] = narrow && m < width ? p.units.inverses[tile.area * width + m] : 0.0f;
  }
  for (int cluster = tile.first * kRows; cluster < count; cluster += blocks * kRows) {
    Product product;
    for (int begin = 0; begin < length; begin += kSlice) {
      __syncthreads();
      // Weights in a single slice are those of all clusters.
      if (length > kSlice || cluster == tile.first * kRows) load_weights(v, c, p, tile, begin, s);
      load_centroids(v, c, tile, cluster, count, begin, s);
      __syncthreads();
      product.add(s.x, s.w, length - begin);
    }
    product.for_each([&](int row, int column, const auto& sum) {
      if (cluster + row >= count || tile.column + column >= p.width) return;
      const int64_t place = (static_cast<int64_t>(cluster + row) * v.taps + tile.tap) * p.width + tile.column + column;
      store<kRounded>(table, narrow, place, sum, s.inverses + column);
    });
  }
}

}  // namespace

void launch_tables(const View& v, const ClusterView& c, const PassView& p, void* stream) {
  // Most tables have far fewer rows than they may have.
  const int64_t blocks = std::min<int64_t>(divide_up(c.capacity, kRows), 16);
  const int64_t tables = static_cast<int64_t>(p.instances) * p.sub_groups;
  launch("table", v.tf32 ? table_kernel<true> : table_kernel<false>,
         tables * blocks * v.taps * divide_up(p.width, kColumns), kThreads, stream, v, c, p, static_cast<int>(blocks));
}

}  // namespace drpass::cuda

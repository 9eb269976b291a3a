#include "cuda/clusters.h"

#include "cuda/launch.h"
#include "cuda/part.h"
#include "cuda/scan.h"

namespace drpass::cuda {
namespace {

constexpr int kThreads = kScanThreads;
constexpr float kCellLimit = 32767.0f;

__device__ bool is_normal(float value) {
  const unsigned exponent = __float_as_uint(value) >> 23 & 0xFF;
  return exponent != 0 && exponent != 0xFF;
}

// Vectors of zeros are a cluster of their own, although others have the same signature.
__device__ bool is_zero(const View& v, const Part& part, int pixel) {
  for (int l = 0; l < part.length; ++l)
    if (part.value(v, pixel, l) != 0) return false;
  return true;
}

// Signatures of `grid`: computed where they are needed, never stored.
struct Grid {
  float inverse;

  __device__ int cell(float value) const { return __float2int_rn(value * inverse); }

  // False if a value has no cell.
  __device__ bool hash(const View& v, const Part& part, int pixel, unsigned* hash) const {
    unsigned h = 0;
    bool inside = true;
    for (int l = 0; l < part.length; ++l) {
      const float value = part.value(v, pixel, l);
      inside &= fabsf(value * inverse) < kCellLimit;
      h = (h ^ static_cast<unsigned>(cell(value))) * 0x9E3779B1u;
      h ^= h >> 15;
    }
    *hash = h;
    return inside;
  }

  __device__ bool same(const View& v, const Part& part, int a, int b) const {
    bool zero_a = true, zero_b = true;
    for (int l = 0; l < part.length; ++l) {
      const float value_a = part.value(v, a, l), value_b = part.value(v, b, l);
      if (cell(value_a) != cell(value_b)) return false;
      zero_a &= value_a == 0;
      zero_b &= value_b == 0;
    }
    return zero_a == zero_b;
  }
};

// Signatures of `lsh`.
struct Lsh {
  const unsigned long long* keys;  // of the part

  __device__ bool hash(const View&, const Part&, int pixel, unsigned* hash) const {
    const unsigned long long mixed = keys[pixel] * 0x9E3779B97F4A7C15u;
    *hash = static_cast<unsigned>(mixed >> 32);
    return true;
  }
  __device__ bool same(const View& v, const Part& part, int a, int b) const {
    return keys[a] == keys[b] && (keys[a] != 0 || is_zero(v, part, a) == is_zero(v, part, b));
  }
};

// Puts a pixel into its part's hash table: open addressing, a slot holds the lowest pixel of a signature that came by. Which
// slot that is depends on the order of threads, which pixel is in it at the end does not.
template <typename Signature>
__device__ void insert(const View& v, const ClusterView& c, const Part& part, const Signature& signature, int pixel) {
  unsigned hash;
  if (!signature.hash(v, part, pixel, &hash)) return give_up(c, part);
  int* table = c.table + part.index * c.slots;
  for (int probe = 0; probe < c.slots; ++probe) {
    // Threads that were on their way when the guard decided can fill the table: nobody has to search all of it.
    if (probe % 32 == 31 && read_shared_state(c.dense + part.index)) return;
    const int slot = static_cast<int>((hash + probe) & (c.slots - 1));
    int seen = read_shared_state(table + slot);
    if (seen < 0) seen = atomicCAS(table + slot, -1, pixel);
    if (seen < 0) {
      if (atomicAdd(c.counts + part.index, 1) >= c.capacity) give_up(c, part);
    } else if (signature.same(v, part, seen, pixel)) {
      if (pixel < seen) atomicMin(table + slot, pixel);
    } else {
      continue;
    }
    c.ids[part.index * c.pixels + pixel] = slot;
    return;
  }
}

// One pixel a thread. Four blocks a multiprocessor: where nothing is asked for, ptxas spills registers to fit in more.
template <bool kGrid>
__global__ __launch_bounds__(kThreads, 4) void insert_kernel(View v, ClusterView c) {
  const int64_t blocks = (c.pixels - 1) / kThreads + 1;
  const Part part(v, c, blockIdx.x / blocks);
  const int pixel = static_cast<int>(blockIdx.x % blocks * kThreads + threadIdx.x);
  if (pixel >= c.pixels || read_shared_state(c.dense + part.index)) return;
  if constexpr (kGrid) {
    const float edge = c.edges[part.instance];
    if (!is_normal(edge)) return give_up(c, part);
    insert(v, c, part, Grid{1.0f / edge}, pixel);
  } else {
    insert(v, c, part, Lsh{c.keys + part.index * c.pixels}, pixel);
  }
}

// Four neighbouring pixels a thread, kChunk a block: which of them are the first of their cluster.
struct Firsts {
  static constexpr int kEach = kChunk / kThreads;
  int64_t part;
  int chunk, pixel;
  int slot[kEach];
  bool first[kEach];
  int count = 0;

  __device__ explicit Firsts(const ClusterView& c) : part(blockIdx.x / c.chunks), chunk(blockIdx.x % c.chunks) {
    pixel = chunk * kChunk + threadIdx.x * kEach;
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      first[i] = false;
      if (pixel + i >= c.pixels) continue;
      slot[i] = c.ids[part * c.pixels + pixel + i];
      first[i] = read_shared_state(c.table + part * c.slots + slot[i]) == pixel + i;
      count += first[i];
    }
  }
};

__global__ __launch_bounds__(kThreads) void count_kernel(ClusterView c) {
  if (c.dense[blockIdx.x / c.chunks]) return;
  const Firsts firsts(c);
  int total;
  scan(firsts.count, &total);
  if (threadIdx.x == 0) c.first_pixels[blockIdx.x] = total;
}

// Ids in the order of first occurrence.
__global__ __launch_bounds__(kThreads) void number_kernel(ClusterView c) {
  if (c.dense[blockIdx.x / c.chunks]) return;
  const Firsts firsts(c);
  int before = 0, earlier, total;
  for (int i = threadIdx.x; i < firsts.chunk; i += kThreads) before += c.first_pixels[firsts.part * c.chunks + i];
  scan(before, &earlier);
  int id = earlier + scan(firsts.count, &total);
  for (int i = 0; i < Firsts::kEach; ++i) {
    if (!firsts.first[i]) continue;
    // Other blocks may still ask whether their pixel is the first here; it is not, whichever value they meet.
    *static_cast<volatile int*>(c.table + firsts.part * c.slots + firsts.slot[i]) = -2 - id;
    const int64_t cluster = firsts.part * c.capacity + id++;
    c.members[cluster] = 0;
    const int64_t words = static_cast<int64_t>(c.length) * c.words;
    for (int64_t word = 0; word < words; ++word) c.sums[cluster * words + word] = 0;
  }
}

// An e for which every |x| of the part is less than 2^e: in `grid` because x has a cell, so that |x| < 2^15 s.
__device__ int largest_exponent(const ClusterView& c, const Part& part) {
  const unsigned bits = c.method == Method::grid ? __float_as_uint(c.edges[part.instance]) : c.largest[part.index];
  return static_cast<int>(bits >> 23) - 126 + (c.method == Method::grid ? 15 : 0);
}

// Adds x * 2^(32 words - 1 - e), rounded towards zero, to a sum: at most two words of it, because float has 24 bits.
__device__ void add_fixed(float x, int e, int words, unsigned long long* sum) {
  const unsigned bits = __float_as_uint(x), exponent = bits >> 23 & 0xFF;
  unsigned long long mantissa = (bits & 0x7FFFFF) | (exponent ? 0x800000 : 0);
  int shift = static_cast<int>(exponent ? exponent : 1) - 150 + 32 * words - 1 - e;
  if (shift < 0) {
    mantissa = shift > -32 ? mantissa >> -shift : 0;
    shift = 0;
  }
  mantissa <<= shift % 32;
  const unsigned long long low = mantissa & 0xFFFFFFFF, high = mantissa >> 32;
  // Words are signed: each may be negative by itself.
  if (low) atomicAdd(sum + shift / 32, bits >> 31 ? 0 - low : low);
  if (high) atomicAdd(sum + shift / 32 + 1, bits >> 31 ? 0 - high : high);
}

// Members are added up as integers, so that no order of the atomic additions shows. A word of 32 bits has 31 more for the
// carries of any number of pixels.
__global__ __launch_bounds__(kThreads) void sum_kernel(View v, ClusterView c) {
  const int64_t blocks = (c.pixels - 1) / kThreads + 1;
  const Part part(v, c, blockIdx.x / blocks);
  const int pixel = static_cast<int>(blockIdx.x % blocks * kThreads + threadIdx.x);
  if (pixel >= c.pixels || c.dense[part.index]) return;
  int* place = c.ids + part.index * c.pixels + pixel;
  const int id = -2 - c.table[part.index * c.slots + *place];
  *place = id;
  const int64_t cluster = part.index * c.capacity + id;
  atomicAdd(c.members + cluster, 1);
  const int e = largest_exponent(c, part);
  for (int l = 0; l < part.length; ++l)
    add_fixed(part.value(v, pixel, l), e, c.words, c.sums + (cluster * c.length + l) * c.words);
}

__device__ double to_double(const unsigned long long* sum, int words) {
  double value = 0;
  for (int word = words - 1; word >= 0; --word)
    value = value * 4294967296.0 + static_cast<double>(static_cast<long long>(sum[word]));
  return value;
}

__global__ __launch_bounds__(kThreads) void mean_kernel(View v, ClusterView c, int blocks) {
  const Part part(v, c, blockIdx.x / blocks);
  if (c.dense[part.index]) return;
  const int e = largest_exponent(c, part);
  const int64_t values = static_cast<int64_t>(c.counts[part.index]) * part.length;
  unsigned* magnitudes =
      c.magnitudes + (part.index / c.sub_groups) * v.group_channels + part.k * static_cast<int64_t>(c.length);
  for (int64_t i = blockIdx.x % blocks * kThreads + threadIdx.x; i < values; i += blocks * kThreads) {
    const int l = static_cast<int>(i % part.length);
    const int64_t cluster = part.index * c.capacity + i / part.length;
    const double sum = to_double(c.sums + (cluster * c.length + l) * c.words, c.words);
    const float mean = static_cast<float>(scalbn(sum / c.members[cluster], e - 32 * c.words + 1));
    c.centroids[cluster * c.length + l] = mean;
    atomicMax(magnitudes + l, __float_as_uint(fabsf(mean)));
  }
}

// The lists of dense channels, one warp an area.
__global__ void list_kernel(View v, ClusterView c, int64_t* stats) {
  const int64_t area = blockIdx.x, parts = area * c.sub_groups;
  const int lane = threadIdx.x;
  int dense = 0, reused = 0;
  for (int first = 0; first < v.group_channels; first += 32) {
    const int channel = first + lane;
    const bool wanted = channel < v.group_channels && c.dense[parts + channel / c.length];
    const unsigned vote = __ballot_sync(~0u, wanted);
    if (wanted) c.dense_channels[area * v.group_channels + dense + __popc(vote & ((1u << lane) - 1))] = channel;
    dense += __popc(vote);
  }
  for (int first = 0; first < c.sub_groups; first += 32) {
    const int k = first + lane;
    const bool kept = k < c.sub_groups && !c.dense[parts + k];
    reused += __popc(__ballot_sync(~0u, kept));
    if (stats && k < c.sub_groups) stats[parts + k] = kept ? c.counts[parts + k] : -1;
  }
  if (lane == 0) {
    c.dense_counts[area] = dense;
    c.reused[area] = reused;
  }
}

}  // namespace

int64_t part_count(const View& v, const ClusterView& c) {
  return static_cast<int64_t>(v.scopes) * v.groups * c.sub_groups;
}

void launch_clusters(const View& v, const ClusterView& c, int64_t* stats, void* stream) {
  const int64_t parts = part_count(v, c), blocks = divide_up(c.pixels, kThreads);
  // Most parts have far fewer clusters than they may have.
  const int mean_blocks = static_cast<int>(divide_up(static_cast<int64_t>(c.capacity) * c.length, 16 * kThreads));
  launch("insert", c.method == Method::grid ? insert_kernel<true> : insert_kernel<false>, parts * blocks, kThreads,
         stream, v, c);
  launch("count", count_kernel, parts * c.chunks, kThreads, stream, c);
  launch("number", number_kernel, parts * c.chunks, kThreads, stream, c);
  launch("sum", sum_kernel, parts * blocks, kThreads, stream, v, c);
  launch("mean", mean_kernel, parts * mean_blocks, kThreads, stream, v, c, mean_blocks);
  launch("list", list_kernel, static_cast<int64_t>(v.scopes) * v.groups, 32, stream, v, c, stats);
}

}  // namespace drpass::cuda

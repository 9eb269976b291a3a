// Signatures of `lsh`. One pixel a thread: with a bit a thread and a ballot, hyperplanes of fewer than 32 bits would leave
// lanes without work, and every element would have to be passed round the warp.
#include <algorithm>

#include "core/hyperplanes.h"
#include "cuda/launch.h"
#include "cuda/part.h"

namespace drpass::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kBits = 16;  // of a signature that are computed at a time

__global__ __launch_bounds__(kThreads) void planes_kernel(ClusterView c, uint64_t seed, int64_t stride) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const int64_t l = i / kPlaneStride, bit = i % kPlaneStride;
  if (l < c.length) c.planes[i] = bit < c.bits ? hyperplane_coordinate(seed, bit * stride + l) : 0.0f;
}

// Bits [first, first + kBits) of a pixel's signature. `largest`: bits of the largest |x| so far.
__device__ unsigned sign(const View& v, const ClusterView& c, const Part& part, int pixel, int first, unsigned* largest) {
  float dot[kBits] = {};
  for (int l = 0; l < part.length; ++l) {
    const float x = part.value(v, pixel, l);
    *largest = max(*largest, __float_as_uint(fabsf(x)));
    const float* plane = c.planes + l * kPlaneStride + first;
#pragma unroll
    for (int bit = 0; bit < kBits; ++bit) dot[bit] = fmaf(x, plane[bit], dot[bit]);
  }
  unsigned signature = 0;
#pragma unroll
  for (int bit = 0; bit < kBits; ++bit) signature |= (dot[bit] > 0 ? 1u : 0u) << bit;
  return signature;
}

__global__ __launch_bounds__(kThreads) void keys_kernel(View v, ClusterView c) {
  const int64_t blocks = (c.pixels - 1) / kThreads + 1;
  const Part part(v, c, blockIdx.x / blocks);
  const int pixel = static_cast<int>(blockIdx.x % blocks * kThreads + threadIdx.x);
  unsigned largest = 0;
  if (pixel < c.pixels) {
    unsigned long long key = 0;
    for (int first = 0; first < c.bits; first += kBits)
      key |= static_cast<unsigned long long>(sign(v, c, part, pixel, first, &largest)) << first;
    c.keys[part.index * c.pixels + pixel] = key;
  }
  for (int step = 16; step > 0; step /= 2) largest = max(largest, __shfl_xor_sync(~0u, largest, step));
  if (threadIdx.x % 32 != 0) return;
  atomicMax(c.largest + part.index, largest);
  if (largest >= 0x7F800000) give_up(c, part);  // NaN or infinity: a centroid would not be finite
}

}  // namespace

void launch_keys(const View& v, const ClusterView& c, uint64_t seed, int64_t stride, void* stream) {
  const int64_t planes = static_cast<int64_t>(c.length) * kPlaneStride;
  launch("planes", planes_kernel, divide_up(planes, kThreads), kThreads, stream, c, seed, stride);
  launch("keys", keys_kernel, part_count(v, c) * divide_up(c.pixels, kThreads), kThreads, stream, v, c);
}

}  // namespace drpass::cuda

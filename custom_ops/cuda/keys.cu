// Signatures of `lsh`, by the ballots of warps. A warp has 32 pixels; a lane computes one bit of as many of them as there are
// lanes for the bits of a pixel. A dot product is one lane's, in the order of the channels, as on the CPU.
#include "core/hyperplanes.h"
#include "cuda/launch.h"
#include "cuda/part.h"

namespace drpass::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kSlice = 8;  // elements that are in shared memory at a time

__global__ __launch_bounds__(kThreads) void planes_kernel(ClusterView c, uint64_t seed, int64_t stride) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const int64_t l = i / kPlaneStride, bit = i % kPlaneStride;
  if (l < c.length) c.planes[i] = bit < c.bits ? hyperplane_coordinate(seed, bit * stride + l) : 0.0f;
}

// One lane's dot products: of a hyperplane and kPixels neighbouring pixels, whose element l is at x[32 * l].
template <int kPixels>
__device__ void add(const float* x, const float* plane, int count, float* dot) {
#pragma unroll 1
  for (int l = 0; l < count; ++l) {
    const float coordinate = plane[l * kPlaneStride];
    const float4* quads = reinterpret_cast<const float4*>(x + 32 * l);
#pragma unroll
    for (int quad = 0; quad < kPixels / 4; ++quad) {
      const float4 four = quads[quad];
      dot[4 * quad] = fmaf(four.x, coordinate, dot[4 * quad]);
      dot[4 * quad + 1] = fmaf(four.y, coordinate, dot[4 * quad + 1]);
      dot[4 * quad + 2] = fmaf(four.z, coordinate, dot[4 * quad + 2]);
      dot[4 * quad + 3] = fmaf(four.w, coordinate, dot[4 * quad + 3]);
    }
  }
}

// kLanes: of a pixel; at least as many as it has bits, or 32 in two rounds. Two blocks a multiprocessor: where nothing is asked
// for, ptxas spills registers to fit in more.
template <int kLanes>
__global__ __launch_bounds__(kThreads, 2) void keys_kernel(View v, ClusterView c) {
  __shared__ __align__(16) float tiles[kThreads / 32][kSlice][32];
  const int64_t blocks = (c.pixels - 1) / kThreads + 1;
  const Part part(v, c, blockIdx.x / blocks);
  const int pixel = static_cast<int>(blockIdx.x % blocks * kThreads + threadIdx.x), lane = threadIdx.x % 32;
  const int bit = lane % kLanes, neighbours = lane - bit;
  const bool inside = pixel < c.pixels;
  const int64_t place = part.place(v, inside ? pixel : 0);  // what is read twice changes nothing
  float(*x)[32] = tiles[threadIdx.x / 32];

  unsigned largest = 0;  // bits of the largest |x|
  unsigned long long key = 0;
  for (int first = 0; first < c.bits; first += kLanes) {
    float dot[kLanes] = {};
    for (int begin = 0; begin < part.length; begin += kSlice) {
      const int count = min(kSlice, part.length - begin);
      __syncwarp();
#pragma unroll 4
      for (int l = 0; l < count; ++l) {
        const int64_t offset = v.x_offset(static_cast<int>(part.channel) + begin + l);
        const float value = v.load(v.x, place + offset);
        largest = max(largest, __float_as_uint(fabsf(value)));
        x[l][lane] = value;
      }
      __syncwarp();
      add<kLanes>(x[0] + neighbours, c.planes + begin * kPlaneStride + first + bit, count, dot);
    }
    unsigned votes = 0;  // the ballot in which this thread's pixel took part
#pragma unroll
    for (int i = 0; i < kLanes; ++i) {
      const unsigned vote = __ballot_sync(~0u, dot[i] > 0);
      if (bit == i) votes = vote;
    }
    key |= static_cast<unsigned long long>(votes >> neighbours & ~0u >> (32 - kLanes)) << first;
  }
  if (inside) c.keys[part.index * c.pixels + pixel] = key;
  for (int step = 16; step > 0; step /= 2) largest = max(largest, __shfl_xor_sync(~0u, largest, step));
  if (lane != 0) return;
  atomicMax(c.largest + part.index, largest);
  if (largest >= 0x7F800000) give_up(c, part);  // NaN or infinity: a centroid would not be finite
}

template <int kLanes>
void launch_lanes(const View& v, const ClusterView& c, void* stream) {
  launch("keys", keys_kernel<kLanes>, part_count(v, c) * divide_up(c.pixels, kThreads), kThreads, stream, v, c);
}

}  // namespace

void launch_keys(const View& v, const ClusterView& c, uint64_t seed, int64_t stride, void* stream) {
  const int64_t planes = static_cast<int64_t>(c.length) * kPlaneStride;
  launch("planes", planes_kernel, divide_up(planes, kThreads), kThreads, stream, c, seed, stride);
  if (c.bits <= 8)
    launch_lanes<8>(v, c, stream);
  else if (c.bits <= 16)
    launch_lanes<16>(v, c, stream);
  else
    launch_lanes<32>(v, c, stream);
}

}  // namespace drpass::cuda

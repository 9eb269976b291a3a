// The cell edge of `grid`: sums in double, in the order of docs/operator.md, so that it is the CPU's to the last bit.
#include "cuda/clusters.h"
#include "cuda/launch.h"

namespace drpass::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kFew = 32;    // threads of a block of `moments`: there are few of them, and every multiprocessor helps
constexpr int kBatch = 32;  // values of a thread that are on their way from memory while as many are added

// Every eighth pixel from `pixel` on; zeros past the end, which change no sum.
template <bool kHalf>
__device__ void load(const View& v, int64_t first, int64_t pixel, float (&values)[kBatch]) {
#pragma unroll
  for (int i = 0; i < kBatch; ++i)
    values[i] = pixel + 8 * i < v.pixels ? load_element(v.x, kHalf, first + (pixel + 8 * i) * v.x_pixel) : 0.0f;
}

// Every thread adds up every eighth pixel of a channel of an image. Neighbouring threads read neighbours in memory.
template <bool kHalf>
__global__ __launch_bounds__(kFew) void moments_kernel(View v, ClusterView c) {
  const int64_t thread = static_cast<int64_t>(blockIdx.x) * kFew + threadIdx.x;
  if (thread >= static_cast<int64_t>(v.images) * v.channels * 8) return;
  const bool planes = v.x_pixel == 1;
  const int lane = static_cast<int>(planes ? thread % 8 : thread / v.channels % 8);
  const int channel = static_cast<int>(planes ? thread / 8 % v.channels : thread % v.channels);
  const int64_t image = thread / 8 / v.channels;
  const int64_t first = image * v.x_image + v.x_offset(channel);
  double sum = 0, squares = 0;
  float values[kBatch], next[kBatch];
  load<kHalf>(v, first, lane, values);
  for (int64_t pixel = lane; pixel < v.pixels; pixel += 8 * kBatch) {
    load<kHalf>(v, first, pixel + 8 * kBatch, next);
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const double value = values[i];
      sum += value;
      squares += value * value;
      values[i] = next[i];
    }
  }
  double* moments = c.moments + (image * v.channels + channel) * 16;
  moments[lane] = sum;
  moments[8 + lane] = squares;
}

__device__ double total(const double* s) { return ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7])); }

// The variance of a channel of a scope instance.
__device__ double variance(const View& v, const ClusterView& c, int64_t instance, int channel, double n) {
  double sum = 0, squares = 0;
  for (int image = 0; image < v.instance_images; ++image) {
    const double* moments = c.moments + ((instance * v.instance_images + image) * v.channels + channel) * 16;
    sum += total(moments);
    squares += total(moments + 8);
  }
  return (squares - sum * sum / n) / n;
}

// One block a scope instance. One thread adds the channels up, in their order, but it does not wait for memory.
__global__ __launch_bounds__(kThreads) void edge_kernel(View v, ClusterView c) {
  __shared__ double variances[kThreads];
  const int64_t instance = blockIdx.x;
  const double n = static_cast<double>(static_cast<int64_t>(v.instance_images) * v.pixels);
  double sum = 0;
  for (int first = 0; first < v.channels; first += kThreads) {
    const int channel = first + threadIdx.x;
    __syncthreads();
    if (channel < v.channels) variances[threadIdx.x] = variance(v, c, instance, channel, n);
    __syncthreads();
    if (threadIdx.x != 0) continue;
    for (int i = 0; i < min(kThreads, v.channels - first); ++i) sum += variances[i];
  }
  if (threadIdx.x == 0) c.edges[instance] = static_cast<float>(c.step * sqrt(sum / v.channels));
}

}  // namespace

void launch_cell_edges(const View& v, const ClusterView& c, void* stream) {
  const int64_t threads = static_cast<int64_t>(v.images) * v.channels * 8;
  launch("moments", v.half ? moments_kernel<true> : moments_kernel<false>, divide_up(threads, kFew), kFew, stream, v, c);
  launch("edge", edge_kernel, v.scopes, kThreads, stream, v, c);
}

}  // namespace drpass::cuda

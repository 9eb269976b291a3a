#include <algorithm>

#include "cuda/element.h"
#include "cuda/engine.h"
#include "cuda/launch.h"

namespace drpass::cuda {
namespace {

constexpr int kThreads = 256;

struct LrnView {
  const void* x;
  void* y;
  int64_t elements, pixels, channels, before, after;
  float scale, bias, beta;
  bool half, blocked;

  // Where element i lies: its channel, and the distance from any element to the one of the next channel.
  __device__ int64_t channel_of(int64_t i) const {
    return blocked ? i / (pixels * kPanel) % (channels / kPanel) * kPanel + i % kPanel : i / pixels % channels;
  }
  __device__ int64_t at_channel(int64_t i, int64_t from, int64_t to) const {
    if (!blocked) return i + (to - from) * pixels;
    return i + (to / kPanel - from / kPanel) * pixels * kPanel + to % kPanel - from % kPanel;
  }
};

// t^beta, with the roots that the exponents of published networks are made of.
__device__ float power(float t, float beta) {
  if (beta == 0.75f) {
    const float root = sqrtf(t);
    return root * sqrtf(root);
  }
  if (beta == 0.5f) return sqrtf(t);
  if (beta == 1.0f) return t;
  return powf(t, beta);
}

// One element a thread; the window's channels are in the cache, because the neighbours read them too.
__global__ __launch_bounds__(kThreads) void lrn_kernel(LrnView v) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= v.elements) return;
  const int64_t c = v.channel_of(i);
  float squares = 0.0f;
  for (int64_t j = max(c - v.before, int64_t{0}); j <= min(c + v.after, v.channels - 1); ++j) {
    const float x = load_element(v.x, v.half, v.at_channel(i, c, j));
    squares = fmaf(x, x, squares);
  }
  store_element(v.y, v.half, i, load_element(v.x, v.half, i) / power(fmaf(squares, v.scale, v.bias), v.beta));
}

}  // namespace

void local_response_normalization(const LrnParameters& p, int64_t images, int64_t channels, int64_t pixels,
                                  bool half, const void* x, void* y, Device device) {
  LrnView v{};
  v.x = x;
  v.y = y;
  v.half = half;
  v.elements = images * channels * pixels;
  v.pixels = pixels;
  v.channels = channels;
  // What the window reaches beyond all channels adds nothing.
  v.before = std::min((p.size - 1) / 2, channels);
  v.after = std::min(p.size / 2, channels);
  v.scale = p.alpha / static_cast<float>(p.size);
  v.bias = p.bias;
  v.beta = p.beta;
  v.blocked = p.layout == Layout::blocked;
  launch("lrn", lrn_kernel, divide_up(v.elements, kThreads), kThreads, device.stream, v);
}

}  // namespace drpass::cuda

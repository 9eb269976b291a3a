#include <cmath>

#include "cuda/element.h"
#include "cuda/engine.h"
#include "cuda/launch.h"

namespace drpass::cuda {
namespace {

constexpr int kThreads = 256;

struct PoolView {
  const void* x;
  void* y;
  bool half;
  int64_t elements;  // lanes of blocks of output pixels
  int64_t blocks, channels;
  PoolAxis rows, columns;
  int64_t count;  // elements of a window, the padding included; 0: as many as lie in the image
  bool average, planes;
};

// One output a thread. Sums are of sums of rows and NaN is met as in the reference (core/pool.cpp).
__global__ __launch_bounds__(kThreads) void pool_kernel(PoolView v) {
  const int64_t element = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (element >= v.elements) return;
  const int64_t lane = element % kPanel, pixel = element / kPanel % (v.rows.out * v.columns.out);
  const int64_t slab = element / kPanel / (v.rows.out * v.columns.out);
  const int64_t start_y = pixel / v.columns.out * v.rows.stride - v.rows.pad;
  const int64_t start_x = pixel % v.columns.out * v.columns.stride - v.columns.pad;
  const int64_t top = max(start_y, int64_t{0}), bottom = min(start_y + v.rows.kernel, v.rows.in);
  const int64_t left = max(start_x, int64_t{0}), right = min(start_x + v.columns.kernel, v.columns.in);

  float result = v.average ? 0.0f : -INFINITY;
  for (int64_t y = top; y < bottom; ++y) {
    float sum = 0.0f;
    for (int64_t x = left; x < right; ++x) {
      const float value = load_element(v.x, v.half, ((slab * v.rows.in + y) * v.columns.in + x) * kPanel + lane);
      sum += value;
      if (!v.average) result = result > value ? result : value;
    }
    if (v.average) result += sum;
  }
  if (v.average) result /= static_cast<float>(v.count ? v.count : (bottom - top) * (right - left));

  const int64_t channel = slab % v.blocks * kPanel + lane;
  if (!v.planes)
    store_element(v.y, v.half, element, result);
  else if (channel < v.channels)
    store_element(v.y, v.half, (slab / v.blocks * v.channels + channel) * v.rows.out * v.columns.out + pixel, result);
}

}  // namespace

void pool(const PoolParameters& p, const PoolGeometry& g, bool half, const void* x, void* y, Device device) {
  PoolView v{};
  v.x = x;
  v.y = y;
  v.half = half;
  v.elements = g.images * g.blocks * g.rows.out * g.columns.out * kPanel;
  v.blocks = g.blocks;
  v.channels = p.channels;
  v.rows = g.rows;
  v.columns = g.columns;
  v.count = p.count_include_pad ? g.rows.kernel * g.columns.kernel : 0;
  v.average = p.average;
  v.planes = p.y_layout == Layout::planes;
  launch("pool", pool_kernel, divide_up(v.elements, kThreads), kThreads, device.stream, v);
}

}  // namespace drpass::cuda

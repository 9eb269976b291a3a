#include "core/activation.h"
#include "cuda/element.h"
#include "cuda/engine.h"
#include "cuda/launch.h"

namespace drpass::cuda {
namespace {

constexpr int kThreads = 256;

struct DepthwiseView {
  const void *x, *w, *bias;  // bias may be absent
  void* y;
  bool half;
  int64_t elements;  // lanes of blocks of output pixels
  int64_t blocks, channels;
  bool x_planes, y_planes;
  DepthwiseAxis rows, columns;
  Activation activation;
  float params[2];
};

// One output a thread: the sum over its taps in order.
__global__ __launch_bounds__(kThreads) void depthwise_kernel(DepthwiseView v) {
  const int64_t element = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (element >= v.elements) return;
  const int64_t lane = element % kPanel, pixel = element / kPanel % (v.rows.out * v.columns.out);
  const int64_t slab = element / kPanel / (v.rows.out * v.columns.out), block = slab % v.blocks;
  const int64_t channel = block * kPanel + lane;
  if (channel >= v.channels) {
    if (!v.y_planes) store_element(v.y, v.half, element, 0.0f);
    return;
  }
  const int64_t image = slab / v.blocks, plane = image * v.channels + channel;
  const int64_t top = pixel / v.columns.out * v.rows.stride - v.rows.pad;
  const int64_t left = pixel % v.columns.out * v.columns.stride - v.columns.pad;
  float sum = 0.0f;
  for (int64_t i = 0; i < v.rows.kernel; ++i) {
    const int64_t y = top + i * v.rows.dilation;
    if (y < 0 || y >= v.rows.in) continue;
    for (int64_t k = 0; k < v.columns.kernel; ++k) {
      const int64_t x = left + k * v.columns.dilation;
      if (x < 0 || x >= v.columns.in) continue;
      const int64_t place = y * v.columns.in + x, size = v.rows.in * v.columns.in;
      const float value =
          load_element(v.x, v.half, v.x_planes ? plane * size + place : (slab * size + place) * kPanel + lane);
      const int64_t tap = (block * v.rows.kernel + i) * v.columns.kernel + k;
      sum = fmaf(value, load_element(v.w, v.half, tap * kPanel + lane), sum);
    }
  }
  if (v.bias) sum += load_element(v.bias, v.half, channel);
  const int64_t target = v.y_planes ? plane * v.rows.out * v.columns.out + pixel : element;
  store_element(v.y, v.half, target, activate(sum, v.activation, v.params[0], v.params[1]));
}

}  // namespace

void depthwise(const Parameters& p, const DepthwiseGeometry& g, bool half, const void* x, const void* w,
               const void* bias, void* y, Device device) {
  DepthwiseView v{};
  v.x = x;
  v.w = w;
  v.bias = bias;
  v.y = y;
  v.half = half;
  v.elements = g.images * g.blocks * g.rows.out * g.columns.out * kPanel;
  v.blocks = g.blocks;
  v.channels = p.output_channels;
  v.x_planes = p.x_layout == Layout::planes;
  v.y_planes = p.y_layout == Layout::planes;
  v.rows = g.rows;
  v.columns = g.columns;
  v.activation = p.activation;
  for (int i = 0; i < 2; ++i) v.params[i] = p.activation_params[i];
  launch("depthwise", depthwise_kernel, divide_up(v.elements, kThreads), kThreads, device.stream, v);
}

}  // namespace drpass::cuda

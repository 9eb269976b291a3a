#include "core/activation.h"
#include "cuda/element.h"
#include "cuda/engine.h"
#include "cuda/launch.h"

namespace drpass::cuda {
namespace {

constexpr int kThreads = 256;

// As DepthwiseAxis, in 32 bits.
struct Axis {
  int in, kernel, stride, dilation, out, pad;
};

Axis narrow_axis(const DepthwiseAxis& axis) {
  narrow((axis.out - 1) * axis.stride + (axis.kernel - 1) * axis.dilation + 1);  // positions in the padded image
  return {narrow(axis.in),       narrow(axis.kernel), narrow(axis.stride),
          narrow(axis.dilation), narrow(axis.out),    narrow(axis.pad)};
}

struct DepthwiseView {
  const void *x, *w, *bias;  // bias may be absent
  void* y;
  bool half;
  int64_t elements;  // lanes of blocks of output pixels
  int blocks, channels, in_pixels, out_pixels;
  bool x_planes, y_planes;
  Axis rows, columns;
  Activation activation;
  float params[2];
};

// One output a thread: the sum over its taps in order.
__global__ __launch_bounds__(kThreads) void depthwise_kernel(DepthwiseView v) {
  const int64_t element = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (element >= v.elements) return;
  const int lane = element % kPanel, pixel = element / kPanel % v.out_pixels;
  const int64_t slab = element / kPanel / v.out_pixels;
  const int block = slab % v.blocks, channel = block * kPanel + lane;
  if (channel >= v.channels) {
    if (!v.y_planes) store_element(v.y, v.half, element, 0.0f);
    return;
  }
  const int64_t plane = slab / v.blocks * v.channels + channel;
  // The image's first pixel in this channel, and from one pixel to the next.
  const int64_t image = v.x_planes ? plane * v.in_pixels : slab * v.in_pixels * kPanel + lane;
  const int step = v.x_planes ? 1 : kPanel;
  const int top = pixel / v.columns.out * v.rows.stride - v.rows.pad;
  const int left = pixel % v.columns.out * v.columns.stride - v.columns.pad;
  int64_t weight = static_cast<int64_t>(block) * v.rows.kernel * v.columns.kernel * kPanel + lane;
  float sum = 0.0f;
  for (int i = 0; i < v.rows.kernel; ++i)
    for (int k = 0; k < v.columns.kernel; ++k, weight += kPanel) {
      const int y = top + i * v.rows.dilation, x = left + k * v.columns.dilation;
      if (static_cast<unsigned>(y) >= v.rows.in || static_cast<unsigned>(x) >= v.columns.in) continue;
      const float value = load_element(v.x, v.half, image + (static_cast<int64_t>(y) * v.columns.in + x) * step);
      sum = fmaf(value, load_element(v.w, v.half, weight), sum);
    }
  if (v.bias) sum += load_element(v.bias, v.half, channel);
  const int64_t target = v.y_planes ? plane * v.out_pixels + pixel : element;
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
  v.blocks = narrow(g.blocks);
  v.channels = narrow(p.output_channels);
  v.in_pixels = narrow(g.rows.in * g.columns.in);
  v.out_pixels = narrow(g.rows.out * g.columns.out);
  v.x_planes = p.x_layout == Layout::planes;
  v.y_planes = p.y_layout == Layout::planes;
  v.rows = narrow_axis(g.rows);
  v.columns = narrow_axis(g.columns);
  v.activation = p.activation;
  for (int i = 0; i < 2; ++i) v.params[i] = p.activation_params[i];
  launch("depthwise", depthwise_kernel, divide_up(v.elements, kThreads), kThreads, device.stream, v);
}

}  // namespace drpass::cuda

#include "core/activation.h"
#include "cuda/element.h"
#include "cuda/engine.h"
#include "cuda/launch.h"

namespace drpass::cuda {
namespace {

constexpr int kThreads = 256;
// Rows that a thread adds at a time, so that weights are read once for all of them.
constexpr int kRows = 4;
static_assert(kThreads == kWidePanel, "a block is a wide panel of outputs");

struct FullyConnectedView {
  const void *x, *w, *bias;  // bias may be absent
  void* y;
  bool half;
  int64_t rows, inputs, outputs, panels;
  Activation activation;
  float params[2];
};

// One output a thread, of kRows rows; neighbouring threads read neighbouring weights.
__global__ __launch_bounds__(kThreads) void fully_connected_kernel(FullyConnectedView v) {
  const int64_t panel = blockIdx.x % v.panels, first = blockIdx.x / v.panels * kRows;
  const int64_t m = panel * kWidePanel + threadIdx.x;
  float sums[kRows] = {};
  for (int64_t k = 0; k < v.inputs; ++k) {
    const float weight = load_element(v.w, v.half, (panel * v.inputs + k) * kWidePanel + threadIdx.x);
#pragma unroll
    for (int r = 0; r < kRows; ++r)
      if (first + r < v.rows) sums[r] = fmaf(load_element(v.x, v.half, (first + r) * v.inputs + k), weight, sums[r]);
  }
  if (m >= v.outputs) return;
  const float bias = v.bias ? load_element(v.bias, v.half, m) : 0.0f;
#pragma unroll
  for (int r = 0; r < kRows; ++r)
    if (first + r < v.rows)
      store_element(v.y, v.half, (first + r) * v.outputs + m,
                    activate(v.bias ? sums[r] + bias : sums[r], v.activation, v.params[0], v.params[1]));
}

}  // namespace

void fully_connected(const FullyConnectedParameters& p, const FullyConnectedGeometry& g, bool half, const void* x,
                     const void* w, const void* bias, void* y, Device device) {
  FullyConnectedView v{};
  v.x = x;
  v.w = w;
  v.bias = bias;
  v.y = y;
  v.half = half;
  v.rows = g.rows;
  v.inputs = g.inputs;
  v.outputs = p.outputs;
  v.panels = divide_up(p.outputs, kWidePanel);
  v.activation = p.activation;
  for (int i = 0; i < 2; ++i) v.params[i] = p.activation_params[i];
  launch("fully connected", fully_connected_kernel, divide_up(g.rows, kRows) * v.panels, kThreads, device.stream, v);
}

}  // namespace drpass::cuda

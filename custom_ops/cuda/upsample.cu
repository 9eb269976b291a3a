#include "cuda/element.h"
#include "cuda/engine.h"
#include "cuda/launch.h"

namespace drpass::cuda {
namespace {

constexpr int kThreads = 256;

struct UpsampleView {
  const void* x;
  void* y;
  bool half;
  int64_t elements;  // of Y
  int columns, row_scale, column_scale;  // of X; how often rows and columns are repeated
};

// One element a thread.
__global__ __launch_bounds__(kThreads) void upsample_kernel(UpsampleView v) {
  const int64_t element = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (element >= v.elements) return;
  const int lane = element % kPanel, width = v.columns * v.column_scale;
  const int64_t pixel = element / kPanel, row = pixel / width;
  const int column = static_cast<int>(pixel % width) / v.column_scale;
  const int64_t source = (row / v.row_scale * v.columns + column) * kPanel + lane;
  store_element(v.y, v.half, element, load_element(v.x, v.half, source));
}

}  // namespace

void upsample(const UpsampleParameters& p, const UpsampleGeometry& g, bool half, const void* x, void* y,
              Device device) {
  UpsampleView v{};
  v.x = x;
  v.y = y;
  v.half = half;
  v.elements = g.slabs * g.rows * p.rows * g.columns * p.columns * kPanel;
  v.columns = narrow(g.columns);
  v.row_scale = narrow(p.rows);
  v.column_scale = narrow(p.columns);
  narrow(g.columns * p.columns);
  launch("upsample", upsample_kernel, divide_up(v.elements, kThreads), kThreads, device.stream, v);
}

}  // namespace drpass::cuda

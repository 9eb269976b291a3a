#include "core/pool.h"

#include <algorithm>
#include <limits>
#include <stdexcept>

#include "core/geometry.h"

namespace drpass {
namespace {

// Output rows of a task.
constexpr int64_t kRows = 8;

// One output row of a block, as the definition reads. Sums as the kernels do: in float, row after row.
void reference_row(const PoolRow& row) {
  for (int64_t i = 0; i < row.outputs; ++i) {
    const int64_t start = i * row.stride - row.pad, left = std::max<int64_t>(start, 0);
    const int64_t right = std::min(start + row.kernel, row.width);
    for (int64_t lane = 0; lane < kPanel; ++lane) {
      float result = row.average ? 0.0f : -std::numeric_limits<float>::infinity();
      for (int64_t y = 0; y < row.rows; ++y)
        for (int64_t x = left; x < right; ++x) {
          const float value = row.x[y * row.row_stride + x * kPanel + lane];
          if (row.average)
            result += value;
          else if (value > result)
            result = value;
        }
      if (row.average) result /= static_cast<float>(row.count ? row.count : row.rows * (right - left));
      row.y[i * kPanel + lane] = result;
    }
  }
}

void reference_planes(const float* blocks, int64_t pixels, int64_t channels, float* planes, int64_t plane_stride) {
  for (int64_t i = 0; i < pixels; ++i)
    for (int64_t c = 0; c < channels; ++c) planes[c * plane_stride + i] = blocks[i * kPanel + c];
}

}  // namespace

PoolGeometry resolve_pool(const PoolParameters& p, const std::vector<int64_t>& x) {
  PoolGeometry g;
  const int64_t wanted = (p.channels + kPanel - 1) / kPanel;
  if (x.size() != 5 || x[4] != kPanel || x[1] != wanted)
    throw std::invalid_argument("X has shape " + format_shape(x) + ", but " + std::to_string(p.channels) +
                                " channels in NCHW16c need [N, " + std::to_string(wanted) + ", H, W, 16]");
  g.images = x[0];
  g.blocks = x[1];
  for (int axis = 0; axis < 2; ++axis) {
    g.in[axis] = x[axis + 2];
    g.kernel[axis] = p.kernel_shape.empty() ? g.in[axis] : p.kernel_shape[axis];
    if (!p.strides.empty()) g.stride[axis] = p.strides[axis];
    if (!p.pads.empty()) g.pad[axis] = p.pads[axis];
    const int64_t end = p.pads.empty() ? 0 : p.pads[axis + 2];
    if (g.pad[axis] >= g.kernel[axis] || end >= g.kernel[axis])
      throw std::invalid_argument("pads must be smaller than the kernel");
    const int64_t room = g.in[axis] + g.pad[axis] + end - g.kernel[axis];
    if (room < 0 || g.in[axis] < 1)
      throw std::invalid_argument("the output would have a negative size on axis " + std::to_string(axis + 2));
    g.out[axis] = room / g.stride[axis] + 1;
  }
  checked_product({g.images, g.blocks, g.in[0], g.in[1], kPanel});
  checked_product({g.images, g.blocks, g.out[0], g.out[1], kPanel});
  if (p.y_layout == Layout::blocked)
    g.y_shape = {g.images, g.blocks, g.out[0], g.out[1], kPanel};
  else
    g.y_shape = {g.images, p.channels, g.out[0], g.out[1]};
  return g;
}

void pool(const PoolParameters& p, const PoolGeometry& g, const float* x, float* y, const KernelSet* kernels,
          Executor& executor, Memory& memory) {
  const int64_t parts = (g.out[0] + kRows - 1) / kRows, pixels = g.out[0] * g.out[1];
  const auto run_row = kernels ? kernels->pool_row : reference_row;
  const auto to_planes = kernels ? kernels->to_planes : reference_planes;
  executor.run(static_cast<size_t>(g.images * g.blocks * parts), [&](size_t task) {
    const int64_t slab = static_cast<int64_t>(task) / parts, first = static_cast<int64_t>(task) % parts * kRows;
    const int64_t image = slab / g.blocks, channel = slab % g.blocks * kPanel;
    const bool planes = p.y_layout == Layout::planes;
    Scratch<float> line(memory, planes ? g.out[1] * kPanel : 0);
    PoolRow row;
    row.average = p.average;
    row.row_stride = g.in[1] * kPanel;
    row.width = g.in[1];
    row.outputs = g.out[1];
    row.kernel = g.kernel[1];
    row.stride = g.stride[1];
    row.pad = g.pad[1];
    row.count = p.count_include_pad ? g.kernel[0] * g.kernel[1] : 0;
    for (int64_t i = first; i < std::min(first + kRows, g.out[0]); ++i) {
      const int64_t start = i * g.stride[0] - g.pad[0], top = std::max<int64_t>(start, 0);
      row.x = x + slab * g.in[0] * row.row_stride + top * row.row_stride;
      row.rows = std::min(start + g.kernel[0], g.in[0]) - top;
      row.y = planes ? line.data() : y + (slab * pixels + i * g.out[1]) * kPanel;
      run_row(row);
      if (planes)
        to_planes(line.data(), g.out[1], std::min(kPanel, p.channels - channel),
                  y + (image * p.channels + channel) * pixels + i * g.out[1], pixels);
    }
  });
}

}  // namespace drpass

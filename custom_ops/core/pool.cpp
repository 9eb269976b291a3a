#include "core/pool.h"

#include <algorithm>
#include <limits>
#include <stdexcept>

#include "core/geometry.h"
#include "core/planes.h"

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
      for (int64_t y = 0; y < row.rows; ++y) {
        float sum = 0.0f;
        for (int64_t x = left; x < right; ++x) {
          const float value = row.x[y * row.row_stride + x * kPanel + lane];
          sum += value;
          if (!row.average) result = result > value ? result : value;
        }
        if (row.average) result += sum;
      }
      if (row.average) result /= static_cast<float>(row.count ? row.count : row.rows * (right - left));
      row.y[i * kPanel + lane] = result;
    }
  }
}

}  // namespace

PoolAxis pool_axis(const PoolParameters& p, size_t axis, int64_t in) {
  const auto no_output = [axis] {
    return std::invalid_argument("the output would have a negative size on axis " + std::to_string(axis + 2));
  };
  if (in < 1) throw no_output();
  if (p.kernel_shape.empty()) return {in, in, 1, 1, 0};
  const int64_t kernel = p.kernel_shape[axis], stride = p.strides.empty() ? 1 : p.strides[axis];
  const bool padded = p.auto_pad == AutoPad::notset && !p.pads.empty();
  const int64_t begin = padded ? p.pads[axis] : 0, end = padded ? p.pads[axis + 2] : 0;
  if (begin >= kernel || end >= kernel) throw std::invalid_argument("pads must be smaller than the kernel");
  Window window = slide(p.auto_pad, in, kernel, stride, begin, end);
  if (window.count < 1) throw no_output();
  // A window more, if it begins in the image and the last one leaves something.
  const bool same = p.auto_pad == AutoPad::same_upper || p.auto_pad == AutoPad::same_lower;
  const bool leaves = (in + begin + end - kernel) % stride != 0;
  if (p.ceil_mode && !same && leaves && window.count * stride < in + begin) ++window.count;
  return {in, kernel, stride, window.count, window.pad};
}

PoolGeometry resolve_pool(const PoolParameters& p, const std::vector<int64_t>& x) {
  PoolGeometry g;
  const int64_t wanted = (p.channels + kPanel - 1) / kPanel;
  if (x.size() != 5 || x[4] != kPanel || x[1] != wanted)
    throw std::invalid_argument("X has shape " + format_shape(x) + ", but " + std::to_string(p.channels) +
                                " channels in NCHW16c need [N, " + std::to_string(wanted) + ", H, W, 16]");
  g.images = x[0];
  g.blocks = x[1];
  g.rows = pool_axis(p, 0, x[2]);
  g.columns = pool_axis(p, 1, x[3]);
  checked_product({g.images, g.blocks, g.rows.in, g.columns.in, kPanel});
  g.y_shape = image_shape(p.y_layout, g.images, p.channels, g.rows.out, g.columns.out);
  return g;
}

void pool(const PoolParameters& p, const PoolGeometry& g, const float* x, float* y, const KernelSet* kernels,
          Executor& executor, Memory& memory) {
  const int64_t parts = (g.rows.out + kRows - 1) / kRows, pixels = g.rows.out * g.columns.out;
  const auto run_row = kernels ? kernels->pool_row : reference_row;
  executor.run(static_cast<size_t>(g.images * g.blocks * parts), [&](size_t task) {
    const int64_t slab = static_cast<int64_t>(task) / parts, first = static_cast<int64_t>(task) % parts * kRows;
    const int64_t image = slab / g.blocks, channel = slab % g.blocks * kPanel;
    const bool planes = p.y_layout == Layout::planes;
    Scratch<float> line(memory, planes ? g.columns.out * kPanel : 0);
    PoolRow row;
    row.average = p.average;
    row.row_stride = g.columns.in * kPanel;
    row.width = g.columns.in;
    row.outputs = g.columns.out;
    row.kernel = g.columns.kernel;
    row.stride = g.columns.stride;
    row.pad = g.columns.pad;
    row.count = p.count_include_pad ? g.rows.kernel * g.columns.kernel : 0;
    for (int64_t i = first; i < std::min(first + kRows, g.rows.out); ++i) {
      const int64_t start = i * g.rows.stride - g.rows.pad, top = std::max<int64_t>(start, 0);
      row.x = x + slab * g.rows.in * row.row_stride + top * row.row_stride;
      const int64_t bottom = std::min(start + g.rows.kernel, g.rows.in);
      row.rows = bottom - top;
      row.ahead = std::min(g.rows.stride, g.rows.in - bottom);
      row.y = planes ? line.data() : y + (slab * pixels + i * g.columns.out) * kPanel;
      run_row(row);
      if (planes)
        blocks_to_planes(kernels, line.data(), g.columns.out, std::min(kPanel, p.channels - channel),
                         y + (image * p.channels + channel) * pixels + i * g.columns.out, pixels);
    }
  });
}

}  // namespace drpass

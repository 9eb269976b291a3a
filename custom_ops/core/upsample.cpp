#include "core/upsample.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "core/geometry.h"

namespace drpass {
namespace {

// Pixels of Y in a task, at least.
constexpr int64_t kTaskPixels = 4096;

}  // namespace

UpsampleGeometry resolve_upsample(const UpsampleParameters& p, const std::vector<int64_t>& x) {
  if (x.size() != 5 || x[4] != kPanel)
    throw std::invalid_argument("X has shape " + format_shape(x) + ", but Upsample needs [N, blocks, H, W, 16]");
  checked_product({x[0], x[1], x[2], x[3], kPanel, p.rows, p.columns});
  return {x[0] * x[1], x[2], x[3], {x[0], x[1], x[2] * p.rows, x[3] * p.columns, kPanel}};
}

void upsample(const UpsampleParameters& p, const UpsampleGeometry& g, const float* x, float* y, Executor& executor) {
  const int64_t row = g.columns * p.columns, rows = g.slabs * g.rows;
  const int64_t step = std::max<int64_t>(1, kTaskPixels / std::max<int64_t>(1, row * p.rows));
  executor.run(static_cast<size_t>(divide_up(rows, step)), [&](size_t task) {
    const int64_t first = static_cast<int64_t>(task) * step;
    for (int64_t i = first; i < std::min(rows, first + step); ++i) {
      float* target = y + i * p.rows * row * kPanel;
      for (int64_t pixel = 0; pixel < g.columns; ++pixel)
        for (int64_t again = 0; again < p.columns; ++again)
          std::memcpy(target + (pixel * p.columns + again) * kPanel, x + (i * g.columns + pixel) * kPanel,
                      kPanel * sizeof(float));
      for (int64_t again = 1; again < p.rows; ++again)
        std::memcpy(target + again * row * kPanel, target, static_cast<size_t>(row * kPanel) * sizeof(float));
    }
  });
}

}  // namespace drpass

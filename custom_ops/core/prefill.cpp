#include "core/prefill.h"

#include <algorithm>
#include <stdexcept>

#include "core/winograd.h"

namespace drpass {
namespace {

// Results that are computed at a time: enough to be worth a transform of the weights, within this memory.
constexpr int64_t kResults = 256;
constexpr int64_t kResultBytes = 16 * 1024 * 1024;

// Those of a node whose images are single windows, and whose outputs are single tiles.
Parameters parameters_of_windows(const Parameters& parameters) {
  Parameters p = parameters;
  p.auto_pad = AutoPad::notset;
  p.pads = {0, 0, 0, 0};
  p.x_layout = Layout::blocked;
  return p;
}

Geometry geometry_of_windows(const Parameters& p, const Constants& constants, int64_t count) {
  const int64_t n = form_of(p.kernel_shape[0]).window, blocks = (constants.w_shape[3] + kPanel - 1) / kPanel;
  return resolve(p, {count, blocks, n, n, kPanel}, constants.w_shape);
}

}  // namespace

int64_t count_windows(const Parameters& parameters, const Constants& constants, const std::vector<int64_t>& shape) {
  const int64_t n = form_of(parameters.kernel_shape[0]).window, count = shape.empty() ? 0 : shape[0];
  const int64_t channels = constants.w_shape.size() == 5 ? constants.w_shape[3] : 0;
  const std::vector<int64_t> wanted{count, (channels + kPanel - 1) / kPanel, n, n, kPanel};
  if (shape != wanted)
    throw std::invalid_argument("memo_windows has shape " + format_shape(shape) + ", but " + format_shape(wanted) +
                                " was expected");
  if (count == 0 || channels == 0) return 0;
  const Geometry geometry = geometry_of_windows(parameters_of_windows(parameters), constants, count);
  check_packed_weights(geometry, constants.w_shape);
  if (constants.bias) check_bias(geometry.output_channels, constants.bias_shape);
  return count;
}

void prefill(const Parameters& parameters, const Constants& constants, const float* windows, int64_t count,
             const KernelSet& kernels, Memo& memo, Memory& memory) {
  if (!memo.has_taken_memory()) return;
  const Parameters p = parameters_of_windows(parameters);
  const int64_t result_size = winograd_result_size(p);
  const int64_t step = std::clamp<int64_t>(kResultBytes / (result_size * 4), 1, kResults);
  SerialExecutor executor;
  const Kept kept{nullptr, nullptr, &memo};
  for (int64_t first = std::max<int64_t>(0, count - memo.capacity()); first < count; first += step) {
    const int64_t images = std::min(step, count - first);
    const Geometry geometry = geometry_of_windows(p, constants, images);
    Scratch<float> y(memory, images * result_size);
    Tensors tensors;
    tensors.x = windows + first * geometry.x_image;
    tensors.w = constants.w;
    tensors.bias = constants.bias;
    tensors.y = y.data();
    const Call call{p, geometry, tensors, kernels, kept, nullptr, memory, nullptr};
    const std::vector<Clusters> none(geometry.sub_groups());
    run_winograd(call, {0, images}, 0, form_of(p.kernel_shape[0]), make_dense_part(call, 0, none.data()), executor);
  }
}

}  // namespace drpass

#include "core/winograd_weights.h"

#include <algorithm>

namespace drpass {
namespace {

// Kept weights are up to four times as large as W. Those of small layers stay in the caches from call to call; reading
// larger ones from memory would take as long as transforming them.
constexpr int64_t kKeptBytes = 1280 * 1024;

}  // namespace

bool may_use_winograd(const Parameters& p) {
  const auto is_one = [](int64_t value) { return value == 1; };
  const auto& kernel = p.kernel_shape;
  return p.winograd && p.group == 1 && kernel.size() == 2 && kernel[0] == kernel[1] &&
         (kernel[0] == 3 || kernel[0] == 5) && std::all_of(p.strides.begin(), p.strides.end(), is_one) &&
         std::all_of(p.dilations.begin(), p.dilations.end(), is_one);
}

void transform_weights(const KernelSet& kernels, const WinogradForm& form, const float* w, int64_t tap_stride, float* u,
                       const WinogradLayout& layout, int64_t panel) {
  kernels.winograd_weights({form.window, w, tap_stride, layout.channels, u + layout.panel(panel),
                            layout.point_stride(panel), layout.row(panel)});
}

Scratch<float> keep_winograd_weights(const Parameters& parameters, const float* w, const std::vector<int64_t>& w_shape,
                                     const KernelSet& kernels, Memory& memory) {
  if (!may_use_winograd(parameters) || w_shape.size() != 5) return {};
  const WinogradForm form = form_of(parameters.kernel_shape[0]);
  const int64_t panels = divide_up(parameters.output_channels, kPanel), taps = form.taps * form.taps;
  const int64_t channels = w_shape[3];
  if (w_shape != std::vector<int64_t>{1, panels, taps, channels, kPanel}) return {};
  const WinogradLayout layout{form.points(), channels, panels};
  if (channels == 0 || panels == 0 || layout.size() * static_cast<int64_t>(sizeof(float)) > kKeptBytes) return {};
  Scratch<float> kept(memory, layout.size());
  for (int64_t panel = 0; panel < panels; ++panel)
    transform_weights(kernels, form, w + panel * taps * channels * kPanel, channels * kPanel, kept.data(), layout, panel);
  return kept;
}

}  // namespace drpass

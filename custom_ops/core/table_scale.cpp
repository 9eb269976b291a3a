#include "core/table_scale.h"

#include <algorithm>
#include <cmath>

namespace drpass {

std::vector<float> sum_tap_magnitudes(const std::vector<int64_t>& w_shape, const float* w) {
  // What is empty can have a shape as large as it likes.
  if (w_shape.size() != 5 || std::count(w_shape.begin(), w_shape.end(), 0)) return {};
  const int64_t panels = w_shape[0] * w_shape[1], taps = w_shape[2], row = w_shape[3] * w_shape[4];
  std::vector<float> sums(panels * row, 0.0f);
  for (int64_t panel = 0; panel < panels; ++panel) {
    float* target = sums.data() + panel * row;
    for (int64_t tap = 0; tap < taps; ++tap, w += row)
      for (int64_t i = 0; i < row; ++i) target[i] += std::fabs(w[i]);
  }
  return sums;
}

std::vector<float> narrow_scales(const Geometry& g, const float* tap_sums, int64_t group,
                                 const std::vector<int64_t>& reuse, const std::vector<const float*>& magnitudes) {
  const size_t span = narrow_span(g), width = g.panels() * kPanel;
  const float units = 32767.0f - 0.5f * static_cast<float>(span * g.taps());
  std::vector<float> scale(width, 0.0f), bound(width);
  for (size_t begin = 0; begin < reuse.size(); begin += span) {
    std::fill(bound.begin(), bound.end(), 0.0f);
    for (size_t i = begin; i < std::min(reuse.size(), begin + span); ++i)
      for (int64_t l = 0; l < g.sub_vector_size(reuse[i]); ++l)
        for (int64_t panel = 0; panel < g.panels(); ++panel) {
          const int64_t channel = g.sub_vector_begin(reuse[i]) + l;
          const float* sums = tap_sums + ((group * g.panels() + panel) * g.group_channels() + channel) * kPanel;
          for (int64_t j = 0; j < kPanel; ++j) bound[panel * kPanel + j] += magnitudes[reuse[i]][l] * sums[j];
        }
    for (size_t m = 0; m < width; ++m) scale[m] = std::max(scale[m], bound[m] / units);
  }
  const bool finite = std::all_of(scale.begin(), scale.end(), [](float unit) { return std::isfinite(unit); });
  return finite ? scale : std::vector<float>();
}

float inverse_scale(float scale) { return std::isnormal(scale) ? 1.0f / scale : 0.0f; }

}  // namespace drpass

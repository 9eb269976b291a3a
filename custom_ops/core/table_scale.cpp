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
  const size_t span = narrow_span(g);
  const float units = 32767.0f - 0.5f * static_cast<float>(span * g.taps());
  std::vector<float> scale(g.panels() * kPanel, 0.0f);
  for (int64_t panel = 0; panel < g.panels(); ++panel) {  // so that the sums are read in their order
    const float* sums = tap_sums + (group * g.panels() + panel) * g.group_channels() * kPanel;
    float largest[kPanel] = {}, poison[kPanel] = {};
    for (size_t begin = 0; begin < reuse.size(); begin += span) {
      float bound[kPanel] = {};
      for (size_t i = begin; i < std::min(reuse.size(), begin + span); ++i)
        for (int64_t l = 0; l < g.sub_vector_size(reuse[i]); ++l) {
          const float* of_channel = sums + (g.sub_vector_begin(reuse[i]) + l) * kPanel;
          for (int64_t j = 0; j < kPanel; ++j) bound[j] += magnitudes[reuse[i]][l] * of_channel[j];
        }
      for (int64_t j = 0; j < kPanel; ++j) {
        largest[j] = std::max(largest[j], bound[j]);
        poison[j] += 0.0f * bound[j];  // NaN stays: a maximum would forget it
      }
    }
    for (int64_t j = 0; j < kPanel; ++j) {
      if (!std::isfinite(largest[j] + poison[j])) return {};
      scale[panel * kPanel + j] = largest[j] / units;
    }
  }
  return scale;
}

float inverse_scale(float scale) { return std::isnormal(scale) ? 1.0f / scale : 0.0f; }

}  // namespace drpass

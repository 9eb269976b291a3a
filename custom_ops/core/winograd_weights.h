// Weights as Winograd's filtering multiplies them: transformed, by panels of outputs.
#pragma once

#include <algorithm>
#include <vector>

#include "core/geometry.h"
#include "core/kernels/kernel_set.h"
#include "core/resources.h"

namespace drpass {

// F(tile x tile, taps x taps): a window of `window` x `window` inputs gives tile x tile outputs.
struct WinogradForm {
  int64_t taps, window;
  int64_t tile() const { return window - taps + 1; }
  int64_t points() const { return window * window; }
};
inline WinogradForm form_of(int64_t taps) { return {taps, taps + 3}; }

// Panels that the widest micro-kernel takes.
constexpr int64_t kPanelPair = 2;

// Where transformed weights lie: point i of channel c of a panel at panel(p) + i * point_stride(p) + c * row(p). All that a
// micro-kernel reads is one stream, from point to point, so that what comes next can be fetched ahead.
struct WinogradLayout {
  int64_t points, channels, panels;

  int64_t row(int64_t p) const { return std::min(kPanelPair, panels - p / kPanelPair * kPanelPair) * kPanel; }
  // An odd number of cache lines: points must not all fall into the same sets.
  int64_t point_stride(int64_t p) const { return (row(p) / kPanel * channels | 1) * kPanel; }
  int64_t panel(int64_t p) const { return p / kPanelPair * points * point_stride(0) + p % kPanelPair * kPanel; }
  int64_t size() const {
    const int64_t last = (panels - 1) / kPanelPair * kPanelPair;
    return panel(last) + points * point_stride(last);
  }
};

// Whether calls of a node may use Winograd's filtering, as far as its attributes say. Of one group only.
bool may_use_winograd(const Parameters& parameters);

// All channels of one panel of a layout that begins at u, from w[tap * tap_stride + c * 16].
void transform_weights(const KernelSet& kernels, const WinogradForm& form, const float* w, int64_t tap_stride, float* u,
                       const WinogradLayout& layout, int64_t panel);

// The weights of a node whose W is constant, for all its calls. Empty where no call may use them, where they would take
// too much memory, or where W, packed as [1, panels, taps, channels, 16], has another shape (which calls report).
Scratch<float> keep_winograd_weights(const Parameters& parameters, const float* w, const std::vector<int64_t>& w_shape,
                                     const KernelSet& kernels, Memory& memory);

}  // namespace drpass

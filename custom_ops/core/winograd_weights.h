// Weights as Winograd's filtering multiplies them: transformed, by panels of outputs.
#pragma once

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

// Panels that the widest micro-kernel takes: their weights lie side by side.
constexpr int64_t kPanelPair = 2;

// Where transformed weights lie: point i of channel c of a panel at panel(p) + i * point_stride() + c * 16.
struct WinogradLayout {
  int64_t points, channels;

  // An odd number of cache lines: points must not all fall into the same sets.
  int64_t point_stride() const { return (kPanelPair * channels | 1) * kPanel; }
  int64_t panel(int64_t p) const {
    return p / kPanelPair * points * point_stride() + p % kPanelPair * channels * kPanel;
  }
  int64_t size(int64_t panels) const { return divide_up(panels, kPanelPair) * points * point_stride(); }
};

// Whether calls of a node may use Winograd's filtering, as far as its attributes say. Of one group only.
bool may_use_winograd(const Parameters& parameters);

// Some channels of one panel: w[tap * tap_stride + c * 16] goes to u[point * point_stride + c * 16].
void transform_weights(const KernelSet& kernels, const WinogradForm& form, const float* w, int64_t tap_stride,
                       int64_t channels, float* u, int64_t point_stride);

// The weights of a node whose W is constant, for all its calls. Empty where no call may use them, where they would take
// too much memory, or where W, packed as [1, panels, taps, channels, 16], has another shape (which calls report).
Scratch<float> keep_winograd_weights(const Parameters& parameters, const float* w, const std::vector<int64_t>& w_shape,
                                     const KernelSet& kernels, Memory& memory);

}  // namespace drpass

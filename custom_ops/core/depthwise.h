// Depthwise convolution: every channel has a kernel of its own. It works on blocks of 16 channels; planes are converted,
// a part of an image at a time.
#pragma once

#include <vector>

#include "core/kernels/kernel_set.h"
#include "core/resources.h"

namespace drpass {

// How the kernel slides along one spatial axis.
struct DepthwiseAxis {
  int64_t in, kernel, stride, dilation, out, pad;
};

// Sizes of one call.
struct DepthwiseGeometry {
  int64_t images = 0, blocks = 0;
  DepthwiseAxis rows{}, columns{};
  std::vector<int64_t> y_shape;

  int64_t taps() const { return rows.kernel * columns.kernel; }
};

// Of `parameters`, output_channels is C, and kernel_shape has two axes. Throws std::invalid_argument where X, [N, C, H, W]
// or [N, ceil(C/16), H, W, 16], or W [ceil(C/16), taps, 16] does not fit.
DepthwiseGeometry resolve_depthwise(const Parameters& parameters, const std::vector<int64_t>& x_shape,
                                    const std::vector<int64_t>& w_shape);

// bias: [C] or null; kernels: null for the scalar reference. Every output is the sum over its taps in order, plus bias,
// then the activation; in blocks, lanes past the last channel are zero.
void depthwise(const Parameters& parameters, const DepthwiseGeometry& geometry, const float* x, const float* w,
               const float* bias, float* y, const KernelSet* kernels, Executor& executor, Memory& memory);

}  // namespace drpass

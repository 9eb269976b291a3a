// Pooling of tensors in blocks of 16 channels, so that chains of operators need no change of layout.
#pragma once

#include <vector>

#include "core/kernels/kernel_set.h"
#include "core/resources.h"

namespace drpass {

struct PoolParameters {
  bool average = false;
  std::vector<int64_t> kernel_shape;  // two axes; empty: the whole image
  std::vector<int64_t> strides, pads;
  AutoPad auto_pad = AutoPad::notset;
  bool ceil_mode = false, count_include_pad = false;
  int64_t channels = 0;
  Layout y_layout = Layout::planes;
};

// How the window slides along one spatial axis: output i is of [i * stride - pad, i * stride - pad + kernel), as far as that
// lies in the image; every window holds at least one element of it.
struct PoolAxis {
  int64_t in, kernel, stride, out, pad;
};

// `axis` is 0 or 1. Throws std::invalid_argument where the kernel does not fit.
PoolAxis pool_axis(const PoolParameters& parameters, size_t axis, int64_t in);

// Sizes of one call.
struct PoolGeometry {
  int64_t images = 0, blocks = 0;
  PoolAxis rows, columns;
  std::vector<int64_t> y_shape;
};

// Throws std::invalid_argument where X, [N, ceil(C/16), H, W, 16], does not fit the parameters.
PoolGeometry resolve_pool(const PoolParameters& parameters, const std::vector<int64_t>& x_shape);

// kernels: null for the scalar reference.
void pool(const PoolParameters& parameters, const PoolGeometry& geometry, const float* x, float* y,
          const KernelSet* kernels, Executor& executor, Memory& memory);

}  // namespace drpass

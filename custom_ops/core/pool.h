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
  bool count_include_pad = false;
  int64_t channels = 0;
  Layout y_layout = Layout::planes;
};

// Sizes of one call.
struct PoolGeometry {
  int64_t images = 0, blocks = 0, in[2]{}, out[2]{}, kernel[2]{}, stride[2]{1, 1}, pad[2]{};
  std::vector<int64_t> y_shape;
};

// Throws std::invalid_argument where X, [N, ceil(C/16), H, W, 16], does not fit the parameters.
PoolGeometry resolve_pool(const PoolParameters& parameters, const std::vector<int64_t>& x_shape);

// kernels: null for the scalar reference.
void pool(const PoolParameters& parameters, const PoolGeometry& geometry, const float* x, float* y,
          const KernelSet* kernels, Executor& executor, Memory& memory);

}  // namespace drpass

// Repeating the rows and pixels of tensors in blocks of 16 channels.
#pragma once

#include <vector>

#include "core/parameters.h"
#include "core/resources.h"

namespace drpass {

struct UpsampleParameters {
  int64_t rows = 1, columns = 1;  // how often each is repeated
};

// Sizes of one call. slabs: blocks of all images.
struct UpsampleGeometry {
  int64_t slabs = 0, rows = 0, columns = 0;  // of X
  std::vector<int64_t> y_shape;
};

// Throws std::invalid_argument where X is not [N, blocks, H, W, 16].
UpsampleGeometry resolve_upsample(const UpsampleParameters& parameters, const std::vector<int64_t>& x_shape);

void upsample(const UpsampleParameters& parameters, const UpsampleGeometry& geometry, const float* x, float* y,
              Executor& executor);

}  // namespace drpass

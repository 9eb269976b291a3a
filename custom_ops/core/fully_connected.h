// Fully connected layers: products of few rows with many weights, which take the time that reading the weights takes. So
// weights that meet a zero are not read.
#pragma once

#include <vector>

#include "core/kernels/kernel_set.h"
#include "core/resources.h"

namespace drpass {

struct FullyConnectedParameters {
  int64_t outputs = 0;  // M
  Activation activation = Activation::none;
  std::array<float, 2> activation_params{};
  bool skip_zeros = true;  // only where all weights are known to be finite: others make NaN of a zero
};

// Sizes of one call.
struct FullyConnectedGeometry {
  int64_t rows = 0, inputs = 0;  // R, K
  std::vector<int64_t> y_shape;
};

// Throws std::invalid_argument where X, [..., K], or W, [ceil(M / 256), K, 256], does not fit.
FullyConnectedGeometry resolve_fully_connected(const FullyConnectedParameters& parameters,
                                               const std::vector<int64_t>& x_shape, const std::vector<int64_t>& w_shape);

// y[r][m] = activation(sum over k, in order, of x[r][k] * W[k][m] + bias[m]). bias: [M] or null; kernels: null for the
// scalar reference. A row does not depend on the others.
void fully_connected(const FullyConnectedParameters& parameters, const FullyConnectedGeometry& geometry, const float* x,
                     const float* w, const float* bias, float* y, const KernelSet* kernels, Executor& executor,
                     Memory& memory);

}  // namespace drpass

// The dense convolution of small kernels by Winograd's minimal filtering: fewer multiplications than the direct form, at
// a somewhat larger rounding error (docs/operator.md). It works on blocks of 16 channels; planes are converted.
#pragma once

#include <optional>

#include "core/dense.h"
#include "core/winograd_weights.h"

namespace drpass {

// The form to use, nothing where the direct form takes fewer operations. Decided by the sizes of one image, so
// that splitting a batch does not change results.
std::optional<WinogradForm> choose_winograd(const Parameters& parameters, const Geometry& geometry);

// Vector instructions in the form that is chosen, the direct one included.
struct DenseCost {
  int64_t image, weights;  // of one image; of what the images of a call share
};
DenseCost dense_cost(const Parameters& parameters, const Geometry& geometry);

// Floats of the outputs of one tile of a group, as the memo keeps them.
int64_t winograd_result_size(const Parameters& parameters);

// All outputs of a group; `dense` (all channels) serves tiles in which the transforms met NaN, infinities or overflow.
void run_winograd(const Call& call, const Instance& instance, int64_t group, const WinogradForm& form,
                  const DensePart& dense, Executor& executor);

}  // namespace drpass

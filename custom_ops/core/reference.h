// The contract: what the operator computes, one obvious loop after the other.
#pragma once

#include "core/tensors.h"

namespace drpass {

// Scalar, single-threaded; to be read beside docs/operator.md and the paper. Every kernel is tested against it.
void compute_reference(const Parameters& parameters, const Geometry& geometry, const Tensors& tensors);

}  // namespace drpass

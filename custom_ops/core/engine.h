// The operator: all stages in order, on the threads and memory of the host.
#pragma once

#include "core/cluster.h"

namespace drpass {

// Computes Y (and stats). Outputs do not depend on how `executor` spreads the work.
void compute(const Parameters& parameters, const Geometry& geometry, const Tensors& tensors, const KernelSet& kernels,
             const float* hyperplanes, Memo* memo, Executor& executor, Memory& memory);

}  // namespace drpass

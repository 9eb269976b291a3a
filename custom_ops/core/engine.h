// The operator: all stages in order, on the threads and memory of the host.
#pragma once

#include "core/call.h"

namespace drpass {

// Computes Y (and stats). Outputs depend neither on how `executor` spreads the work nor on whether stages are measured.
// stages: where the times go; null: not measured.
void compute(const Parameters& parameters, const Geometry& geometry, const Tensors& tensors, const KernelSet& kernels,
             const Kept& kept, Executor& executor, Memory& memory, StageTimes* stages);

}  // namespace drpass

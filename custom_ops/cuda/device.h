// What the CUDA side of the operators borrows from its host. No header of CUDA, so that the host's compiler can read it.
#pragma once

#include "core/resources.h"

namespace drpass::cuda {

// The stream that everything is launched on (a cudaStream_t), and memory of the device that is used and released in the
// order of that stream.
struct Device {
  void* stream;
  Memory& memory;
};

}  // namespace drpass::cuda

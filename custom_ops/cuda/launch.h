// Launches with a check of every call.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "core/geometry.h"

namespace drpass::cuda {

inline void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  cudaGetLastError();  // so that nobody else takes it for theirs
  throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(error));
}

// Kernels compute places in 32 bits where they can: registers are what they are short of.
inline int narrow(int64_t value) {
  if (value < 0 || value > std::numeric_limits<int32_t>::max())
    throw std::invalid_argument("the tensors are too large");
  return static_cast<int>(value);
}

// Grids have one dimension: kernels take their coordinates out of the block's number.
template <typename... Arguments>
void launch(const char* name, void (*kernel)(Arguments...), int64_t blocks, int threads, void* stream,
            std::common_type_t<Arguments>... values) {
  if (blocks == 0) return;
  if (blocks > std::numeric_limits<int32_t>::max()) throw std::invalid_argument("the tensors are too large");
  void* arguments[] = {&values...};
  check(cudaLaunchKernel(reinterpret_cast<const void*>(kernel), dim3(static_cast<unsigned>(blocks)),
                         dim3(static_cast<unsigned>(threads)), arguments, 0, static_cast<cudaStream_t>(stream)),
        name);
}

}  // namespace drpass::cuda

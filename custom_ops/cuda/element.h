// Elements of tensors of float or float16. All that is computed is computed in float: only loads and stores convert. Which
// it is, is a flag and no type: all threads of a launch take the same branch, and most kernels are there once. Where the
// branch would cost registers the flag is a constant.
#pragma once

#include <cuda_fp16.h>

#include <cstdint>

namespace drpass::cuda {

__device__ inline float load_element(const void* data, bool half, int64_t index) {
  return half ? __half2float(static_cast<const __half*>(data)[index]) : static_cast<const float*>(data)[index];
}

// Four neighbours; `index` is a multiple of 4.
__device__ inline float4 load_quad(const void* data, bool half, int64_t index) {
  if (!half) return static_cast<const float4*>(data)[index / 4];
  const uint2 bits = static_cast<const uint2*>(data)[index / 4];
  const float2 low = __half22float2(*reinterpret_cast<const __half2*>(&bits.x));
  const float2 high = __half22float2(*reinterpret_cast<const __half2*>(&bits.y));
  return make_float4(low.x, low.y, high.x, high.y);
}

__device__ inline void store_element(void* data, bool half, int64_t index, float value) {
  if (half)
    static_cast<__half*>(data)[index] = __float2half_rn(value);
  else
    static_cast<float*>(data)[index] = value;
}

}  // namespace drpass::cuda

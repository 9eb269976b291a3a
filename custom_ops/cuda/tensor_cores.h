// The one instruction of tensor cores that is used: D += A * B of 16 x 8 and 8 x 8 elements of TF32, by a warp (PTX ISA,
// mma.m16n8k8). With r = lane / 4 and q = lane % 4 a lane has
//   A[r][q], A[r + 8][q], A[r][q + 4], A[r + 8][q + 4];   B[q][r], B[q + 4][r];
//   D[r][2q], D[r][2q + 1], D[r + 8][2q], D[r + 8][2q + 1].
#pragma once

#include <cuda_runtime.h>

namespace drpass::cuda {

// Whether this architecture has it. Tests define DRPASS_SOFTWARE_MMA, which does the same by shuffles, because their emulator
// has no tensor cores.
#if defined(DRPASS_SOFTWARE_MMA) || __CUDA_ARCH__ >= 800
constexpr bool kTensorCores = true;
#else
constexpr bool kTensorCores = false;
#endif

// The nearest number with 10 bits behind the point, ties away from zero.
__device__ inline float to_tf32(float value) {
#if __CUDA_ARCH__ >= 800
  unsigned bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(value));
  return __uint_as_float(bits);
#else
  const unsigned bits = __float_as_uint(value);
  return (bits >> 23 & 0xFF) == 0xFF ? value : __uint_as_float((bits + 0x1000) & ~0x1FFFu);
#endif
}

__device__ inline void multiply_tiles(const float (&a)[4], const float (&b)[2], float (&d)[4]) {
#if defined(DRPASS_SOFTWARE_MMA)
  const int row = threadIdx.x % 32 / 4, column = threadIdx.x % 4 * 2;
#pragma unroll
  for (int k = 0; k < 8; ++k)
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const float left = __shfl_sync(~0u, a[k / 4 * 2 + e / 2], row * 4 + k % 4);
      const float right = __shfl_sync(~0u, b[k / 4], (column + e % 2) * 4 + k % 4);
      d[e] = fmaf(left, right, d[e]);
    }
#elif __CUDA_ARCH__ >= 800
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
               "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(__float_as_uint(a[0])), "r"(__float_as_uint(a[1])), "r"(__float_as_uint(a[2])),
                 "r"(__float_as_uint(a[3])), "r"(__float_as_uint(b[0])), "r"(__float_as_uint(b[1])));
#endif
}

}  // namespace drpass::cuda

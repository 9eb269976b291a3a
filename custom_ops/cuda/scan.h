// A scan over the threads of a block.
#pragma once

namespace drpass::cuda {

constexpr int kScanThreads = 256;  // of a block

// The sum of `value` over the threads before this one; `total` is that over all.
__device__ inline int scan(int value, int* total) {
  __shared__ int warps[kScanThreads / 32];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  int sum = value;
  for (int step = 1; step < 32; step *= 2) {
    const int left = __shfl_up_sync(~0u, sum, step);
    if (lane >= step) sum += left;
  }
  if (lane == 31) warps[warp] = sum;
  __syncthreads();
  int before = 0;
  *total = 0;
  for (int i = 0; i < kScanThreads / 32; ++i) {
    if (i < warp) before += warps[i];
    *total += warps[i];
  }
  __syncthreads();
  return before + sum - value;
}

}  // namespace drpass::cuda

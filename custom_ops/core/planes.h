// Between blocks of 16 channels and planes, with vectors or, for the scalar reference, without.
#pragma once

#include "core/kernels/kernel_set.h"

namespace drpass {

// planes[c * plane_stride + i] = blocks[i * 16 + c] for c < channels. kernels: null for the reference.
void blocks_to_planes(const KernelSet* kernels, const float* blocks, int64_t pixels, int64_t channels, float* planes,
                      int64_t plane_stride);

// The same back; lanes from `channels` on become zero.
void planes_to_blocks(const KernelSet* kernels, const float* planes, int64_t plane_stride, int64_t pixels,
                      int64_t channels, float* blocks);

}  // namespace drpass

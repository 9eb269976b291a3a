#include "core/planes.h"

namespace drpass {

void blocks_to_planes(const KernelSet* kernels, const float* blocks, int64_t pixels, int64_t channels, float* planes,
                      int64_t plane_stride) {
  if (kernels) return kernels->to_planes(blocks, pixels, channels, planes, plane_stride);
  for (int64_t i = 0; i < pixels; ++i)
    for (int64_t c = 0; c < channels; ++c) planes[c * plane_stride + i] = blocks[i * kPanel + c];
}

void planes_to_blocks(const KernelSet* kernels, const float* planes, int64_t plane_stride, int64_t pixels,
                      int64_t channels, float* blocks) {
  if (kernels) return kernels->to_blocks(planes, plane_stride, pixels, channels, blocks);
  for (int64_t i = 0; i < pixels; ++i)
    for (int64_t c = 0; c < kPanel; ++c) blocks[i * kPanel + c] = c < channels ? planes[c * plane_stride + i] : 0.0f;
}

}  // namespace drpass

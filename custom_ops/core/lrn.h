// Local response normalisation across channels (ONNX LRN), for the networks of the paper: ONNX Runtime's own takes
// longer than their convolutions.
#pragma once

#include "core/kernels/kernel_set.h"
#include "core/resources.h"

namespace drpass {

struct LrnParameters {
  int64_t size = 1;
  float alpha = 1e-4f, beta = 0.75f, bias = 1.0f;
  Layout layout = Layout::planes;
};

// x and y are [images, channels, pixels]; in blocks [images, blocks, pixels, 16], where channels is 16 * blocks: lanes
// without a channel hold zero and change nothing. kernels: null for the scalar reference, in double.
void local_response_normalization(const LrnParameters& parameters, int64_t images, int64_t channels, int64_t pixels,
                                  const float* x, float* y, const KernelSet* kernels, Executor& executor,
                                  Memory& memory);

}  // namespace drpass

#include "core/lrn.h"

#include <algorithm>
#include <cmath>

namespace drpass {
namespace {

// One image, as the formula reads.
void reference(const LrnBlock& b) {
  for (int64_t c = 0; c < b.channels; ++c)
    for (int64_t p = 0; p < b.pixels; ++p) {
      double squares = 0;
      for (int64_t i = std::max<int64_t>(0, c - b.before); i <= std::min(b.channels - 1, c + b.after); ++i) {
        const double x = b.x[i * b.channel_stride + p];
        squares += x * x;
      }
      const double power = std::pow(b.bias + b.scale * squares, static_cast<double>(b.beta));
      b.y[c * b.channel_stride + p] = static_cast<float>(b.x[c * b.channel_stride + p] / power);
    }
}

}  // namespace

void local_response_normalization(const LrnParameters& parameters, int64_t images, int64_t channels, int64_t pixels,
                                  const float* x, float* y, const KernelSet* kernels, Executor& executor) {
  const int64_t blocks = (pixels + kBlock - 1) / kBlock;
  executor.run(static_cast<size_t>(images * blocks), [&](size_t index) {
    const int64_t image = static_cast<int64_t>(index) / blocks, first = static_cast<int64_t>(index) % blocks * kBlock;
    const int64_t offset = image * channels * pixels + first;
    LrnBlock block;
    block.x = x + offset;
    block.y = y + offset;
    block.channels = channels;
    block.channel_stride = pixels;
    block.pixels = std::min(kBlock, pixels - first);
    block.before = (parameters.size - 1) / 2;
    block.after = parameters.size / 2;
    block.scale = parameters.alpha / static_cast<float>(parameters.size);
    block.bias = parameters.bias;
    block.beta = parameters.beta;
    kernels ? kernels->lrn(block) : reference(block);
  });
}

}  // namespace drpass

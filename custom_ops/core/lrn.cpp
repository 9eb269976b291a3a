#include "core/lrn.h"

#include <algorithm>
#include <cmath>

namespace drpass {
namespace {

// One image, as the formula reads.
void reference(const LrnBlock& b) {
  const auto offset = [&b](int64_t c, int64_t p) {
    return b.blocked ? c / kPanel * b.channel_stride + p * kPanel + c % kPanel : c * b.channel_stride + p;
  };
  for (int64_t c = 0; c < b.channels; ++c)
    for (int64_t p = 0; p < b.pixels; ++p) {
      double squares = 0;
      for (int64_t i = std::max<int64_t>(0, c - b.before); i <= std::min(b.channels - 1, c + b.after); ++i) {
        const double x = b.x[offset(i, p)];
        squares += x * x;
      }
      const double power = std::pow(b.bias + b.scale * squares, static_cast<double>(b.beta));
      b.y[offset(c, p)] = static_cast<float>(b.x[offset(c, p)] / power);
    }
}

}  // namespace

void local_response_normalization(const LrnParameters& parameters, int64_t images, int64_t channels, int64_t pixels,
                                  const float* x, float* y, const KernelSet* kernels, Executor& executor,
                                  Memory& memory) {
  const int64_t blocks = (pixels + kBlock - 1) / kBlock;
  executor.run(static_cast<size_t>(images * blocks), [&](size_t index) {
    const int64_t image = static_cast<int64_t>(index) / blocks, first = static_cast<int64_t>(index) % blocks * kBlock;
    const bool blocked = parameters.layout == Layout::blocked;
    const int64_t offset = image * channels * pixels + first * (blocked ? kPanel : 1);
    LrnBlock block;
    block.x = x + offset;
    block.y = y + offset;
    block.channels = channels;
    block.channel_stride = blocked ? pixels * kPanel : pixels;
    block.blocked = blocked;
    block.pixels = std::min(kBlock, pixels - first);
    // What the window reaches beyond all channels adds nothing.
    block.before = std::min((parameters.size - 1) / 2, channels);
    block.after = std::min(parameters.size / 2, channels);
    block.scale = parameters.alpha / static_cast<float>(parameters.size);
    block.bias = parameters.bias;
    block.beta = parameters.beta;
    if (!kernels) return reference(block);
    Scratch<float> squares(memory, blocked ? kLrnPixels * lrn_line(block) : 0);
    std::fill(squares.data(), squares.data() + squares.size(), 0.0f);
    block.squares = squares.data();
    kernels->lrn(block);
  });
}

}  // namespace drpass

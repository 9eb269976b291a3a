// The input of a tile as the dense micro-kernel reads it, whatever the layout of X.
#pragma once

#include <memory>

#include "core/tile.h"

namespace drpass {

// Depth (taps times channels) of one pass over a tile: the patch then stays in L2 and a panel of weights in L1.
constexpr int64_t kDepth = 384;

class Patch {
 public:
  virtual ~Patch() = default;
  // Sets patch, lines and patch_stride for the depth [begin, end), where begin is a multiple of kDepth.
  virtual void bind(int64_t begin, int64_t end, DenseBlock& block) = 0;
};

// Panels that a patch must serve at least, for its copying not to be a notable part of the work.
int64_t panels_of_patch(const Geometry& geometry);

// target[i] = source[i * step]
void copy_spaced(const float* source, int64_t step, int64_t count, float* target);

// For the `count` channels (within the group) of `channels`; the patch must not outlive its arguments.
std::unique_ptr<Patch> make_patch(const Call& call, const Instance& instance, const Tile& tile, int64_t group,
                                  const int32_t* channels, int64_t count);

}  // namespace drpass

// The dense product of some channels of a group: all of them in `exact`, those of guarded sub-vectors else.
#pragma once

#include "core/cluster.h"
#include "core/patch.h"

namespace drpass {

// Channels (within the group) to be computed densely, and their weights as one stream.
struct DensePart {
  Scratch<int32_t> channels;
  int64_t count = 0;
  const float* weights = nullptr;  // panel 0; [taps * count][16]
  int64_t panel_stride = 0;
  Scratch<float> packed;  // holds the weights where only some channels are dense
};

// The dense channels of a group: those of sub-vectors without clusters.
DensePart make_dense_part(const Call& call, int64_t group, const Clusters* clusters);

// acc[tile][ld] = the dense part of the tile for panels [first_panel, first_panel + panels).
void dense_tile(const Call& call, const Instance& instance, const Tile& tile, int64_t group, const DensePart& part,
                int64_t first_panel, int64_t panels, float* acc, int64_t ld);

// The same for the first `rows` rows of a patch. With `finish` the result goes to Y, and acc is scratch.
void multiply_patch(const Call& call, Patch& patch, int64_t rows, const DensePart& part, int64_t first_panel,
                    int64_t panels, float* acc, int64_t ld, const Epilogue* finish);

}  // namespace drpass

// The dense part on CUDA: an implicit matrix product of output pixels and packed weights.
#pragma once

#include "cuda/view.h"

namespace drpass::cuda {

// What clustering left of every scope instance and group; all null where everything is dense.
struct DenseChannels {
  const int* channels;  // [instance * groups + group][Cg]: the channels to be computed densely, ascending
  const int* counts;    // [instance * groups + group]: how many
  const int* reused;    // [instance * groups + group]: sub-vector groups that have clusters
};

// Output pixels of all images in tiles of kTileEdge * kTileEdge on the last two axes; those at the end of an axis may be
// cut off. Tiles count through columns, rows, positions on axis 0 and images.
constexpr int kTileEdge = 4, kTilePixels = kTileEdge * kTileEdge;

struct TileGrid {
  int rows, columns;

  // The output pixel (through all images) that is pixel `i` of a tile; -1 where that is cut off.
  __device__ int pixel(const View& v, int tile, int i) const {
    const int x = tile % columns * kTileEdge + i % kTileEdge;
    tile /= columns;
    const int y = tile % rows * kTileEdge + i / kTileEdge;
    if (y >= v.out[1] || x >= v.out[2]) return -1;
    return (tile / rows * v.out[1] + y) * v.out[2] + x;
  }
};

// Tiles that are to be computed.
struct TileList {
  TileGrid grid;
  const int* tiles;
  const int* count;
};

// Writes all outputs. Where sub-vector groups have clusters the results go to the view's sums, bias, addend and activation
// are left to the reconstruction, and outputs without dense channels are not written.
void launch_dense(const View& view, const DenseChannels& dense, void* stream);

// Writes the outputs of listed tiles, of `most` that there may be, where there is one group, and never by tensor cores. An
// output is computed alike wherever its tile is in the list.
void launch_dense_tiles(const View& view, const TileList& list, int64_t most, void* stream);

}  // namespace drpass::cuda

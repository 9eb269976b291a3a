#include "core/dense.h"

#include <algorithm>
#include <cstring>

namespace drpass {
namespace {

// Depth (taps times channels) of one pass over a tile: the patch then stays in L2 and a panel of weights in L1.
constexpr int64_t kDepth = 384;

// Neighbours in a tile that neighbouring input pixels feed (or that are padding, offset -1).
struct Run {
  int32_t begin, length;
  int64_t offset;
};

// Where the input of every tap and pixel of a tile lies: offset of the pixel's first channel in X, -1 in the padding.
Scratch<int64_t> map_sources(const Call& call, const Instance& instance, const Tile& tile) {
  const Geometry& g = call.geometry;
  Scratch<int64_t> sources(call.memory, g.taps() * kTile);
  PixelWalk walk(g, tile.first);
  for (int64_t i = 0; i < tile.count; ++i, walk.next()) {
    std::array<int64_t, 3> base;
    for (int slot = 0; slot < 3; ++slot) base[slot] = walk.at[slot] * g.stride[slot] - g.pad[slot];
    const int64_t image = (instance.first_image + walk.image) * g.x_image;
    int64_t* column = sources.data() + i;
    for (int64_t a = 0; a < g.kernel[0]; ++a) {
      const int64_t z = base[0] + a * g.dilation[0];
      for (int64_t b = 0; b < g.kernel[1]; ++b) {
        const int64_t y = base[1] + b * g.dilation[1];
        const bool row_inside = z >= 0 && z < g.in[0] && y >= 0 && y < g.in[1];
        const int64_t row = (z * g.in[1] + y) * g.in[2];
        for (int64_t c = 0; c < g.kernel[2]; ++c, column += kTile) {
          const int64_t x = base[2] + c * g.dilation[2];
          *column = row_inside && x >= 0 && x < g.in[2] ? image + (row + x) * g.x_pixel : -1;
        }
      }
    }
  }
  return sources;
}

// The runs of one tap; columns from count to `rows` are padding.
int64_t find_runs(const int64_t* sources, int64_t count, int64_t rows, Run* runs) {
  int64_t found = 0;
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t offset = i < count ? sources[i] : -1;
    Run* last = found ? &runs[found - 1] : nullptr;
    if (last && (offset < 0 ? last->offset < 0 : last->offset >= 0 && last->offset + last->length == offset))
      ++last->length;
    else
      runs[found++] = {static_cast<int32_t>(i), 1, offset};
  }
  return found;
}

void copy_runs(const float* channel, const Run* runs, int64_t count, float* row) {
  for (int64_t r = 0; r < count; ++r) {
    float* target = row + runs[r].begin;
    if (runs[r].offset < 0)
      for (int32_t i = 0; i < runs[r].length; ++i) target[i] = 0.0f;
    else
      for (int32_t i = 0; i < runs[r].length; ++i) target[i] = channel[runs[r].offset + i];
  }
}

}  // namespace

DensePart make_dense_part(const Call& call, int64_t group, const Clusters* clusters) {
  const Geometry& g = call.geometry;
  const int64_t channels = g.group_channels(), taps = g.taps(), panels = g.panels();
  const float* weights = call.tensors.w + group * panels * taps * channels * kPanel;
  DensePart part;
  part.channels = Scratch<int32_t>(call.memory, channels);
  for (int64_t c = 0; c < channels; ++c)
    if (clusters[c / g.sub_vector_length].count < 0) part.channels[part.count++] = static_cast<int32_t>(c);
  part.panel_stride = taps * part.count * kPanel;
  part.weights = weights;
  if (part.count == 0 || part.count == channels) return part;

  part.packed = Scratch<float>(call.memory, panels * part.panel_stride);
  float* target = part.packed.data();
  for (int64_t row = 0; row < panels * taps; ++row)
    for (int64_t i = 0; i < part.count; ++i, target += kPanel)
      std::memcpy(target, weights + (row * channels + part.channels[i]) * kPanel, kPanel * sizeof(float));
  part.weights = part.packed.data();
  return part;
}

void dense_tile(const Call& call, const Instance& instance, const Tile& tile, int64_t group, const DensePart& part,
                int64_t first_panel, int64_t panels, float* acc, int64_t ld) {
  const Geometry& g = call.geometry;
  const int64_t depth = g.taps() * part.count;
  const int64_t rows = (tile.count + call.kernels.rows - 1) / call.kernels.rows * call.kernels.rows;
  const float* x = call.tensors.x + group * g.group_channels() * g.x_channel;
  if (depth == 0) return std::fill(acc, acc + tile.count * ld, 0.0f);
  const Scratch<int64_t> sources = map_sources(call, instance, tile);
  Scratch<float> patch(call.memory, (depth < kDepth ? depth : kDepth) * kTile);
  Run runs[kTile];
  int64_t run_count = 0, run_tap = -1;
  for (int64_t begin = 0; begin < depth; begin += kDepth) {
    const int64_t end = begin + kDepth < depth ? begin + kDepth : depth;
    for (int64_t k = begin; k < end; ++k) {
      const int64_t tap = k / part.count;
      if (tap != run_tap) run_count = find_runs(sources.data() + (run_tap = tap) * kTile, tile.count, rows, runs);
      copy_runs(x + part.channels[k % part.count] * g.x_channel, runs, run_count, patch.data() + (k - begin) * kTile);
    }
    DenseBlock block;
    block.patch = patch.data();
    block.weights = part.weights + first_panel * part.panel_stride + begin * kPanel;
    block.panel_stride = part.panel_stride;
    block.depth = end - begin;
    block.panels = panels;
    block.rows = rows;
    block.acc = acc;
    block.ld = ld;
    block.first = begin == 0;
    call.kernels.dense(block);
  }
}

}  // namespace drpass

#include "core/dense.h"

#include <algorithm>
#include <cstring>
#include <memory>

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

// The runs of one tap; input pixels lie `stride` apart.
int64_t find_runs(const int64_t* sources, int64_t count, int64_t stride, Run* runs) {
  int64_t found = 0;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t offset = sources[i];
    Run* last = found ? &runs[found - 1] : nullptr;
    if (last && (offset < 0 ? last->offset < 0 : last->offset >= 0 && last->offset + last->length * stride == offset))
      ++last->length;
    else
      runs[found++] = {static_cast<int32_t>(i), 1, offset};
  }
  return found;
}

void copy_runs(const float* channel, int64_t stride, const Run* runs, int64_t count, float* row) {
  for (int64_t r = 0; r < count; ++r) {
    float* target = row + runs[r].begin;
    const float* source = channel + runs[r].offset;
    if (runs[r].offset < 0)
      for (int32_t i = 0; i < runs[r].length; ++i) target[i] = 0.0f;
    else if (stride == 1)
      for (int32_t i = 0; i < runs[r].length; ++i) target[i] = source[i];
    else
      for (int32_t i = 0; i < runs[r].length; ++i) target[i] = source[i * stride];
  }
}

// The tile as the micro-kernel reads it, kDepth of its depth at a time, however X lies in memory.
class Patch {
 public:
  virtual ~Patch() = default;
  // Sets patch, patch_stride and blocked for the depth [begin, end).
  virtual void bind(int64_t begin, int64_t end, DenseBlock& block) = 0;
};

// Any channels of any layout: one line of pixels for every tap and channel.
class GatheredPatch : public Patch {
 public:
  GatheredPatch(const Call& call, const Instance& instance, const Tile& tile, int64_t group, const DensePart& part)
      : g_(call.geometry),
        x_(call.tensors.x),
        first_channel_(group * g_.group_channels()),
        part_(part),
        count_(tile.count),
        sources_(map_sources(call, instance, tile)),
        lines_(call.memory, std::min(g_.taps() * part.count, kDepth) * kTile) {}

  void bind(int64_t begin, int64_t end, DenseBlock& block) override {
    for (int64_t k = begin; k < end; ++k) {
      const int64_t tap = k / part_.count, channel = first_channel_ + part_.channels[k % part_.count];
      if (tap != run_tap_) run_count_ = find_runs(&sources_[(run_tap_ = tap) * kTile], count_, g_.x_pixel, runs_);
      copy_runs(x_ + g_.x_offset(channel), g_.x_pixel, runs_, run_count_, &lines_[(k - begin) * kTile]);
    }
    block.patch = lines_.data();
    block.patch_stride = kTile;
    block.blocked = false;
  }

 private:
  const Geometry& g_;
  const float* x_;
  int64_t first_channel_;
  const DensePart& part_;
  int64_t count_;
  Scratch<int64_t> sources_;
  Scratch<float> lines_;
  Run runs_[kTile];
  int64_t run_count_ = 0, run_tap_ = -1;
};

// All channels of a blocked X: 16 channels of a pixel are copied at a time.
class BlockedPatch : public Patch {
 public:
  BlockedPatch(const Call& call, const Instance& instance, const Tile& tile, int64_t group)
      : g_(call.geometry),
        x_(call.tensors.x + g_.x_offset(group * g_.group_channels())),
        count_(tile.count),
        sources_(map_sources(call, instance, tile)),
        lines_(call.memory, std::min(g_.taps() * g_.group_channels(), kDepth) * kTile) {}

  void bind(int64_t begin, int64_t end, DenseBlock& block) override {
    float* target = lines_.data();
    for (int64_t k = begin; k < end; k += kPanel, target += kTile * kPanel) {
      const int64_t tap = k / g_.group_channels(), channel = k % g_.group_channels();
      const float* x = x_ + channel / kPanel * g_.x_channel;
      for (int64_t i = 0; i < count_; ++i) {
        const int64_t source = sources_[tap * kTile + i];
        if (source < 0)
          std::fill(target + i * kPanel, target + (i + 1) * kPanel, 0.0f);
        else
          std::memcpy(target + i * kPanel, x + source, kPanel * sizeof(float));
      }
    }
    block.patch = lines_.data();
    block.patch_stride = kTile * kPanel;
    block.blocked = true;
  }

 private:
  const Geometry& g_;
  const float* x_;
  int64_t count_;
  Scratch<int64_t> sources_;
  Scratch<float> lines_;
};

// A blocked X whose pixels are those of Y, within one image: nothing to copy.
class PatchInPlace : public Patch {
 public:
  PatchInPlace(const Call& call, const Instance& instance, const Tile& tile, int64_t group)
      : stride_(call.geometry.x_channel) {
    const Geometry& g = call.geometry;
    const int64_t image = instance.first_image + tile.first / g.pixels(), pixel = tile.first % g.pixels();
    x_ = call.tensors.x + image * g.x_image + g.x_offset(group * g.group_channels()) + pixel * g.x_pixel;
  }
  void bind(int64_t begin, int64_t, DenseBlock& block) override {
    block.patch = x_ + begin / kPanel * stride_;
    block.patch_stride = stride_;
    block.blocked = true;
  }

 private:
  int64_t stride_;
  const float* x_;
};

bool is_pointwise(const Geometry& g) {
  return g.taps() == 1 && g.in == g.out && g.stride == std::array<int64_t, 3>{1, 1, 1} &&
         g.pad == std::array<int64_t, 3>{0, 0, 0};
}

std::unique_ptr<Patch> make_patch(const Call& call, const Instance& instance, const Tile& tile, int64_t group,
                                  const DensePart& part) {
  const Geometry& g = call.geometry;
  const bool all = part.count == g.group_channels();
  if (g.x_layout == Layout::blocked && all) {
    if (is_pointwise(g) && tile.first / g.pixels() == (tile.first + tile.count - 1) / g.pixels())
      return std::make_unique<PatchInPlace>(call, instance, tile, group);
    if (g.group_channels() % kPanel == 0) return std::make_unique<BlockedPatch>(call, instance, tile, group);
  }
  return std::make_unique<GatheredPatch>(call, instance, tile, group, part);
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
  if (depth == 0) return std::fill(acc, acc + tile.count * ld, 0.0f);
  const std::unique_ptr<Patch> patch = make_patch(call, instance, tile, group, part);
  for (int64_t begin = 0; begin < depth; begin += kDepth) {
    const int64_t end = begin + kDepth < depth ? begin + kDepth : depth;
    DenseBlock block;
    patch->bind(begin, end, block);
    block.weights = part.weights + first_panel * part.panel_stride + begin * kPanel;
    block.panel_stride = part.panel_stride;
    block.depth = end - begin;
    block.panels = panels;
    block.rows = tile.count;
    block.acc = acc;
    block.ld = ld;
    block.first = begin == 0;
    call.kernels.dense(block);
  }
}

}  // namespace drpass

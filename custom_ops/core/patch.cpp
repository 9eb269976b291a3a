#include "core/patch.h"

#include <algorithm>
#include <cstring>

namespace drpass {
namespace {

// Neighbours in a tile that equidistant input pixels of one row feed; offset -1: the padding does.
struct Run {
  int64_t begin, length, offset;
};

// Where the input of a tile lies, tap by tap: the tile is cut into parts of output rows, and a tap reads each of them
// from a part of an input row, with padding on either side.
class Sources {
 public:
  Sources(const Call& call, const Instance& instance, const Tile& tile) : g_(call.geometry) {
    PixelWalk walk(g_, tile.first);
    for (int64_t i = 0; i < tile.count;) {
      const int64_t length = std::min(tile.count - i, g_.out[2] - walk.at[2]);
      parts_[count_++] = {instance.image(walk.image) * g_.x_image, walk.at, i, length};
      i += length;
      walk.at[2] += length - 1;
      walk.next();
    }
  }

  // Distance between the input pixels of a run.
  int64_t step() const { return g_.stride[2] * g_.x_pixel; }

  const Run* begin() const { return runs_; }
  const Run* end() const { return runs_ + run_count_; }

  void select(int64_t tap) {
    if (tap == tap_) return;
    tap_ = tap;
    run_count_ = 0;
    const int64_t column = tap % g_.kernel[2], row = tap / g_.kernel[2];
    const int64_t x = column * g_.dilation[2] - g_.pad[2];  // of output column 0
    // Output columns [low, high) read within the row.
    const int64_t low = x >= 0 ? 0 : (-x + g_.stride[2] - 1) / g_.stride[2];
    const int64_t high = x >= g_.in[2] ? 0 : (g_.in[2] - 1 - x) / g_.stride[2] + 1;
    for (const Part* part = parts_; part < parts_ + count_; ++part) {
      const int64_t y = input_row(*part, 1, row % g_.kernel[1]), z = input_row(*part, 0, row / g_.kernel[1]);
      const bool inside = y >= 0 && y < g_.in[1] && z >= 0 && z < g_.in[0];
      const int64_t from = part->at[2], to = from + part->length;
      const int64_t first = inside ? std::clamp(low, from, to) : to, last = inside ? std::clamp(high, first, to) : to;
      add(part->begin, first - from, -1);
      const int64_t pixel = (z * g_.in[1] + y) * g_.in[2] + first * g_.stride[2] + x;
      add(part->begin + first - from, last - first, part->image + pixel * g_.x_pixel);
      add(part->begin + last - from, to - last, -1);
    }
  }

 private:
  struct Part {
    int64_t image;  // offset in X
    std::array<int64_t, 3> at;
    int64_t begin, length;
  };

  int64_t input_row(const Part& part, int slot, int64_t offset) const {
    return part.at[slot] * g_.stride[slot] - g_.pad[slot] + offset * g_.dilation[slot];
  }

  void add(int64_t begin, int64_t length, int64_t offset) {
    if (length > 0) runs_[run_count_++] = {begin, length, offset};
  }

  const Geometry& g_;
  Part parts_[kTile];
  Run runs_[3 * kTile];
  int64_t count_ = 0, run_count_ = 0, tap_ = -1;
};

// One line after the other.
struct Lines {
  int32_t offset[kDepth] = {};
  constexpr Lines() {
    for (int32_t k = 0; k < kDepth; ++k) offset[k] = k * static_cast<int32_t>(kTile);
  }
};
constexpr Lines kLines{};

// Any channels of any layout: one line of pixels for every tap and channel.
class GatheredPatch : public Patch {
 public:
  GatheredPatch(const Call& call, const Instance& instance, const Tile& tile, int64_t group, const int32_t* channels,
                int64_t count)
      : g_(call.geometry),
        x_(call.tensors.x),
        first_channel_(group * g_.group_channels()),
        channels_(channels),
        count_(count),
        sources_(call, instance, tile),
        lines_(call.memory, std::min(g_.taps() * count, kDepth) * kTile) {}

  void bind(int64_t begin, int64_t end, DenseBlock& block) override {
    float* line = lines_.data();
    for (int64_t k = begin; k < end; ++k, line += kTile) {
      sources_.select(k / count_);
      const float* x = x_ + g_.x_offset(first_channel_ + channels_[k % count_]);
      for (const Run& run : sources_) copy(run, x, line + run.begin);
    }
    block.patch = lines_.data();
    block.lines = kLines.offset;
  }

 private:
  void copy(const Run& run, const float* x, float* target) const {
    if (run.offset < 0)
      std::fill(target, target + run.length, 0.0f);
    else
      copy_spaced(x + run.offset, sources_.step(), run.length, target);
  }

  const Geometry& g_;
  const float* x_;
  int64_t first_channel_;
  const int32_t* channels_;
  int64_t count_;
  Sources sources_;
  Scratch<float> lines_;
};

// All channels of a blocked X, in whole blocks: 16 channels of a pixel are copied at a time.
class BlockedPatch : public Patch {
 public:
  BlockedPatch(const Call& call, const Instance& instance, const Tile& tile, int64_t group)
      : g_(call.geometry),
        x_(call.tensors.x + g_.x_offset(group * g_.group_channels())),
        sources_(call, instance, tile),
        lines_(call.memory, std::min(g_.taps() * g_.group_channels(), kDepth) * kTile) {}

  void bind(int64_t begin, int64_t end, DenseBlock& block) override {
    float* lines = lines_.data();
    for (int64_t k = begin; k < end; k += kPanel, lines += kTile * kPanel) {
      sources_.select(k / g_.group_channels());
      const float* x = x_ + k % g_.group_channels() / kPanel * g_.x_channel;
      for (const Run& run : sources_) copy(run, x + run.offset, lines + run.begin * kPanel);
    }
    block.patch = lines_.data();
    block.patch_stride = kTile * kPanel;
    block.lines = nullptr;
  }

 private:
  void copy(const Run& run, const float* source, float* target) const {
    if (run.offset < 0) return std::fill(target, target + run.length * kPanel, 0.0f);
    const int64_t step = sources_.step();
    for (int64_t i = 0; i < run.length; ++i, target += kPanel, source += step) {
      __builtin_prefetch(source + 16 * step);
      std::memcpy(target, source, kPanel * sizeof(float));
    }
  }

  const Geometry& g_;
  const float* x_;
  Sources sources_;
  Scratch<float> lines_;
};

// A blocked X whose pixels are those of Y, within one image: nothing to copy.
class PatchInPlace : public Patch {
 public:
  PatchInPlace(const Call& call, const Instance& instance, const Tile& tile, int64_t group)
      : stride_(call.geometry.x_channel) {
    const Geometry& g = call.geometry;
    const int64_t image = instance.image(tile.first / g.pixels()), pixel = tile.first % g.pixels();
    x_ = call.tensors.x + image * g.x_image + g.x_offset(group * g.group_channels()) + pixel * g.x_pixel;
  }
  void bind(int64_t begin, int64_t, DenseBlock& block) override {
    block.patch = x_ + begin / kPanel * stride_;
    block.patch_stride = stride_;
    block.lines = nullptr;
  }

 private:
  int64_t stride_;
  const float* x_;
};

bool is_pointwise(const Geometry& g) {
  return g.taps() == 1 && g.in == g.out && g.stride == std::array<int64_t, 3>{1, 1, 1} &&
         g.pad == std::array<int64_t, 3>{0, 0, 0};
}

}  // namespace

int64_t panels_of_patch(const Geometry& g) {
  if (g.x_layout != Layout::blocked || g.group_channels() % kPanel != 0) return 16;
  return is_pointwise(g) ? 2 : 8;
}

// A constant step becomes vector code.
void copy_spaced(const float* source, int64_t step, int64_t count, float* target) {
  if (step == 1) {
    std::copy(source, source + count, target);
  } else if (step == 2) {
    for (int64_t i = 0; i < count; ++i) target[i] = source[i * 2];
  } else if (step == 4) {
    for (int64_t i = 0; i < count; ++i) target[i] = source[i * 4];
  } else {
    for (int64_t i = 0; i < count; ++i) target[i] = source[i * step];
  }
}

std::unique_ptr<Patch> make_patch(const Call& call, const Instance& instance, const Tile& tile, int64_t group,
                                  const int32_t* channels, int64_t count) {
  const Geometry& g = call.geometry;
  if (g.x_layout == Layout::blocked && count == g.group_channels()) {
    if (is_pointwise(g) && tile.first / g.pixels() == (tile.first + tile.count - 1) / g.pixels())
      return std::make_unique<PatchInPlace>(call, instance, tile, group);
    if (count % kPanel == 0) return std::make_unique<BlockedPatch>(call, instance, tile, group);
  }
  return std::make_unique<GatheredPatch>(call, instance, tile, group, channels, count);
}

}  // namespace drpass

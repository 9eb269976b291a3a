#include "core/strips.h"

#include <algorithm>

#include "core/direct.h"

namespace drpass {
namespace {

// Floats of a copy, at most: together with the weights it stays in L2.
constexpr int64_t kCopy = 32 * 1024;
// Of the weights, at most: they are read again for every output row.
constexpr int64_t kWeights = 64 * 1024;
// Shorter rows would leave multipliers idle: a tile would have less pixels than the micro-kernel takes.
constexpr int64_t kShortest = 8;
// Longer rows are cut: a multiple of kTile.
constexpr int64_t kLongest = 5 * kTile;

// Elements between the first and the last tap along an axis.
int64_t reach(const Geometry& g, int slot) { return (g.kernel[slot] - 1) * g.dilation[slot]; }

class StripPatch : public Patch {
 public:
  StripPatch(const Call& call, const Strips& strips, int64_t group)
      : g_(call.geometry),
        strips_(strips),
        x_(call.tensors.x + g_.x_offset(group * g_.group_channels())),
        copy_(call.memory, g_.group_channels() * strips.rows * row()),
        lines_(call.memory, g_.taps() * g_.group_channels()) {
    int32_t* line = lines_.data();
    for (int64_t tap = 0; tap < g_.taps(); ++tap) {
      const int64_t y = tap / g_.kernel[2] * g_.dilation[1], x = tap % g_.kernel[2] * g_.dilation[2];
      for (int64_t c = 0; c < g_.group_channels(); ++c)
        *line++ = static_cast<int32_t>((c * strips.rows + y) * row() + x % g_.stride[2] * strips.line +
                                       x / g_.stride[2]);
    }
  }

  // Copies what `outputs` output rows of an image from (y, x) on read.
  void load(int64_t image, int64_t y, int64_t x, int64_t outputs) {
    const int64_t rows = (outputs - 1) * g_.stride[1] + reach(g_, 1) + 1;
    const int64_t top = y * g_.stride[1] - g_.pad[1], left = x * g_.stride[2] - g_.pad[2];
    for (int64_t c = 0; c < g_.group_channels(); ++c)
      for (int64_t i = 0; i < rows; ++i) {
        const bool inside = top + i >= 0 && top + i < g_.in[1];
        const float* source = inside ? x_ + image * g_.x_image + c * g_.x_channel + (top + i) * g_.in[2] : nullptr;
        float* target = copy_.data() + (c * strips_.rows + i) * row();
        for (int64_t k = 0; k < strips_.lines; ++k, target += strips_.line) copy_line(source, left + k, target);
      }
  }

  // Selects the tile that begins in output row y, column x of the strip.
  void select(int64_t y, int64_t x) { patch_ = copy_.data() + y * g_.stride[1] * row() + x; }

  void bind(int64_t begin, int64_t, DenseBlock& block) override {
    block.patch = patch_;
    block.lines = lines_.data() + begin;
  }

 private:
  int64_t row() const { return strips_.lines * strips_.line; }

  // Every s-th column of an input row from `first` on; zero where there is none, and where `source` is null.
  void copy_line(const float* source, int64_t first, float* target) const {
    const int64_t step = g_.stride[2], line = strips_.line;
    const int64_t begin = first < 0 ? std::min(divide_up(-first, step), line) : 0;
    const int64_t left = source ? std::max<int64_t>(g_.in[2] - first, 0) : 0;
    const int64_t end = std::clamp(divide_up(left, step), begin, line);
    std::fill(target, target + begin, 0.0f);
    if (begin < end) copy_spaced(source + first + begin * step, step, end - begin, target + begin);
    std::fill(target + end, target + line, 0.0f);
  }

  const Geometry& g_;
  const Strips& strips_;
  const float* x_;
  Scratch<float> copy_;
  Scratch<int32_t> lines_;
  const float* patch_ = nullptr;
};

}  // namespace

std::optional<Strips> cut_strips(const Geometry& g) {
  const bool overlap = reach(g, 1) >= g.stride[1] && reach(g, 2) > 0;  // else every input is read from one place
  if (!overlap || !g.convolution || g.x_layout != Layout::planes || g.kernel[0] != 1 || g.in[0] != 1 || g.out[0] != 1 ||
      g.group_channels() == 0 || g.out[2] < kShortest || reach(g, 1) >= kCopy || reach(g, 2) >= kCopy ||
      g.taps() * g.group_channels() * g.panels() * kPanel > kWeights)
    return std::nullopt;
  Strips s;
  s.columns = std::min(g.out[2], kLongest);
  s.lines = std::min(g.stride[2], reach(g, 2) + 1);
  s.line = s.columns + reach(g, 2) / g.stride[2];
  const int64_t most = kCopy / (g.group_channels() * s.lines * s.line) - reach(g, 1) - 1;  // input rows, after the first
  if (most < 0) return std::nullopt;
  const int64_t work = s.columns * g.taps() * g.group_channels() * g.panels() * kPanel;  // of an output row
  const int64_t wanted = std::max(divide_up(kTaskWork, work), divide_up(g.images * g.out[1], kTasks));
  s.outputs = std::clamp<int64_t>(wanted, 1, std::min(most / g.stride[1] + 1, std::max<int64_t>(g.out[1], 1)));
  s.rows = (s.outputs - 1) * g.stride[1] + reach(g, 1) + 1;
  return s;
}

void run_strips(const Call& call, const Instance& instance, int64_t group, const DensePart& dense, const Strips& strips,
                Executor& executor) {
  const Geometry& g = call.geometry;
  const int64_t down = divide_up(g.out[1], strips.outputs), across = divide_up(g.out[2], strips.columns);
  executor.run(instance.images * down * across, [&](size_t index) {
    const int64_t task = static_cast<int64_t>(index), image = task / (down * across);
    const int64_t top = task / across % down * strips.outputs, left = task % across * strips.columns;
    const int64_t rows = std::min(strips.outputs, g.out[1] - top), columns = std::min(strips.columns, g.out[2] - left);
    Scratch<float> acc(call.memory, kTile * g.panels() * kPanel);
    StripPatch patch(call, strips, group);
    {
      const StageTimer timer(call.stages, Stage::gemm);
      patch.load(instance.image(image), top, left, rows);
    }
    for (int64_t y = 0; y < rows; ++y)
      for (int64_t x = 0; x < columns; x += kTile) {
        const int64_t pixel = (image * g.out[1] + top + y) * g.out[2] + left + x;
        patch.select(y, x);
        direct_tile(call, instance, {pixel, std::min(kTile, columns - x)}, group, dense, patch, 0, g.panels(),
                    acc.data());
      }
  });
}

}  // namespace drpass

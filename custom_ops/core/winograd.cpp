#include "core/winograd.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <vector>

namespace drpass {
namespace {

// Transformed weights of a whole layer up to this size are computed once a call and shared by all tasks, which then work
// on a few tiles each, whose transformed inputs stay in L2. Larger ones would cost too much memory.
constexpr int64_t kSharedWeightBytes = 5 * 1024 * 1024;
constexpr int64_t kTilesToShare = 40;  // fewer are too few to be divided among threads
constexpr int64_t kTileInputBytes = 256 * 1024;
// Else the inputs of many tiles are kept (they are read once for every panel, so they need not stay in L2), and a task
// transforms the weights of some channels at a time, which stay in L2 together with the products of its tiles.
constexpr int64_t kInputBytes = 4096 * 1024;
constexpr int64_t kProductBytes = 384 * 1024;
constexpr int64_t kChannels = 64;
// Blocks of tiles whose images are copied from and to planes at a time: those of a small layer stay in L2.
constexpr int64_t kCopiedBlocks = 3;
// With at least as many groups of such images each is a task from planes to planes.
constexpr int64_t kPartsToSpread = 4;
// Tiles whose inputs are transformed in one task.
constexpr int64_t kInputTiles = 8;

int64_t tiles_of(const Geometry& g, const WinogradForm& form) {
  return divide_up(g.out[1], form.tile()) * divide_up(g.out[2], form.tile());
}

// Vector instructions: products, and transforms with their loads and stores, which take twice as long, because they go
// through L2 (measured from 3 to 512 channels and from 4x4 to 224x224 pixels).
DenseCost winograd_cost(const Geometry& g, const WinogradForm& form) {
  const int64_t n = form.window, m = form.tile(), r = form.taps, tiles = tiles_of(g, form);
  const int64_t products = tiles * form.points() * g.group_channels() * g.panels();
  const int64_t inputs = tiles * g.blocks() * 2 * (n * 2 * n + n * n);
  const int64_t outputs = tiles * g.panels() * ((n + m) * 2 * n + n * n + m * m);
  const int64_t weights = g.group_channels() * g.panels() * ((r + n) * r * 2 + n * n + r * r);
  return {products + 2 * (inputs + outputs), 2 * weights};
}

// The same for the direct product of one image: the reading of inputs and the epilogue take 15 % more (measured).
int64_t direct_cost(const Geometry& g) {
  return g.output_pixels() * g.taps() * g.group_channels() * g.panels() * 23 / 20;
}

// Transformed inputs of some tiles: point p of block k of tile i at v[p * point_stride + (k * count + i) * 16].
struct Inputs {
  float* v;
  int64_t point_stride;
  const int32_t* tiles;  // [count]
  int64_t count;
};

// Transformed weights of a pair of panels, the first of which is `panel` of the layout that begins at u.
struct Weights {
  const float* u;
  WinogradLayout layout;
  int64_t panel;
};

struct TileAt {
  int64_t image, y, x;    // image within the instance; first output pixel
  int64_t rows, columns;  // of outputs: fewer at the lower and right edge
};

class Winograd {
 public:
  Winograd(const Call& call, const Instance& instance, int64_t group, const WinogradForm& form, const DensePart& dense,
           Executor& executor)
      : call_(call),
        g_(call.geometry),
        instance_(instance),
        group_(group),
        form_(form),
        dense_(dense),
        executor_(executor),
        columns_(divide_up(g_.out[2], form.tile())),
        tiles_(tiles_of(g_, form)),
        layout_{form.points(), g_.group_channels(), g_.panels()},
        weights_(call.kept.winograd_weights),
        bias_(call.memory, g_.panels() * kPanel) {
    const float* bias = call.tensors.bias;
    for (int64_t m = 0; m < g_.panels() * kPanel; ++m)
      bias_[m] = bias && m < g_.group_outputs() ? bias[group * g_.group_outputs() + m] : 0.0f;
    const int64_t weight_bytes = form.points() * g_.group_channels() * g_.panels() * kPanel * 4;
    const int64_t input_bytes = form.points() * g_.blocks() * kPanel * 4;  // of one tile
    share_ = weights_ || (weight_bytes <= kSharedWeightBytes && instance.images * tiles_ >= kTilesToShare);
    task_tiles_ = kProductBytes / (form.points() * kPanelPair * kPanel * 4) / 12 * 12;
    const int64_t kept = (share_ ? kTileInputBytes : kInputBytes) / input_bytes / 12 * 12;
    block_tiles_ = std::clamp<int64_t>(kept, 12, task_tiles_);
  }

  // Images that are converted from or to planes are worked on a few at a time, so that the copies stay in the caches.
  void run() {
    if (share_ && !weights_) transform_all_weights();
    const bool converts = g_.x_layout == Layout::planes || g_.y_layout == Layout::planes;
    const int64_t all = instance_.images;
    const int64_t images = converts ? std::min(all, divide_up(kCopiedBlocks * block_tiles_, tiles_)) : all;
    const int64_t parts = divide_up(all, images);
    const auto run_part = [&](Winograd& on, int64_t part) {
      on.run_images(part * images, std::min(images, all - part * images));
    };
    if (!share_ || images == 1 || parts < kPartsToSpread) {
      for (int64_t part = 0; part < parts; ++part) run_part(*this, part);
      return;
    }
    executor_.run(parts, [&](size_t part) {
      SerialExecutor serial;
      Winograd own(*this, serial);
      run_part(own, static_cast<int64_t>(part));
    });
  }

 private:
  // The same on another executor, with these transformed weights.
  Winograd(const Winograd& other, Executor& executor)
      : Winograd(other.call_, other.instance_, other.group_, other.form_, other.dense_, executor) {
    weights_ = other.weights_;
  }

  void run_images(int64_t first, int64_t images) {
    first_ = first;
    if (g_.x_layout == Layout::planes)
      x_ = Scratch<float>(call_.memory, images * g_.blocks() * g_.pixels() * kPanel);
    if (g_.y_layout == Layout::planes)
      y_ = Scratch<float>(call_.memory, images * g_.panels() * g_.output_pixels() * kPanel);
    if (x_.size()) read_planes(images);
    const std::vector<int32_t> tiles = uses_memo() ? recall(images * tiles_) : all_tiles(images * tiles_);
    share_ ? run_tile_blocks(tiles) : run_panels(tiles);
    if (uses_memo()) remember(tiles);
    if (y_.size()) write_planes(images);
  }

  // Tasks are blocks of tiles, at least a few where there are as many tiles.
  void run_tile_blocks(const std::vector<int32_t>& tiles) {
    const int64_t all = static_cast<int64_t>(tiles.size());
    const int64_t blocks = std::max(divide_up(all, block_tiles_), (all < 24 ? divide_up(all, 8) : 4));
    executor_.run(blocks, [&](size_t task) {
      const int64_t block = static_cast<int64_t>(task), first = all * block / blocks;
      const int64_t count = all * (block + 1) / blocks - first;
      Scratch<float> room;
      const Inputs inputs = make_inputs(tiles.data() + first, count, room);
      transform_inputs(inputs, 0, count);
      Scratch<float> products(call_.memory, form_.points() * product_stride(count, kPanelPair));
      for (int64_t panel = 0; panel < g_.panels(); panel += kPanelPair) {
        const int64_t panels = std::min(kPanelPair, g_.panels() - panel);
        multiply(inputs, {weights_, layout_, panel}, 0, g_.group_channels(), panels, products.data());
        transform_outputs(inputs, panel, panels, products.data());
      }
    });
  }

  // The inputs of a block of tiles are transformed first; then tasks are panels.
  void run_panels(const std::vector<int32_t>& tiles) {
    const int64_t all = static_cast<int64_t>(tiles.size());
    for (int64_t first = 0; first < all; first += block_tiles_) {
      const int64_t count = std::min(block_tiles_, all - first);
      Scratch<float> room;
      const Inputs inputs = make_inputs(tiles.data() + first, count, room);
      executor_.run(divide_up(count, kInputTiles), [&](size_t task) {
        const int64_t begin = static_cast<int64_t>(task) * kInputTiles;
        transform_inputs(inputs, begin, std::min(count, begin + kInputTiles));
      });
      executor_.run(divide_up(g_.panels(), kPanelPair), [&](size_t task) {
        const int64_t panel = static_cast<int64_t>(task) * kPanelPair;
        run_panel_pair(inputs, panel, std::min(kPanelPair, g_.panels() - panel));
      });
    }
  }

  void run_panel_pair(const Inputs& inputs, int64_t panel, int64_t panels) {
    const int64_t channels = g_.group_channels();
    Scratch<float> products(call_.memory, form_.points() * product_stride(inputs.count, panels));
    if (weights_) {
      multiply(inputs, {weights_, layout_, panel}, 0, channels, panels, products.data());
    } else {
      Scratch<float> weights(call_.memory, WinogradLayout{form_.points(), std::min(channels, kChannels), panels}.size());
      for (int64_t channel = 0; channel < channels; channel += kChannels) {
        const WinogradLayout layout{form_.points(), std::min(kChannels, channels - channel), panels};
        for (int64_t p = 0; p < panels; ++p) transform_weights(panel + p, channel, weights.data(), layout, p);
        multiply(inputs, {weights.data(), layout, 0}, channel, layout.channels, panels, products.data());
      }
    }
    transform_outputs(inputs, panel, panels, products.data());
  }

  // Odd numbers of cache lines between points: they must not all fall into the same sets.
  Inputs make_inputs(const int32_t* tiles, int64_t count, Scratch<float>& room) const {
    const int64_t stride = (g_.blocks() * count | 1) * kPanel;
    room = Scratch<float>(call_.memory, form_.points() * stride);
    return {room.data(), stride, tiles, count};
  }
  static int64_t product_stride(int64_t tiles, int64_t panels) { return (tiles * panels | 1) * kPanel; }

  TileAt tile_at(int64_t index) const {
    const int64_t within = index % tiles_, m = form_.tile(), y = within / columns_ * m, x = within % columns_ * m;
    return {first_ + index / tiles_, y, x, std::min(m, g_.out[1] - y), std::min(m, g_.out[2] - x)};
  }

  const float* input_image(int64_t image) const {
    if (x_.size()) return x_.data() + (image - first_) * g_.blocks() * g_.pixels() * kPanel;
    return call_.tensors.x + instance_.image(image) * g_.x_image + g_.x_offset(group_ * g_.group_channels());
  }

  // The first output of a tile in a panel: in Y, or in the copy that becomes planes.
  float* output_of(const TileAt& at, int64_t panel) {
    const int64_t offset = (panel * g_.output_pixels() + at.y * g_.out[2] + at.x) * kPanel;
    if (y_.size()) return y_.data() + (at.image - first_) * g_.panels() * g_.output_pixels() * kPanel + offset;
    const int64_t image = instance_.image(at.image) * g_.y_image;
    return call_.tensors.y + image + g_.y_offset(group_ * g_.group_outputs()) + offset;
  }

  void read_planes(int64_t images) {
    executor_.run(images * g_.blocks(), [&](size_t task) {
      const StageTimer timer(call_.stages, Stage::transform);
      const int64_t image = static_cast<int64_t>(task) / g_.blocks(), block = static_cast<int64_t>(task) % g_.blocks();
      const int64_t channel = block * kPanel, count = std::min(kPanel, g_.group_channels() - channel);
      const float* x = call_.tensors.x + instance_.image(first_ + image) * g_.x_image +
                       g_.x_offset(group_ * g_.group_channels() + channel);
      call_.kernels.to_blocks(x, g_.x_channel, g_.pixels(), count,
                              x_.data() + static_cast<int64_t>(task) * g_.pixels() * kPanel);
    });
  }

  void write_planes(int64_t images) {
    const int64_t pixels = g_.output_pixels(), parts = divide_up(pixels, kTile);
    executor_.run(images * g_.panels(), [&](size_t task) {
      const int64_t image = static_cast<int64_t>(task) / g_.panels(), panel = static_cast<int64_t>(task) % g_.panels();
      const float* sums = y_.data() + static_cast<int64_t>(task) * pixels * kPanel;
      for (int64_t part = 0; part < parts; ++part) {
        const Tile tile{(first_ + image) * pixels + part * kTile, std::min(kTile, pixels - part * kTile)};
        finish_tile(call_, instance_, tile, group_, panel * kPanel, outputs_of(panel), sums + part * kTile * kPanel,
                    kPanel);
      }
    });
  }

  int64_t outputs_of(int64_t panel) const { return std::min(kPanel, g_.group_outputs() - panel * kPanel); }

  void transform_inputs(const Inputs& inputs, int64_t begin, int64_t end) const {
    const StageTimer timer(call_.stages, Stage::transform);
    for (int64_t slot = begin, count; slot < end; slot += count) {
      const TileAt at = tile_at(inputs.tiles[slot]);
      const int64_t most = std::min({kStripTiles, end - slot, columns_ - at.x / form_.tile()});
      for (count = 1; count < most && inputs.tiles[slot + count] == inputs.tiles[slot] + count;) ++count;
      WinogradInput strip = windows_of(at, count);
      strip.v = inputs.v + slot * kPanel;
      strip.point_stride = inputs.point_stride;
      strip.v_block = inputs.count * kPanel;
      call_.kernels.winograd_input(strip);
    }
  }

  // The inputs of tiles side by side, without where they go.
  WinogradInput windows_of(const TileAt& at, int64_t tiles) const {
    const int64_t y = at.y - g_.pad[1], x = at.x - g_.pad[2], n = form_.window;
    const int64_t width = n + (tiles - 1) * form_.tile();
    WinogradInput input{};
    input.window = n;
    input.tiles = tiles;
    input.x = input_image(at.image) + (y * g_.in[2] + x) * kPanel;
    input.row_stride = g_.in[2] * kPanel;
    input.x_block = g_.pixels() * kPanel;
    input.blocks = g_.blocks();
    input.top = std::clamp<int64_t>(-y, 0, n);
    input.left = std::clamp<int64_t>(-x, 0, width);
    input.bottom = std::clamp<int64_t>(g_.in[1] - y, input.top, n);
    input.right = std::clamp<int64_t>(g_.in[2] - x, input.left, width);
    return input;
  }

  // The memo keeps what a tile gives, with the epilogue if Y is in blocks. An addend would be another input.
  bool uses_memo() const { return call_.kept.memo && !call_.tensors.addend.data && g_.groups == 1; }

  static std::vector<int32_t> all_tiles(int64_t count) {
    std::vector<int32_t> tiles(static_cast<size_t>(count));
    std::iota(tiles.begin(), tiles.end(), 0);
    return tiles;
  }

  // Writes the outputs of tiles whose inputs were met before; returns the others.
  std::vector<int32_t> recall(int64_t count) {
    keys_.resize(static_cast<size_t>(count));
    std::vector<char> found(static_cast<size_t>(count));
    executor_.run(divide_up(count, kInputTiles), [&](size_t task) {
      const StageTimer timer(call_.stages, Stage::memo);
      const int64_t first = static_cast<int64_t>(task) * kInputTiles;
      for (int64_t tile = first; tile < std::min(count, first + kInputTiles); ++tile) {
        const TileAt at = tile_at(tile);
        keys_[tile] = call_.kernels.winograd_hash(windows_of(at, 1));
        keys_[tile].low ^= static_cast<uint64_t>(at.rows * 8 + at.columns);  // what is kept has no more outputs
        found[tile] = call_.kept.memo->find(keys_[tile], [&](const float* result) {
          each_output_row(at, [&](float* y, int64_t offset, int64_t floats) {
            std::memcpy(y, result + offset, floats * sizeof(float));
          });
        });
      }
    });
    std::vector<int32_t> missing;
    for (int64_t tile = 0; tile < count; ++tile)
      if (!found[tile]) missing.push_back(static_cast<int32_t>(tile));
    if (call_.stages) call_.stages->add_tiles(count, count - static_cast<int64_t>(missing.size()));
    return missing;
  }

  void remember(const std::vector<int32_t>& tiles) {
    const int64_t count = static_cast<int64_t>(tiles.size());
    executor_.run(divide_up(count, kInputTiles), [&](size_t task) {
      const StageTimer timer(call_.stages, Stage::memo);
      const int64_t first = static_cast<int64_t>(task) * kInputTiles;
      for (int64_t i = first; i < std::min(count, first + kInputTiles); ++i)
        call_.kept.memo->insert(keys_[tiles[i]], [&](float* result) {
          each_output_row(tile_at(tiles[i]), [&](const float* y, int64_t offset, int64_t floats) {
            std::memcpy(result + offset, y, floats * sizeof(float));
          });
        });
    });
  }

  // Calls visit(y, offset in a result of the memo, floats) for every row of the outputs of a tile.
  template <typename Visit>
  void each_output_row(const TileAt& at, const Visit& visit) {
    const int64_t m = form_.tile();
    for (int64_t panel = 0; panel < g_.panels(); ++panel)
      for (int64_t i = 0; i < at.rows; ++i)
        visit(output_of(at, panel) + i * g_.out[2] * kPanel, (panel * m + i) * m * kPanel, at.columns * kPanel);
  }

  // products[point][tile][16 * panels] += inputs * weights over some channels; from zero for channel 0.
  void multiply(const Inputs& inputs, const Weights& weights, int64_t channel, int64_t channels, int64_t panels,
                float* products) const {
    const StageTimer timer(call_.stages, Stage::gemm);
    DenseBlock block;
    block.patch = inputs.v + channel * inputs.count;
    block.patch_stride = inputs.count * kPanel;
    block.lines = nullptr;
    block.weights = weights.u + weights.layout.panel(weights.panel);
    block.panel_stride = kPanel;
    block.weight_row = weights.layout.row(weights.panel);
    block.depth = channels;
    block.panels = panels;
    block.rows = inputs.count;
    block.acc = products;
    block.ld = panels * kPanel;
    block.first = channel == 0;
    block.finish = nullptr;
    for (int64_t point = 0; point < form_.points(); ++point) {
      call_.kernels.dense(block);
      block.patch += inputs.point_stride;
      block.weights += weights.layout.point_stride(weights.panel);
      block.acc += product_stride(inputs.count, panels);
    }
  }

  void transform_all_weights() {
    shared_ = Scratch<float>(call_.memory, layout_.size());
    executor_.run(g_.panels(), [&](size_t task) {
      transform_weights(static_cast<int64_t>(task), 0, shared_.data(), layout_, static_cast<int64_t>(task));
    });
    weights_ = shared_.data();
  }

  // The channels of a panel from `channel` on, to panel `target` of a layout.
  void transform_weights(int64_t panel, int64_t channel, float* u, const WinogradLayout& layout, int64_t target) const {
    const StageTimer timer(call_.stages, Stage::transform);
    drpass::transform_weights(call_.kernels, form_, dense_.weights + panel * dense_.panel_stride + channel * kPanel,
                              g_.group_channels() * kPanel, u, layout, target);
  }

  void transform_outputs(const Inputs& inputs, int64_t panel, int64_t panels, const float* products) {
    const StageTimer timer(call_.stages, Stage::transform);
    for (int64_t i = 0; i < inputs.count; ++i)
      for (int64_t p = 0; p < panels; ++p)
        transform_output(tile_at(inputs.tiles[i]), panel + p, products + (i * panels + p) * kPanel,
                         product_stride(inputs.count, panels));
  }

  void transform_output(const TileAt& at, int64_t panel, const float* products, int64_t product_stride) {
    const Tensors& t = call_.tensors;
    const bool finishes = g_.y_layout == Layout::blocked;
    WinogradOutput output;
    output.window = form_.window;
    output.products = products;
    output.point_stride = product_stride;
    output.rows = at.rows;
    output.columns = at.columns;
    output.y = output_of(at, panel);
    output.row_stride = g_.out[2] * kPanel;
    output.bias = finishes ? bias_.data() + panel * kPanel : nullptr;
    output.addend = finishes && t.addend.data ? t.addend.data + (output.y - t.y) : nullptr;
    output.activation = finishes ? call_.parameters.activation : Activation::none;
    output.params[0] = call_.parameters.activation_params[0];
    output.params[1] = call_.parameters.activation_params[1];
    if (!call_.kernels.winograd_output(output)) return recompute(at, panel, output);
    if (finishes && outputs_of(panel) < kPanel) clear_padding(output, outputs_of(panel));
  }

  // Lanes past the last output hold zero, whatever the activation makes of it.
  static void clear_padding(const WinogradOutput& output, int64_t outputs) {
    for (int64_t i = 0; i < output.rows; ++i)
      for (int64_t j = 0; j < output.columns; ++j)
        std::fill(output.y + i * output.row_stride + j * kPanel + outputs,
                  output.y + i * output.row_stride + (j + 1) * kPanel, 0.0f);
  }

  // The transforms carry NaN and infinities to the whole tile, and may overflow: the direct form does neither.
  void recompute(const TileAt& at, int64_t panel, const WinogradOutput& output) {
    float sums[8 * kPanel];
    for (int64_t i = 0; i < output.rows; ++i) {
      const Tile row{at.image * g_.output_pixels() + (at.y + i) * g_.out[2] + at.x, output.columns};
      dense_tile(call_, instance_, row, group_, dense_, panel, 1, sums, kPanel);
      if (y_.size())
        std::memcpy(output.y + i * output.row_stride, sums, output.columns * kPanel * sizeof(float));
      else
        finish_tile(call_, instance_, row, group_, panel * kPanel, outputs_of(panel), sums, kPanel);
    }
  }

  const Call& call_;
  const Geometry& g_;
  const Instance& instance_;
  int64_t group_;
  WinogradForm form_;
  const DensePart& dense_;
  Executor& executor_;
  int64_t columns_, tiles_;  // tiles of a row and of an image
  bool share_;
  int64_t task_tiles_, block_tiles_;
  int64_t first_ = 0;  // image of the instance that is at the start of the copies
  WinogradLayout layout_;   // of all channels
  const float* weights_;    // transformed, where tasks share them: kept by the node, or those of shared_
  Scratch<float> bias_, x_, y_, shared_;
  std::vector<Hash128> keys_;  // of all tiles, where the memo is used
};

}  // namespace

std::optional<WinogradForm> choose_winograd(const Parameters& p, const Geometry& g) {
  const std::array<int64_t, 3> ones{1, 1, 1};
  const bool square = g.kernel[1] == g.kernel[2] && (g.kernel[1] == 3 || g.kernel[1] == 5);
  if (!p.winograd || !g.convolution || !square || g.kernel[0] != 1 || g.in[0] != 1 || g.out[0] != 1 ||
      g.stride != ones || g.dilation != ones)
    return std::nullopt;
  // Windows of 8 for 3x3 kernels save another fifth of the products, but take as long (measured on VGG-16), because the
  // transforms grow, and lose a decimal digit.
  const WinogradForm form = form_of(g.kernel[1]);
  const DenseCost cost = winograd_cost(g, form);
  if (cost.image + cost.weights >= direct_cost(g)) return std::nullopt;
  return form;
}

DenseCost dense_cost(const Parameters& p, const Geometry& g) {
  const auto form = choose_winograd(p, g);
  return form ? winograd_cost(g, *form) : DenseCost{direct_cost(g), 0};
}

int64_t winograd_result_size(const Parameters& p) {
  return divide_up(p.output_channels / p.group, kPanel) * kPanel * 4 * 4;
}

void run_winograd(const Call& call, const Instance& instance, int64_t group, const WinogradForm& form,
                  const DensePart& dense, Executor& executor) {
  Winograd(call, instance, group, form, dense, executor).run();
}

}  // namespace drpass

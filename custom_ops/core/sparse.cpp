#include "core/sparse.h"

#include <algorithm>
#include <atomic>

#include "core/direct.h"
#include "core/kernels/rates.h"
#include "core/winograd.h"

namespace drpass {
namespace {

// Rows of weights (one for every tap and channel) that are worked on at a time: 64 outputs of them stay close to L1.
constexpr int64_t kRows = 144;
// Room for the lists of the tiles that are worked on together, if nothing were zero; what is not used is not touched.
constexpr int64_t kListBytes = 16 * 1024 * 1024;
// With at least as many tiles, tasks work on a few of them each from lists to outputs.
constexpr int64_t kTilesToSpread = 2 * kTasks;
constexpr int64_t kTilesOfTask = 4;
// Values of an image that are looked at to tell how many are zero.
constexpr int64_t kSampled = 4 * 1024;
// With fewer channels, listing takes as long as multiplying; with more values a pixel the lists of a tile would be long.
constexpr int64_t kFewestChannels = 2 * kPanel;
constexpr int64_t kLargestWindow = 32 * 1024;

// Channels whose weights are worked on at a time, in whole blocks.
int64_t chunk_channels(const Geometry& g) {
  return std::min(g.blocks(), std::max<int64_t>(1, kRows / g.taps() / kPanel)) * kPanel;
}

// Floats between neighbouring rows of weights.
int64_t row_of(const Geometry& g) { return std::min(g.panels(), kSparsePanels) * kPanel; }

// Channels of a pixel must lie side by side.
bool can_skip_zeros(const Geometry& g) {
  const bool blocks = g.x_layout == Layout::blocked || (g.x_channel == 1 && g.group_channels() % kPanel == 0);
  return blocks && g.group_channels() >= kFewestChannels &&
         checked_product({g.taps(), g.blocks(), kPanel}) <= kLargestWindow;
}

// Between blocks of 16 channels.
int64_t block_stride(const Geometry& g) { return g.x_layout == Layout::blocked ? g.x_channel : kPanel; }

// Cycles for an image of which `share` is not zero, and for what the images of a call share. Beside its products an entry
// takes a broadcast, and a list a branch that can't be foreseen.
struct SparseCost {
  double image, weights;
};
SparseCost sparse_cost(const Geometry& g, const Rates& rates, double share) {
  const double pixels = static_cast<double>(g.output_pixels()), panels = static_cast<double>(g.panels());
  const double window = static_cast<double>(g.taps() * g.group_channels());
  const double blocks = static_cast<double>(divide_up(g.panels(), kSparsePanels));
  const double chunks = static_cast<double>(divide_up(g.group_channels(), chunk_channels(g)));
  const double entry = rates.entry_panel * panels + rates.entry * blocks;
  const double sums = pixels * (window * share * entry + chunks * blocks * 24);
  const double lists = pixels * static_cast<double>(g.taps() * g.blocks()) * rates.listed;
  const double epilogue = pixels * panels * 6, tasks = 35000;
  const double copies = window * panels * 5 * static_cast<double>(divide_up(g.output_pixels(), kTilesOfTask * kTile));
  return {sums + lists + epilogue, copies + tasks};
}

// Whether an image is expected to gain alone as well as among many that share the rest: it does not know about others.
// Vector instructions take 1.1 to 1.2 times their share of the peak, so what is chosen is expected to gain a tenth or more.
bool gains(const SparseCost& sparse, const DenseCost& dense, const Rates& rates) {
  const double image = rates.product * static_cast<double>(dense.image);
  const double weights = rates.product * static_cast<double>(dense.weights);
  return sparse.image < image && sparse.image + sparse.weights < image + weights;
}

struct Sample {
  int64_t nonzeros, values;
  double share() const { return static_cast<double>(nonzeros) / static_cast<double>(values); }
};

// How many of an image's values are not zero, at pixels of equal distances. An odd one meets all columns.
Sample sample_image(const Call& call, int64_t image, int64_t group) {
  const Geometry& g = call.geometry;
  const int64_t channels = g.group_channels(), step = divide_up(g.pixels() * channels, kSampled) | 1;
  Scratch<float> values(call.memory, channels + kPanel);
  Scratch<int32_t> offsets(call.memory, channels + kPanel);
  const int64_t here = 0;
  NonzeroWindow window{};
  window.taps = &here;
  window.tap_count = 1;
  window.x_block = block_stride(g);
  window.channels = channels;
  window.values = values.data();
  window.offsets = offsets.data();
  const float* x = call.tensors.x + image * g.x_image + g.x_offset(group * channels);
  Sample sample{0, 0};
  for (int64_t pixel = 0; pixel < g.pixels(); pixel += step, sample.values += channels) {
    window.x = x + pixel * g.x_pixel;
    sample.nonzeros += call.kernels.list_nonzeros(window);
  }
  return sample;
}

// What the pixels of a tile read that is not zero: for every chunk of channels one pixel after the other, for every
// pixel one tap after the other.
struct Lists {
  Scratch<float> values;
  Scratch<int32_t> offsets, ends;  // ends: [chunks][kTile + 1]
};

class SparseProduct {
 public:
  SparseProduct(const Call& call, const Instance& instance, int64_t group)
      : call_(call),
        g_(call.geometry),
        instance_(instance),
        group_(group),
        chunk_(chunk_channels(g_)),
        chunks_(divide_up(g_.group_channels(), chunk_)),
        row_(row_of(g_)) {}

  bool run(Executor& executor) {
    const int64_t tiles = tile_count(g_, instance_);
    const int64_t bytes = std::min(kTile, instance_.images * g_.output_pixels()) * window() * 8;
    const int64_t room = std::clamp<int64_t>(kListBytes / std::max<int64_t>(bytes, 1), 1, std::max<int64_t>(tiles, 1));
    if (tiles >= kTilesToSpread) {
      const int64_t step = std::min(room, kTilesOfTask);
      executor.run(divide_up(tiles, step), [&](size_t task) {
        SerialExecutor serial;
        const int64_t first = static_cast<int64_t>(task) * step;
        run_tiles(first, std::min(step, tiles - first), serial);
      });
    } else {
      for (int64_t first = 0; first < tiles; first += room) run_tiles(first, std::min(room, tiles - first), executor);
    }
    return finite_.load(std::memory_order_relaxed);
  }

 private:
  int64_t window() const { return g_.taps() * g_.group_channels(); }

  void run_tiles(int64_t first, int64_t count, Executor& executor) {
    std::vector<Lists> lists(count);
    executor.run(count, [&](size_t i) {
      lists[i] = make_lists(tile_at(g_, instance_, first + static_cast<int64_t>(i)));
    });
    const int64_t blocks = divide_up(g_.panels(), kSparsePanels);
    const int64_t step = divide_up(count, std::clamp<int64_t>(kTasks / 2 / blocks, 1, count));
    const int64_t parts = divide_up(count, step);
    executor.run(blocks * parts, [&](size_t task) {
      const int64_t begin = static_cast<int64_t>(task) % parts * step;
      multiply(static_cast<int64_t>(task) / parts * kSparsePanels, first + begin, lists.data() + begin,
               std::min(step, count - begin));
    });
  }

  // Where in the image's X the taps of a tile's pixels lie, from the first channel of the group on: [count][taps].
  Scratch<int64_t> find_taps(const Tile& tile) const {
    Scratch<int64_t> taps(call_.memory, tile.count * g_.taps());
    PixelWalk walk(g_, tile.first);
    int64_t* tap = taps.data();
    for (int64_t i = 0; i < tile.count; ++i, walk.next()) {
      const int64_t image = instance_.image(walk.image) * g_.x_image;
      for (int64_t z = 0; z < g_.kernel[0]; ++z)
        for (int64_t y = 0; y < g_.kernel[1]; ++y)
          for (int64_t x = 0; x < g_.kernel[2]; ++x) {
            const int64_t pixel = input_pixel(g_, walk.at, {z, y, x});
            *tap++ = pixel < 0 ? -1 : image + pixel * g_.x_pixel;
          }
    }
    return taps;
  }

  Lists make_lists(const Tile& tile) const {
    const StageTimer timer(call_.stages, Stage::list);
    const int64_t room = tile.count * window() + kPanel;
    Lists lists{Scratch<float>(call_.memory, room), Scratch<int32_t>(call_.memory, room),
                Scratch<int32_t>(call_.memory, chunks_ * (kTile + 1))};
    const Scratch<int64_t> taps = find_taps(tile);
    NonzeroWindow window{};
    window.tap_count = g_.taps();
    window.x_block = block_stride(g_);
    window.row = static_cast<int32_t>(row_);
    window.tap_rows = static_cast<int32_t>(chunk_ * row_);
    int64_t end = 0;
    for (int64_t k = 0; k < chunks_; ++k) {
      int32_t* ends = lists.ends.data() + k * (kTile + 1);
      *ends++ = static_cast<int32_t>(end);
      window.x = call_.tensors.x + g_.x_offset(group_ * g_.group_channels() + k * chunk_);
      window.channels = std::min(chunk_, g_.group_channels() - k * chunk_);
      for (int64_t i = 0; i < tile.count; ++i) {
        window.taps = taps.data() + i * g_.taps();
        window.values = lists.values.data() + end;
        window.offsets = lists.offsets.data() + end;
        end += call_.kernels.list_nonzeros(window);
        *ends++ = static_cast<int32_t>(end);
      }
    }
    return lists;
  }

  // Panels [panel, panel + kSparsePanels) of `count` tiles.
  void multiply(int64_t panel, int64_t first_tile, const Lists* lists, int64_t count) {
    const int64_t panels = std::min(kSparsePanels, g_.panels() - panel);
    Scratch<float> weights(call_.memory, g_.taps() * chunk_ * row_), acc(call_.memory, count * kTile * row_);
    {
      const StageTimer timer(call_.stages, Stage::gemm);
      for (int64_t k = 0; k < chunks_; ++k) {
        if (!copy_weights(panel, panels, k, weights.data())) finite_.store(false, std::memory_order_relaxed);
        for (int64_t i = 0; i < count; ++i) {
          SparseBlock block{};
          block.weights = weights.data();
          block.values = lists[i].values.data();
          block.offsets = lists[i].offsets.data();
          block.ends = lists[i].ends.data() + k * (kTile + 1);
          block.pixels = tile_at(g_, instance_, first_tile + i).count;
          block.panels = panels;
          block.acc = acc.data() + i * kTile * row_;
          block.ld = row_;
          block.first = k == 0;
          call_.kernels.add_nonzeros(block);
        }
      }
    }
    const int64_t output = panel * kPanel, outputs = std::min(panels * kPanel, g_.group_outputs() - output);
    for (int64_t i = 0; i < count; ++i)
      finish_tile(call_, instance_, tile_at(g_, instance_, first_tile + i), group_, output, outputs,
                  acc.data() + i * kTile * row_, row_);
  }

  bool copy_weights(int64_t panel, int64_t panels, int64_t chunk, float* target) const {
    const int64_t channels = g_.group_channels(), tap_stride = channels * kPanel, panel_stride = g_.taps() * tap_stride;
    WeightRows rows{};
    rows.w = call_.tensors.w + (group_ * g_.panels() + panel) * panel_stride + chunk * chunk_ * kPanel;
    rows.panel_stride = panel_stride;
    rows.tap_stride = tap_stride;
    rows.taps = g_.taps();
    rows.channels = std::min(chunk_, channels - chunk * chunk_);
    rows.panels = panels;
    rows.row = row_;
    rows.tap_rows = chunk_ * row_;
    rows.target = target;
    return call_.kernels.copy_weight_rows(rows);
  }

  const Call& call_;
  const Geometry& g_;
  const Instance instance_;
  const int64_t group_, chunk_, chunks_, row_;
  std::atomic<bool> finite_{true};
};

}  // namespace

std::vector<char> images_to_skip_zeros_in(const Call& call, const Instance& instance, int64_t group,
                                          Executor& executor) {
  const Geometry& g = call.geometry;
  const DenseCost dense = dense_cost(call.parameters, g);
  if (!call.parameters.skip_zeros || !can_skip_zeros(g) || g.pixels() == 0) return {};
  const Rates& rates = rates_of(call.kernels);
  if (!gains(sparse_cost(g, rates, 0), dense, rates)) return {};  // whatever they hold
  std::vector<char> skip(instance.images);
  executor.run(instance.images, [&](size_t i) {
    const Sample sample = sample_image(call, instance.image(static_cast<int64_t>(i)), group);
    skip[i] = gains(sparse_cost(g, rates, sample.share()), dense, rates);
    if (call.stages) call.stages->add_image(sample.values - sample.nonzeros, sample.values, skip[i]);
  });
  return skip;
}

bool run_sparse(const Call& call, const Instance& instance, int64_t group, Executor& executor) {
  return SparseProduct(call, instance, group).run(executor);
}

}  // namespace drpass

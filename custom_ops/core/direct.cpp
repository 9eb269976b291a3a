#include "core/direct.h"

#include <algorithm>

#include "core/strips.h"

namespace drpass {
namespace {

// How the product is cut: into `step` tiles and `panels` panels a task.
struct Cut {
  int64_t step, panels;
};

// Few tiles, as small images have them, are shared out by panels: an even number, as the widest micro-kernel takes two.
Cut cut_tiles(const Geometry& g, int64_t tiles) {
  const int64_t work = kTile * g.taps() * g.group_channels() * g.panels() * kPanel;  // of a tile
  const int64_t wanted = std::min(kTasks / std::max<int64_t>(tiles, 1), work / kTaskWork);
  const int64_t parts = std::clamp<int64_t>(wanted, 1, divide_up(g.panels(), panels_of_patch(g)));
  if (parts > 1) return {1, 2 * divide_up(divide_up(g.panels(), 2), parts)};
  return {std::clamp<int64_t>(kTaskWork / std::max<int64_t>(work, 1), 1, 16), g.panels()};
}

void run_tiles(const Call& call, const Instance& instance, int64_t group, const DensePart& dense, Executor& executor) {
  const Geometry& g = call.geometry;
  const int64_t tiles = tile_count(g, instance);
  const Cut cut = cut_tiles(g, tiles);
  const int64_t tasks = divide_up(tiles, cut.step);
  // Neighbouring tasks share their weights.
  executor.run(tasks * divide_up(g.panels(), cut.panels), [&](size_t index) {
    const int64_t task = static_cast<int64_t>(index), first = task % tasks * cut.step;
    const int64_t panel = task / tasks * cut.panels, panels = std::min(cut.panels, g.panels() - panel);
    Scratch<float> acc(call.memory, kTile * panels * kPanel);
    for (int64_t i = first; i < std::min(tiles, first + cut.step); ++i) {
      const Tile tile = tile_at(g, instance, i);
      const auto patch = make_patch(call, instance, tile, group, dense.channels.data(), dense.count);
      direct_tile(call, instance, tile, group, dense, *patch, panel, panels, acc.data());
    }
  });
}

}  // namespace

void direct_tile(const Call& call, const Instance& instance, const Tile& tile, int64_t group, const DensePart& dense,
                 Patch& patch, int64_t first_panel, int64_t panels, float* acc) {
  const int64_t first = first_panel * kPanel, width = panels * kPanel;
  const int64_t outputs = std::min(width, call.geometry.group_outputs() - first);
  const auto finish = dense.count ? direct_epilogue(call, instance, tile, group, first, outputs) : std::nullopt;
  multiply_patch(call, patch, tile.count, dense, first_panel, panels, acc, width, finish ? &*finish : nullptr);
  if (!finish) finish_tile(call, instance, tile, group, first, outputs, acc, width);
}

void run_direct(const Call& call, const Instance& instance, int64_t group, const DensePart& dense,
                Executor& executor) {
  if (const auto strips = cut_strips(call.geometry))
    run_strips(call, instance, group, dense, *strips, executor);
  else
    run_tiles(call, instance, group, dense, executor);
}

}  // namespace drpass

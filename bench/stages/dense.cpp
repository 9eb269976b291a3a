// Products: the dense micro-kernel and the tables of cluster results.
#include "bench/stages/stage.h"

namespace drpass {
namespace stages {
namespace {

void dense(benchmark::State& state) {
  const int64_t depth = state.range(0), panels = state.range(1);
  const bool blocked = state.range(2) != 0;
  const Values<float> patch = activations(depth * kTile), w = weights(panels * depth * kPanel);
  Values<float> acc(static_cast<size_t>(kTile * panels * kPanel));
  DenseBlock block{};
  Values<int32_t> lines(static_cast<size_t>(depth));
  for (size_t k = 0; k < lines.size(); ++k) lines[k] = static_cast<int32_t>(k * kTile);
  block.patch = patch.data();
  block.lines = blocked ? nullptr : lines.data();
  block.patch_stride = kTile * kPanel;
  block.weights = w.data();
  block.weight_row = kPanel;
  block.panel_stride = depth * kPanel;
  block.depth = depth;
  block.panels = panels;
  block.rows = kTile;
  block.acc = acc.data();
  block.ld = panels * kPanel;
  block.first = true;
  Work work;
  work.flops = 2.0 * kTile * kPanel * static_cast<double>(panels * depth);
  run(state, work, [&] { kernels().dense(block); });
}
BENCHMARK(dense)->ArgNames({"K", "panels", "blocked"})->ArgsProduct({{64, 256, 1600}, {4, 16}, {0, 1}});

void build_table(benchmark::State& state) {
  const int64_t length = state.range(0), panels = state.range(1), taps = 9;
  const bool narrow = state.range(2) != 0;
  const int64_t width = panels * kPanel;
  const Values<float> centroids = activations(kTableChunk * length), w = weights(taps * length * width);
  const Values<float> inverse(static_cast<size_t>(width), 1000.0f);
  Values<float> table(static_cast<size_t>(kTableChunk * taps * width));
  TableBlock block{};
  block.centroids = centroids.data();
  block.clusters = kTableChunk;
  block.length = length;
  block.weights = w.data();
  block.panel_stride = taps * length * kPanel;
  block.tap_stride = length * kPanel;
  block.taps = taps;
  block.panels = panels;
  block.width = width;
  block.inverse_scale = narrow ? inverse.data() : nullptr;
  block.table = table.data();
  const double values = static_cast<double>(kTableChunk * taps * width);
  const double written = values * (narrow ? 2 : 4);
  run(state, {2.0 * values * static_cast<double>(length), 0, written, written},
      [&] { kernels().build_table(block); });
}
BENCHMARK(build_table)->ArgNames({"L", "panels", "int16"})->ArgsProduct({{4, 8, 16}, {4, 16}, {0, 1}});

}  // namespace
}  // namespace stages
}  // namespace drpass

// The transforms of Winograd's algorithm, for 256 channels; its product is the dense stage.
#include "bench/stages/stage.h"

namespace drpass {
namespace stages {
namespace {

constexpr int64_t kChannels = 256, kBlocks = kChannels / kPanel;
// As in layers, neither rows of pixels (this many) nor points lie a power of two apart: they would share cache sets.
constexpr int64_t kLine = 57;

void winograd_input(benchmark::State& state) {
  const int64_t n = state.range(0), tiles = state.range(1), values = n * n * kChannels * tiles;
  const int64_t stride = (kBlocks * tiles | 1) * kPanel;
  const Values<float> x = activations(kBlocks * n * kLine * kPanel);
  Values<float> v(static_cast<size_t>(n * n * stride));
  WinogradInput tile{};
  tile.window = n;
  tile.tiles = tiles;
  tile.x = x.data();
  tile.row_stride = kLine * kPanel;
  tile.x_block = n * kLine * kPanel;
  tile.blocks = kBlocks;
  tile.bottom = n;
  tile.right = n + 4 * (tiles - 1);
  tile.v = v.data();
  tile.point_stride = stride;
  tile.v_block = kPanel * tiles;
  const double written = 4.0 * static_cast<double>(values), read = 4.0 * static_cast<double>(tile.right * n * kChannels);
  run(state, {0, read, written, read + written}, [&] { kernels().winograd_input(tile); });
}
BENCHMARK(winograd_input)->ArgNames({"window", "tiles"})->ArgsProduct({{6, 8}, {1, 4}});

void winograd_weights(benchmark::State& state) {
  const int64_t n = state.range(0), kernel = n - 3, taps = kernel * kernel;
  const Values<float> w = weights(taps * kChannels * kPanel);
  const int64_t stride = (kChannels | 1) * kPanel;
  Values<float> u(static_cast<size_t>(n * n * stride));
  WinogradWeights panel{};
  panel.window = n;
  panel.w = w.data();
  panel.tap_stride = kChannels * kPanel;
  panel.channels = kChannels;
  panel.u = u.data();
  panel.point_stride = stride;
  panel.channel_stride = kPanel;
  const double read = 4.0 * static_cast<double>(w.size()), written = 4.0 * static_cast<double>(u.size());
  run(state, {0, read, written, read + written}, [&] { kernels().winograd_weights(panel); });
}
BENCHMARK(winograd_weights)->ArgName("window")->Arg(6)->Arg(8);

void winograd_output(benchmark::State& state) {
  const int64_t n = state.range(0), side = 4;
  const Values<float> products = weights(n * n * kPanel), bias = weights(kPanel);
  Values<float> y(static_cast<size_t>(side * kLine * kPanel));
  WinogradOutput tile{};
  tile.window = n;
  tile.products = products.data();
  tile.point_stride = kPanel;
  tile.rows = side;
  tile.columns = side;
  tile.bias = bias.data();
  tile.activation = Activation::relu;
  tile.y = y.data();
  tile.row_stride = kLine * kPanel;
  const double read = 4.0 * static_cast<double>(products.size()), written = 4.0 * side * side * kPanel;
  run(state, {0, read, written, read + written},
      [&] { benchmark::DoNotOptimize(kernels().winograd_output(tile)); });
}
BENCHMARK(winograd_output)->ArgName("window")->Arg(6)->Arg(8);

}  // namespace
}  // namespace stages
}  // namespace drpass

// Stages that only move or reduce: between planes and blocks, pooling, local response normalisation.
#include "bench/stages/stage.h"

namespace drpass {
namespace stages {
namespace {

constexpr int64_t kPixels = 56 * 56;

void to_planes(benchmark::State& state) {
  const Values<float> blocks = activations(kPixels * kPanel);
  Values<float> planes(blocks.size());
  const double bytes = 4.0 * static_cast<double>(blocks.size());
  run(state, {0, bytes, bytes, 2 * bytes},
      [&] { kernels().to_planes(blocks.data(), kPixels, kPanel, planes.data(), kPixels); });
}
BENCHMARK(to_planes);

void to_blocks(benchmark::State& state) {
  const Values<float> planes = activations(kPixels * kPanel);
  Values<float> blocks(planes.size());
  const double bytes = 4.0 * static_cast<double>(planes.size());
  run(state, {0, bytes, bytes, 2 * bytes},
      [&] { kernels().to_blocks(planes.data(), kPixels, kPixels, kPanel, blocks.data()); });
}
BENCHMARK(to_blocks);

void pool_row(benchmark::State& state) {
  const int64_t width = 112, kernel = state.range(0), stride = 2, outputs = (width - kernel) / stride + 1;
  const Values<float> x = activations(kernel * width * kPanel);
  Values<float> y(static_cast<size_t>(outputs * kPanel));
  PoolRow row{};
  row.average = state.range(1) != 0;
  row.x = x.data();
  row.row_stride = width * kPanel;
  row.rows = kernel;
  row.width = width;
  row.outputs = outputs;
  row.kernel = kernel;
  row.stride = stride;
  row.count = kernel * kernel;
  row.y = y.data();
  const double read = 4.0 * static_cast<double>(x.size()), written = 4.0 * static_cast<double>(y.size());
  run(state, {0, read, written, read + written}, [&] { kernels().pool_row(row); });
}
BENCHMARK(pool_row)->ArgNames({"kernel", "average"})->ArgsProduct({{2, 3}, {0, 1}});

void lrn(benchmark::State& state) {
  const int64_t channels = 64, pixels = 256;
  const bool blocked = state.range(0) != 0;
  const Values<float> x = activations(channels * pixels);
  Values<float> y(x.size());
  LrnBlock block{};
  block.x = x.data();
  block.y = y.data();
  block.channels = channels;
  block.channel_stride = blocked ? pixels * kPanel : pixels;
  block.pixels = pixels;
  block.blocked = blocked;
  block.before = 4;
  block.after = 4;
  block.scale = 0.001f / 9;
  block.bias = 1;
  block.beta = 0.75f;
  Values<float> squares(static_cast<size_t>(kLrnPixels * lrn_line(block)));
  block.squares = squares.data();
  const double bytes = 4.0 * static_cast<double>(x.size());
  run(state, {0, bytes, bytes, 2 * bytes}, [&] { kernels().lrn(block); });
}
BENCHMARK(lrn)->ArgName("blocked")->Arg(0)->Arg(1);

}  // namespace
}  // namespace stages
}  // namespace drpass

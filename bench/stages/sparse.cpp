// The direct product that skips zeros: a tile of pixels, 16 channels, 3 x 3 taps and 64 outputs.
#include "bench/stages/stage.h"

namespace drpass {
namespace stages {
namespace {

constexpr int64_t kTaps = 9, kRow = kSparsePanels * kPanel, kTapRows = kPanel * kRow;

// Values of which `percent` of a hundred are not zero, and their lists.
struct Lists {
  explicit Lists(int64_t percent) : x(activations(kTile * kTaps * kPanel)) {
    uint32_t state = 1;
    for (float& value : x) {
      state = state * 1664525 + 1013904223;
      value = static_cast<int64_t>((state >> 8) % 100) < percent ? value + 1 : 0;
    }
    values.resize(x.size() + kPanel);
    offsets.resize(x.size() + kPanel);
    ends.resize(kTile + 1);
    for (int64_t tap = 0; tap < kTile * kTaps; ++tap) taps.push_back(tap * kPanel);
    fill();
  }

  void fill() {
    NonzeroWindow window{};
    window.x = x.data();
    window.tap_count = kTaps;
    window.channels = kPanel;
    window.row = kRow;
    window.tap_rows = kTapRows;
    int64_t end = 0;
    for (int64_t pixel = 0; pixel < kTile; ++pixel) {
      window.taps = taps.data() + pixel * kTaps;
      window.values = values.data() + end;
      window.offsets = offsets.data() + end;
      end += kernels().list_nonzeros(window);
      ends[static_cast<size_t>(pixel + 1)] = static_cast<int32_t>(end);
    }
  }

  Values<float> x, values;
  Values<int32_t> offsets, ends;
  std::vector<int64_t> taps;
};

void list_nonzeros(benchmark::State& state) {
  Lists lists(state.range(0));
  const double read = 4.0 * static_cast<double>(lists.x.size()), written = 8.0 * lists.ends.back();
  run(state, {0, read, written, read + written}, [&] { lists.fill(); });
}
BENCHMARK(list_nonzeros)->ArgName("percent")->Arg(5)->Arg(10)->Arg(20)->Arg(50);

// Its share of the peak counts only products with what is not zero.
void add_nonzeros(benchmark::State& state) {
  const Lists lists(state.range(0));
  const Values<float> w = weights(kTaps * kTapRows);
  Values<float> acc(kTile * kRow);
  SparseBlock block{};
  block.weights = w.data();
  block.values = lists.values.data();
  block.offsets = lists.offsets.data();
  block.ends = lists.ends.data();
  block.pixels = kTile;
  block.panels = kSparsePanels;
  block.acc = acc.data();
  block.ld = kRow;
  Work work;
  work.flops = 2.0 * lists.ends.back() * kRow;
  run(state, work, [&] { kernels().add_nonzeros(block); });
}
BENCHMARK(add_nonzeros)->ArgName("percent")->Arg(5)->Arg(10)->Arg(20)->Arg(50);

void copy_weight_rows(benchmark::State& state) {
  const int64_t channels = 512;
  const Values<float> w = weights(kSparsePanels * kTaps * channels * kPanel);
  Values<float> target(kTaps * kTapRows);
  WeightRows rows{};
  rows.w = w.data();
  rows.panel_stride = kTaps * channels * kPanel;
  rows.tap_stride = channels * kPanel;
  rows.taps = kTaps;
  rows.channels = kPanel;
  rows.panels = kSparsePanels;
  rows.row = kRow;
  rows.tap_rows = kTapRows;
  rows.target = target.data();
  const double bytes = 4.0 * static_cast<double>(target.size());
  run(state, {0, bytes, bytes, 2 * bytes}, [&] { benchmark::DoNotOptimize(kernels().copy_weight_rows(rows)); });
}
BENCHMARK(copy_weight_rows);

// What the product of one row with a matrix of 4096 x 4096 gains by leaving out the weights that meet a zero: in panels
// of 16 outputs as the operator has them, and in rows of all outputs. Its bytes are those of all weights, read or not.
void skip_weights(benchmark::State& state) {
  const int64_t side = 4096, percent = state.range(0), width = state.range(1) ? side : kPanel;
  const Values<float> w = weights(side * side);
  Values<float> y(side);
  std::vector<int64_t> kept;
  uint32_t random = 1;
  for (int64_t row = 0; row < side; ++row) {
    random = random * 1664525 + 1013904223;
    if (static_cast<int64_t>((random >> 8) % 100) < percent) kept.push_back(row);
  }
  const double bytes = 4.0 * static_cast<double>(w.size());
  run(state, {0, bytes, 0, bytes}, [&] {
    for (int64_t column = 0; column < side; column += width)
      for (const int64_t row : kept) {
        const float* source = w.data() + column * side + row * width;
        for (int64_t i = 0; i < width; ++i) y[column + i] += 0.5f * source[i];
      }
  });
}
BENCHMARK(skip_weights)->ArgNames({"percent", "rows"})->ArgsProduct({{100, 50, 20}, {0, 1}});

}  // namespace
}  // namespace stages
}  // namespace drpass

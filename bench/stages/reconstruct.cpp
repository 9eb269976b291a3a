// Output pixels as sums of table rows, and what is done to them before they are written.
#include <random>

#include "bench/stages/stage.h"

namespace drpass {
namespace stages {
namespace {

// A 3 x 3 convolution over a row of tiles: three lines of input pixels whose clusters are drawn at random.
struct Tables {
  Tables(int64_t tables, int64_t clusters, int64_t width, bool narrow) {
    const int64_t elements = (clusters + 1) * kTaps * width;
    values.resize(static_cast<size_t>(tables * elements * (narrow ? 2 : 4)), 1);
    grid.resize(static_cast<size_t>(tables * 3 * kLine));
    std::mt19937 generator(1);
    std::uniform_int_distribution<int32_t> draw(1, static_cast<int32_t>(clusters));
    for (int32_t& row : grid) row = draw(generator);
    for (int64_t k = 0; k < tables; ++k)
      views.push_back({values.data() + k * elements * (narrow ? 2 : 4), grid.data() + k * 3 * kLine});
    for (int32_t pixel = 0; pixel < kTile; ++pixel) base.push_back(pixel);
    for (int32_t line = 0; line < 3; ++line)
      for (int32_t column = 0; column < 3; ++column) delta.push_back(line * static_cast<int32_t>(kLine) + column);
  }
  static constexpr int64_t kTaps = 9, kLine = kTile + 2;
  Values<char> values;
  Values<int32_t> grid, base, delta;
  std::vector<TableView> views;
};

void add_rows(benchmark::State& state) {
  const int64_t tables = state.range(0), clusters = state.range(1), width = state.range(2);
  const bool narrow = state.range(3) != 0;
  const Tables data(tables, clusters, width, narrow);
  const Values<float> scale(static_cast<size_t>(width), 1e-3f);
  Values<float> acc(static_cast<size_t>(kTile * width));
  RowSums sums{};
  sums.tables = data.views.data();
  sums.table_count = tables;
  sums.base = data.base.data();
  sums.tap_delta = data.delta.data();
  sums.taps = Tables::kTaps;
  sums.pixels = kTile;
  sums.width = width;
  sums.scale = narrow ? scale.data() : nullptr;
  sums.span = 1;
  sums.acc = acc.data();
  sums.first = true;
  const double additions = static_cast<double>(kTile * tables * Tables::kTaps * width);
  run(state, {0, additions * (narrow ? 2 : 4), 0, static_cast<double>(data.values.size())},
      [&] { kernels().add_rows(sums); });
}
BENCHMARK(add_rows)
    ->ArgNames({"tables", "clusters", "M", "int16"})
    ->ArgsProduct({{1, 8}, {8, 64, 1024}, {64, 256}, {0, 1}});

// The same with lists: of `percent` of the vectors there is no row.
struct Lists {
  Lists(int64_t tables, int64_t clusters, int64_t percent, const Tables& data)
      : rows(static_cast<size_t>(data.grid.size() + kMinimumPlane)), counts(3 * Tables::kLine) {
    std::mt19937 generator(2);
    std::uniform_int_distribution<int64_t> draw(0, 99);
    for (size_t place = 0; place < counts.size(); ++place)
      for (int64_t k = 0; k < tables; ++k) {
        if (draw(generator) < percent) continue;
        const int64_t row = k * (clusters + 1) + data.grid[static_cast<size_t>(k) * counts.size() + place];
        rows[place * static_cast<size_t>(tables) + static_cast<size_t>(counts[place]++)] =
            static_cast<int32_t>(row * Tables::kTaps);
        ++listed;
      }
  }
  Values<int32_t> rows, counts;
  int64_t listed = 0;
};

void add_listed_rows(benchmark::State& state) {
  const int64_t tables = state.range(0), clusters = state.range(1), width = 64;
  const bool narrow = state.range(2) != 0;
  const Tables data(tables, clusters, width, narrow);
  const Lists lists(tables, clusters, state.range(3), data);
  const Values<float> scale(static_cast<size_t>(width), 1e-3f);
  Values<float> acc(static_cast<size_t>(kTile * width));
  Values<int32_t> scratch(static_cast<size_t>(Tables::kTaps * tables + kMinimumPlane));
  const ListedRowSums sums{data.values.data(), {lists.rows.data(), lists.counts.data(), tables}, data.base.data(),
                           data.delta.data(), Tables::kTaps, kTile, width, narrow ? scale.data() : nullptr,
                           acc.data(), true, scratch.data()};
  const double rows = static_cast<double>(kTile * Tables::kTaps * lists.listed) / static_cast<double>(lists.counts.size());
  const double additions = rows * static_cast<double>(width);
  run(state, {0, additions * (narrow ? 2 : 4), 0, static_cast<double>(data.values.size())},
      [&] { kernels().add_listed_rows(sums); });
}
BENCHMARK(add_listed_rows)
    ->ArgNames({"tables", "clusters", "int16", "zeros"})
    ->ArgsProduct({{8, 32}, {8, 64}, {0, 1}, {0, 65}});

void epilogue(benchmark::State& state) {
  const int64_t outputs = state.range(0);
  const bool rows = state.range(1) != 0;
  const Values<float> acc = weights(kTile * outputs), bias = weights(outputs);
  Values<float> y(static_cast<size_t>(kTile * outputs));
  Epilogue block{};
  block.acc = acc.data();
  block.ld = outputs;
  block.pixels = kTile;
  block.outputs = outputs;
  block.bias = bias.data();
  block.activation = Activation::relu;
  block.y = y.data();
  block.y_rows = rows;
  block.y_channel = kTile;
  block.y_panel = kTile * kPanel;
  block.y_pixel = kPanel;
  const double bytes = 4.0 * static_cast<double>(kTile * outputs);
  run(state, {0, bytes, bytes, 2 * bytes}, [&] { kernels().epilogue(block); });
}
BENCHMARK(epilogue)->ArgNames({"M", "blocked"})->ArgsProduct({{64, 256}, {0, 1}});

}  // namespace
}  // namespace stages
}  // namespace drpass

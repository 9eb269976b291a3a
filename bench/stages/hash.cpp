// Moments and signatures: 16 channels of conv3_2 and of conv1_2 of VGG-16 in both layouts, sub-vectors of 4 and 8 channels.
#include "bench/stages/stage.h"

namespace drpass {
namespace stages {
namespace {

void moments(benchmark::State& state) {
  const int64_t pixels = state.range(0);
  const bool blocked = state.range(1) != 0;
  const Values<float> x = activations(pixels * kPanel);
  double sums[16 * kPanel] = {};
  const Moments channels{x.data(), kPanel, blocked ? 1 : pixels, pixels, blocked ? kPanel : 1, sums};
  const double bytes = 4.0 * static_cast<double>(pixels * kPanel);
  run(state, {0, bytes, 0, bytes}, [&] { kernels().moments(channels); });
}
BENCHMARK(moments)->ArgNames({"pixels", "blocked"})->ArgsProduct({{56 * 56, 224 * 224}, {0, 1}});

struct Planes {
  explicit Planes(int64_t length) : values(activations(length * kBlock)) {
    for (int64_t l = 0; l < length; ++l) pointers.push_back(values.data() + l * kBlock);
  }
  Values<float> values;
  std::vector<const float*> pointers;
  Values<uint32_t> halves = Values<uint32_t>(static_cast<size_t>(32 * kBlock));
};

void grid_signature(benchmark::State& state) {
  const int64_t length = state.range(0);
  Planes planes(length);
  const double read = 4.0 * kBlock * static_cast<double>(length);
  const double written = 4.0 * kBlock * static_cast<double>((length + 1) / 2);
  run(state, {0, read, written, read + written}, [&] {
    benchmark::DoNotOptimize(
        kernels().grid_signature(planes.pointers.data(), length, kBlock, 10.0f, planes.halves.data()));
  });
}
BENCHMARK(grid_signature)->ArgName("L")->Arg(4)->Arg(8);

void lsh_signature(benchmark::State& state) {
  const int64_t length = state.range(0), bits = state.range(1);
  Planes planes(length);
  const Values<float> hyperplanes = weights(bits * length);
  const double values = static_cast<double>(length) * kBlock;
  run(state, {2.0 * values * static_cast<double>(bits), 4.0 * values, 8.0 * kBlock, 4.0 * values}, [&] {
    kernels().lsh_signature(planes.pointers.data(), length, kBlock, hyperplanes.data(), length, bits,
                            planes.halves.data());
  });
}
BENCHMARK(lsh_signature)->ArgNames({"L", "H"})->Args({4, 16})->Args({16, 16})->Args({32, 10});

}  // namespace
}  // namespace stages
}  // namespace drpass

// Times every stage of the operator's CPU path on sizes of real layers, each beside a limit of this machine.
#include <cstdio>
#include <exception>
#include <random>

#include "bench/stages/limits.h"
#include "bench/stages/stage.h"

namespace drpass {
namespace stages {

const KernelSet& kernels() { return *choose_kernels(); }

namespace {

Values<float> uniform(int64_t count, float low, float high) {
  std::mt19937 generator(1);
  std::uniform_real_distribution<float> draw(low, high);
  Values<float> values(static_cast<size_t>(count));
  for (float& value : values) value = draw(generator);
  return values;
}

}  // namespace

Values<float> activations(int64_t count) {
  Values<float> values = uniform(count, -1, 1);
  for (float& value : values) value = value > 0 ? value : 0;
  return values;
}

Values<float> weights(int64_t count) { return uniform(count, -0.1f, 0.1f); }

void report(benchmark::State& state, const Work& work) {
  using benchmark::Counter;
  const auto rate = Counter::kIsIterationInvariantRate;
  const double bytes = work.read + work.written;
  if (work.flops > 0) {
    state.counters["FLOP/s"] = Counter(work.flops, rate);
    state.counters["of_peak_%"] = Counter(100 * work.flops / peak_flops(), rate);
  }
  if (bytes > 0) {
    state.counters["B/s"] = Counter(bytes, rate);
    state.counters["of_read_%"] = Counter(100 * bytes / read_bandwidth(static_cast<size_t>(work.footprint)), rate);
  }
}

}  // namespace stages
}  // namespace drpass

int main(int count, char** arguments) {
  using namespace drpass;
  benchmark::Initialize(&count, arguments);
  if (benchmark::ReportUnrecognizedArguments(count, arguments)) return 2;
  const KernelSet* kernels = nullptr;
  try {
    kernels = choose_kernels();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 2;
  }
  if (!kernels) {
    std::fprintf(stderr, "error: the scalar reference has no stages; unset %s\n", kKernelVariable);
    return 2;
  }
  std::fprintf(stderr, "kernels %s, one thread: peak %.1f GFLOP/s; reading", kernels->name,
               stages::peak_flops() / 1e9);
  for (const int kilobytes : {16, 128, 256, 4096, 262144})
    std::fprintf(stderr, " %d KiB %.1f,", kilobytes, stages::read_bandwidth(size_t{1024} * kilobytes) / 1e9);
  std::fprintf(stderr, " GB/s\na cache line to another core and back: %.0f ns; 2 MiB that it wrote: %.1f GB/s\n",
               stages::round_trip() * 1e9, stages::handed_over_bandwidth() / 1e9);
  std::fputs("of_peak_%: percent of that peak; of_read_%: bytes read and written, in percent of the speed of only "
             "reading as many different bytes (the /s after both means nothing)\n",
             stderr);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

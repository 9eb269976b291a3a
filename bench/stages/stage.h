// What the benchmarks of all stages share: the kernels, data, and how a rate is set beside its limit.
#pragma once

#include <benchmark/benchmark.h>

#include <cstdint>
#include <new>
#include <vector>

#include "core/kernels/kernel_set.h"

namespace drpass {
namespace stages {

// Not null: main() ends where only the scalar reference is chosen.
const KernelSet& kernels();

// Memory as ONNX Runtime lends it: vectors begin where lines of the cache do. Elsewhere loads would take twice as long.
template <typename T>
struct AlignedAllocator {
  using value_type = T;
  static constexpr std::align_val_t kAlignment{64};
  AlignedAllocator() = default;
  template <typename U>
  AlignedAllocator(const AlignedAllocator<U>&) {}
  T* allocate(size_t count) { return static_cast<T*>(::operator new(count * sizeof(T), kAlignment)); }
  void deallocate(T* block, size_t) { ::operator delete(block, kAlignment); }
  template <typename U>
  bool operator==(const AlignedAllocator<U>&) const {
    return true;
  }
  template <typename U>
  bool operator!=(const AlignedAllocator<U>&) const {
    return false;
  }
};
template <typename T>
using Values = std::vector<T, AlignedAllocator<T>>;

// Values as after a Relu: about half of them zero, the others in (0, 1). The same in every run.
Values<float> activations(int64_t count);
// Values in (-0.1, 0.1).
Values<float> weights(int64_t count);

// What one call works on. flops: additions and multiplications; read and written: bytes that pass through the kernel,
// however often; footprint: different bytes among them, which say what cache they come from.
struct Work {
  double flops = 0, read = 0, written = 0, footprint = 0;
};

// Calls `body` until the time is stable, and reports GFLOP/s with its share of the peak, and GB/s with its share of the
// bandwidth of reading as many different bytes.
template <typename Body>
void run(benchmark::State& state, const Work& work, const Body& body);

void report(benchmark::State& state, const Work& work);

template <typename Body>
void run(benchmark::State& state, const Work& work, const Body& body) {
  for (auto _ : state) {
    body();
    benchmark::ClobberMemory();
  }
  report(state, work);
}

}  // namespace stages
}  // namespace drpass

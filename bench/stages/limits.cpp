#include "bench/stages/limits.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <thread>

#include "core/kernels/kernel_set.h"

namespace drpass {
namespace stages {
namespace {

constexpr int kChains = 12;  // enough to hide the latency of a multiply-add, few enough for 16 registers
constexpr int kRepeats = 5;  // the best of so many: a limit is not an average
constexpr double kSeconds = 0.01;
constexpr int kTrips = 10;  // of a cache line, between looks at the clock
constexpr size_t kBetweenLooks = size_t{1} << 20;  // bytes: looking takes as long as reading 8 KiB
constexpr size_t kHandedOver = size_t{2} << 20;

template <int kLanes>
struct Lanes {
  typedef float Vector __attribute__((vector_size(kLanes * 4)));
};
template <int kLanes>
using Vector = typename Lanes<kLanes>::Vector;

#ifdef __x86_64__
#define DRPASS_TARGET(features) __attribute__((target(features)))

// Runs kChains chains of x = x * m + a; returns a value that depends on all of them. The chains are named, because an
// array of them might live in memory.
template <int kLanes>
[[gnu::always_inline]] inline float multiply_add(int64_t steps) {
  Vector<kLanes> m{}, a{};
  m += 0.999f;
  a += 0.001f;
  Vector<kLanes> x0 = a, x1 = a, x2 = a, x3 = a, x4 = a, x5 = a, x6 = a, x7 = a, x8 = a, x9 = a, x10 = a, x11 = a;
  for (int64_t step = 0; step < steps; ++step) {
    x0 = x0 * m + a, x1 = x1 * m + a, x2 = x2 * m + a, x3 = x3 * m + a;
    x4 = x4 * m + a, x5 = x5 * m + a, x6 = x6 * m + a, x7 = x7 * m + a;
    x8 = x8 * m + a, x9 = x9 * m + a, x10 = x10 * m + a, x11 = x11 * m + a;
    // Neither joined nor left out: all start alike.
    asm volatile("" : "+v"(x0), "+v"(x1), "+v"(x2), "+v"(x3), "+v"(x4), "+v"(x5));
    asm volatile("" : "+v"(x6), "+v"(x7), "+v"(x8), "+v"(x9), "+v"(x10), "+v"(x11));
  }
  const Vector<kLanes> sum = x0 + x1 + x2 + x3 + x4 + x5 + x6 + x7 + x8 + x9 + x10 + x11;
  return sum[0];
}

// Reads `size` bytes, a multiple of 1024, in whole vectors.
template <int kLanes>
[[gnu::always_inline]] inline float read_all(const char* data, size_t size) {
  using V = Vector<kLanes>;
  V v{};
  for (const char* end = data + size; data != end; data += 4 * sizeof(V)) {
    const V* from = reinterpret_cast<const V*>(data);
    V a = from[0], b = from[1], c = from[2], d = from[3];
    asm volatile("" : "+v"(a), "+v"(b), "+v"(c), "+v"(d));
    v = d;
  }
  return v[0];
}

DRPASS_TARGET("avx512f,fma") float multiply_add_512(int64_t steps) { return multiply_add<16>(steps); }
DRPASS_TARGET("avx2,fma") float multiply_add_256(int64_t steps) { return multiply_add<8>(steps); }
DRPASS_TARGET("avx512f") float read_512(const char* data, size_t size) { return read_all<16>(data, size); }
DRPASS_TARGET("avx2") float read_256(const char* data, size_t size) { return read_all<8>(data, size); }
#endif

// For the portable set: what the compiler's baseline offers.
float multiply_add_128(int64_t steps) {
  Vector<4> x[kChains], m{}, a{};
  m += 0.999f;
  a += 0.001f;
  for (auto& chain : x) chain = a;
  for (int64_t step = 0; step < steps; ++step)
    for (auto& chain : x) chain = chain * m + a;
  for (int i = 1; i < kChains; ++i) x[0] += x[i];
  return x[0][0];
}

float read_128(const char* data, size_t size) {
  Vector<4> sum[4] = {}, v[4];
  for (size_t i = 0; i < size; i += sizeof v) {
    std::memcpy(v, data + i, sizeof v);
    for (int k = 0; k < 4; ++k) sum[k] += v[k];
  }
  return (sum[0] + sum[1] + sum[2] + sum[3])[0];
}

struct Loops {
  int lanes;
  float (*multiply_add)(int64_t);
  float (*read)(const char*, size_t);
};

Loops loops() {
#ifdef __x86_64__
  const KernelSet* kernels = choose_kernels();
  const char* name = kernels ? kernels->name : "";
  if (!std::strcmp(name, "avx512")) return {16, multiply_add_512, read_512};
  if (!std::strcmp(name, "avx2")) return {8, multiply_add_256, read_256};
#endif
  return {4, multiply_add_128, read_128};
}

// The best rate of `body`, which does `work` each time that it is called.
template <typename Body>
double best_rate(double work, const Body& body) {
  using Clock = std::chrono::steady_clock;
  double best = 0;
  for (int repeat = 0; repeat < kRepeats; ++repeat) {
    const auto begin = Clock::now();
    int64_t calls = 0;
    double seconds = 0;
    do {
      body();
      ++calls;
      seconds = std::chrono::duration<double>(Clock::now() - begin).count();
    } while (seconds < kSeconds);
    best = std::max(best, work * static_cast<double>(calls) / seconds);
  }
  return best;
}

volatile float sink;

using Buffer = std::unique_ptr<char, decltype(&std::free)>;

Buffer buffer(size_t size) {
  Buffer data(static_cast<char*>(std::aligned_alloc(64, size)), &std::free);
  std::memset(data.get(), 1, size);
  return data;
}

}  // namespace

double peak_flops() {
  static const double peak = [] {
    constexpr int64_t kSteps = 10000;
    const Loops chosen = loops();
    return best_rate(2.0 * kChains * chosen.lanes * kSteps, [&] { sink = chosen.multiply_add(kSteps); });
  }();
  return peak;
}

double read_bandwidth(size_t footprint) {
  static std::map<size_t, double> measured;
  const size_t size = std::max<size_t>(1024, footprint / 1024 * 1024);
  const auto found = measured.find(size);
  if (found != measured.end()) return found->second;
  const Buffer data = buffer(size);
  const Loops chosen = loops();
  const size_t times = std::max<size_t>(1, kBetweenLooks / size);
  return measured[size] = best_rate(static_cast<double>(size * times), [&] {
    for (size_t i = 0; i < times; ++i) sink = chosen.read(data.get(), size);
  });
}

double round_trip() {
  if (std::thread::hardware_concurrency() < 2) return 0;
  enum : int { kHere, kAway, kDone };
  alignas(128) std::atomic<int> place{kHere};
  std::thread other([&] {
    for (int seen; (seen = place.load(std::memory_order_acquire)) != kDone;)
      if (seen == kAway) place.store(kHere, std::memory_order_release);
  });
  // For a time instead of a number of trips: two threads that get one core only wait for each other very long.
  const double rate = best_rate(kTrips, [&] {
    for (int trip = 0; trip < kTrips; ++trip) {
      place.store(kAway, std::memory_order_release);
      while (place.load(std::memory_order_acquire) != kHere) {
      }
    }
  });
  place.store(kDone, std::memory_order_release);
  other.join();
  return 1 / rate;
}

double handed_over_bandwidth() {
  if (std::thread::hardware_concurrency() < 2) return 0;
  using Clock = std::chrono::steady_clock;
  const Buffer data = buffer(kHandedOver);
  const Loops chosen = loops();
  std::atomic<int> turn{0};  // even: the other one writes; odd: this one reads
  std::thread other([&] {
    for (int trip = 0; trip < kTrips; ++trip) {
      while (turn.load(std::memory_order_acquire) != 2 * trip) {
      }
      std::memset(data.get(), trip, kHandedOver);
      turn.store(2 * trip + 1, std::memory_order_release);
    }
  });
  double best = 0;
  for (int trip = 0; trip < kTrips; ++trip) {
    while (turn.load(std::memory_order_acquire) != 2 * trip + 1) {
    }
    const auto begin = Clock::now();
    sink = chosen.read(data.get(), kHandedOver);
    best = std::max(best, kHandedOver / std::chrono::duration<double>(Clock::now() - begin).count());
    turn.store(2 * trip + 2, std::memory_order_release);
  }
  other.join();
  return best;
}

}  // namespace stages
}  // namespace drpass

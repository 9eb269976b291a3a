// Several callers at once, each with threads of its own, must get the bytes that one thread gets. A program in C++,
// because ThreadSanitizer has to see how threads wait for each other and ONNX Runtime is not built with it.
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "core/depthwise.h"
#include "core/engine.h"
#include "core/fully_connected.h"
#include "core/hyperplanes.h"
#include "core/local_memory.h"
#include "core/memo.h"
#include "core/stages.h"
#include "core/table_scale.h"
#include "core/winograd.h"

namespace {

using namespace drpass;

constexpr int kCallers = 3, kThreads = 3;

class ThreadExecutor : public Executor {
  void run_erased(size_t count, Function function, const void* context) override {
    std::atomic<size_t> next{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; ++i)
      threads.emplace_back([&] {
        for (size_t index = next++; index < count; index = next++) function(context, index);
      });
    for (std::thread& thread : threads) thread.join();
  }
};

class HeapMemory : public Memory {
 public:
  void* allocate(size_t bytes) override {
    void* block = nullptr;  // of this very size, so that AddressSanitizer sees every step beyond it
    if (posix_memalign(&block, 64, bytes)) throw std::bad_alloc();
    return block;
  }
  void release(void* block) override { std::free(block); }
};

std::vector<float> values(int64_t count, unsigned seed) {
  std::mt19937 generator(seed);
  std::uniform_int_distribution<int> draw(-8, 8);  // coarse, so that vectors repeat
  std::vector<float> result(static_cast<size_t>(count));
  for (float& value : result) value = static_cast<float>(draw(generator)) / 8;
  return result;
}

// A convolution of 3 images of 40 channels, 11 x 13 pixels, to 40 channels. The first image is mostly zeros.
struct Case {
  Parameters parameters;
  Geometry geometry;
  std::vector<float> x, w, bias, hyperplanes;
  int64_t outputs = 1;

  explicit Case(const Parameters& p) : parameters(p) {
    parameters.output_channels = 40;
    const int64_t kernel = parameters.kernel_shape[0];
    const std::vector<int64_t> shape =
        p.x_layout == Layout::blocked ? std::vector<int64_t>{3, 3, 11, 13, 16} : std::vector<int64_t>{3, 40, 11, 13};
    geometry = resolve(parameters, shape, {1, 3, kernel * kernel, 40, 16});
    const auto size = [](const std::vector<int64_t>& dims) {
      int64_t product = 1;
      for (const int64_t dim : dims) product *= dim;
      return product;
    };
    x = values(size(shape), 1);
    for (size_t i = 0; i < x.size() / 3; ++i)
      if (i % 16 != i / 16 % 16) x[i] = 0;
    w = values(size(packed_weight_shape(geometry)), 2);
    bias = values(parameters.output_channels, 3);
    hyperplanes = make_hyperplanes(parameters.seed, parameters.hash_bits, parameters.sub_vector_length);
    outputs = size(geometry.y_shape);
  }

  std::vector<float> run(Executor& executor, const Kept& kept, StageTimes* stages) const {
    std::vector<float> y(static_cast<size_t>(outputs));
    HeapMemory memory;
    Tensors tensors;
    tensors.x = x.data();
    tensors.w = w.data();
    tensors.bias = bias.data();
    tensors.y = y.data();
    compute(parameters, geometry, tensors, *choose_kernels(), kept, executor, memory, stages);
    return y;
  }

  // How many callers at once, which share what a node keeps and have their stages measured, got other bytes than one
  // thread with neither.
  int differences() const {
    SerialExecutor serial;
    Kept kept;
    kept.hyperplanes = hyperplanes.data();
    const std::vector<float> expected = run(serial, kept, nullptr);
    HeapMemory memory;
    const Scratch<float> weights =
        keep_winograd_weights(parameters, w.data(), packed_weight_shape(geometry), *choose_kernels(), memory);
    if (weights.size()) kept.winograd_weights = weights.data();
    const std::vector<float> tap_sums = sum_tap_magnitudes(packed_weight_shape(geometry), w.data());
    kept.tap_sums = tap_sums.data();
    kept.finite_weights = true;  // zeros are left out
    std::unique_ptr<Memo> memo;
    if (parameters.memo_bytes) memo = std::make_unique<Memo>(parameters.memo_bytes, winograd_result_size(parameters));
    kept.memo = memo.get();
    StageTimes stages("node");
    std::atomic<int> different{0};
    std::vector<std::thread> callers;
    for (int i = 0; i < kCallers; ++i)
      callers.emplace_back([&] {
        ThreadExecutor executor;
        const std::vector<float> y = run(executor, kept, &stages);
        if (std::memcmp(y.data(), expected.data(), y.size() * sizeof(float))) ++different;
      });
    collect_stages(true);  // clears while they run
    collected_stages();
    for (std::thread& caller : callers) caller.join();
    return different;
  }
};

// Memos that hold all tiles, and so few that entries are evicted while others are read.
constexpr int64_t kLargeMemo = 1 << 22, kSmallMemo = 1 << 15;

std::vector<Parameters> all_parameters() {
  std::vector<Parameters> all;
  for (const Layout layout : {Layout::planes, Layout::blocked})
    for (const int64_t kernel : {1, 3, 5}) {
      Parameters p;
      p.x_layout = p.y_layout = layout;
      p.kernel_shape = {kernel, kernel};
      p.pads = std::vector<int64_t>(4, kernel / 2);
      p.step = 0.5f;
      p.activation = Activation::relu;
      for (const int64_t bytes : {int64_t{0}, kSmallMemo, kLargeMemo}) {
        p.memo_bytes = bytes;
        all.push_back(p);
      }
      p.memo_bytes = 0;
      for (const Method method : {Method::grid, Method::lsh})
        for (const Scope scope : {Scope::image, Scope::batch})
          for (const TableType table : {TableType::float32, TableType::int16})
            for (const float limit : {1.0f, 0.3f}) {
              p.method = method;
              p.scope = scope;
              p.table_type = table;
              p.max_remaining_ratio = limit;
              all.push_back(p);
            }
    }
  return all;
}

// How many callers at once got other bytes than one thread. run(executor, memory, y) computes `outputs` values.
template <typename Run>
int differences_of(int64_t outputs, const Run& run) {
  SerialExecutor serial;
  HeapMemory memory;
  std::vector<float> expected(static_cast<size_t>(outputs));
  run(serial, memory, expected.data());
  std::atomic<int> different{0};
  std::vector<std::thread> callers;
  for (int i = 0; i < kCallers; ++i)
    callers.emplace_back([&] {
      ThreadExecutor executor;
      HeapMemory own;
      std::vector<float> y(expected.size());
      run(executor, own, y.data());
      if (std::memcmp(y.data(), expected.data(), y.size() * sizeof(float))) ++different;
    });
  for (std::thread& caller : callers) caller.join();
  return different;
}

// 40 channels of 3 images of 31 x 33 pixels, from and to both layouts.
int depthwise_differences(Layout x_layout, Layout y_layout) {
  Parameters p;
  p.output_channels = 40;
  p.kernel_shape = {3, 3};
  p.pads = {1, 1, 1, 1};
  p.x_layout = x_layout;
  p.y_layout = y_layout;
  p.activation = Activation::silu;
  const std::vector<int64_t> shape =
      x_layout == Layout::blocked ? std::vector<int64_t>{3, 3, 31, 33, 16} : std::vector<int64_t>{3, 40, 31, 33};
  const DepthwiseGeometry geometry = resolve_depthwise(p, shape, {3, 9, 16});
  const int64_t channels = 3 * 3 * kPanel;  // of all images, with those that only fill blocks
  const std::vector<float> x = values(channels * 31 * 33, 1), w = values(3 * 9 * kPanel, 2), bias = values(40, 3);
  const int64_t outputs = (y_layout == Layout::blocked ? channels : 3 * 40) * 31 * 33;
  return differences_of(outputs, [&](Executor& executor, Memory& memory, float* y) {
    depthwise(p, geometry, x.data(), w.data(), bias.data(), y, choose_kernels(), executor, memory);
  });
}

// So many rows of 300 values, of which some are zero, times 700 columns.
int fully_connected_differences(int64_t rows) {
  FullyConnectedParameters p;
  p.outputs = 700;
  p.activation = Activation::relu;
  const FullyConnectedGeometry geometry = resolve_fully_connected(p, {rows, 300}, {3, 300, 256});
  std::vector<float> x = values(rows * 300, 1);
  for (size_t i = 0; i < x.size(); i += 1 + i % 3) x[i] = 0;
  const std::vector<float> w = values(3 * 300 * 256, 2), bias = values(700, 3);
  return differences_of(rows * 700, [&](Executor& executor, Memory& memory, float* y) {
    fully_connected(p, geometry, x.data(), w.data(), bias.data(), y, choose_kernels(), executor, memory);
  });
}

// Scratch memory of all sizes, which another thread releases and uses again. Returns how many blocks are not aligned.
int scratch_failures() {
  HeapMemory heap;
  LocalMemory memory(heap);
  int failures = 0;
  const auto allocate = [&] {
    std::vector<void*> blocks;
    for (size_t bytes = 1; bytes < size_t{8} << 20; bytes *= 3) {
      blocks.push_back(std::memset(memory.allocate(bytes), 1, bytes));
      failures += reinterpret_cast<uintptr_t>(blocks.back()) % 64 != 0;
    }
    return blocks;
  };
  const std::vector<void*> blocks = allocate();
  std::thread([&] {
    for (void* block : blocks) memory.release(block);
    for (void* block : allocate()) memory.release(block);
  }).join();
  return failures;
}

}  // namespace

int main() {
  if (!choose_kernels()) {
    std::fprintf(stderr, "the scalar reference has no threads\n");
    return 2;
  }
  int failed = 0, index = 0;
  const auto judge = [&](int different) {
    if (different) std::printf("case %d: %d of %d callers got other bytes\n", index, different, kCallers);
    failed += different > 0;
    ++index;
  };
  for (const Parameters& parameters : all_parameters()) judge(Case(parameters).differences());
  for (const Layout x : {Layout::planes, Layout::blocked})
    for (const Layout y : {Layout::planes, Layout::blocked}) judge(depthwise_differences(x, y));
  for (const int64_t rows : {1, 7, 40}) judge(fully_connected_differences(rows));
  if (const int wrong = scratch_failures()) {
    std::printf("%d blocks of scratch memory are not aligned\n", wrong);
    ++failed;
  }
  std::printf("%s: %d cases, %d failed\n", choose_kernels()->name, index, failed);
  return failed ? 1 : 0;
}

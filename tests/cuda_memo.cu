// The memo on CUDA: which tiles it knows, by what is planted in its place, how much memory it takes, what it forgets, and
// that a call that cannot have it computes everything. Prints what is wrong; the exit status is the number of failed checks.
#include <cuda_runtime.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "core/geometry.h"
#include "core/tensors.h"
#include "cuda/engine.h"
#include "cuda/launch.h"
#include "cuda/memo.h"

namespace {

using namespace drpass;

int failures = 0;

void expect(bool condition, const char* what) {
  if (condition) return;
  std::printf("wrong: %s\n", what);
  ++failures;
}

// A block of its own for every array, so that what is written past its end is seen.
class DeviceMemory : public Memory {
 public:
  void* allocate(size_t bytes) override {
    if (bytes > most) throw std::bad_alloc();
    taken += bytes;
    void* block = nullptr;
    cuda::check(cudaMalloc(&block, bytes), "cudaMalloc");
    return block;
  }
  void release(void* block) override { cudaFree(block); }

  size_t taken = 0, most = SIZE_MAX;
};

constexpr float kPlanted = 77.0f;

// A convolution of 3x3 with a border of 1, and its memo.
class Node {
 public:
  Node(int64_t channels, int64_t outputs, int64_t memo_bytes, size_t most = SIZE_MAX) {
    p_.output_channels = outputs;
    p_.kernel_shape = {3, 3};
    p_.pads = {1, 1, 1, 1};
    p_.strides = p_.dilations = {1, 1};
    p_.memo_bytes = memo_bytes;
    w_shape_ = {1, (outputs + kPanel - 1) / kPanel, 9, channels, kPanel};
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    std::vector<float> weights(static_cast<size_t>(checked_product({w_shape_[1], 9, channels, kPanel})));
    for (float& weight : weights) weight = normal(random);
    w_ = Scratch<float>(memory_, weights.size());
    cuda::check(cudaMemcpy(w_.data(), weights.data(), weights.size() * sizeof(float), cudaMemcpyHostToDevice), "copy");
    memory_.taken = 0;
    memory_.most = most;
    memo_ = cuda::make_memo(p_, memory_);
    taken = memory_.taken;
    memory_.most = SIZE_MAX;
  }

  const cuda::MemoStore& store() const { return memo_->store(); }

  // Y [image][output][pixel] for X of images [channels][height][width].
  std::vector<float> run(const std::vector<float>& x, int64_t images, int64_t height, int64_t width, bool memo = true) {
    const int64_t channels = w_shape_[3];
    const Geometry g = resolve(p_, {images, channels, height, width}, w_shape_);
    Scratch<float> dx(memory_, x.size()), dy(memory_, static_cast<size_t>(images * g.y_image));
    cuda::check(cudaMemcpy(dx.data(), x.data(), x.size() * sizeof(float), cudaMemcpyHostToDevice), "copy");
    Tensors t;
    t.x = dx.data();
    t.w = w_.data();
    t.y = dy.data();
    cuda::compute(p_, g, t, memo ? memo_.get() : nullptr, {nullptr, memory_});
    std::vector<float> y(dy.size());
    cuda::check(cudaMemcpy(y.data(), dy.data(), y.size() * sizeof(float), cudaMemcpyDeviceToHost), "copy");
    return y;
  }

  // All that is kept becomes kPlanted.
  void plant() {
    const cuda::MemoStore& m = store();
    const size_t count = static_cast<size_t>(m.sets) * m.kWays * cuda::kTilePixels * m.width;
    const std::vector<float> planted(count, kPlanted);
    cuda::check(cudaMemcpy(m.results, planted.data(), count * sizeof(float), cudaMemcpyHostToDevice), "copy");
  }
  void set_owned(unsigned owned) {
    cuda::check(cudaMemcpy(store().owned, &owned, sizeof owned, cudaMemcpyHostToDevice), "copy");
  }

  size_t taken;

 private:
  Parameters p_;
  std::vector<int64_t> w_shape_;
  DeviceMemory memory_;
  Scratch<float> w_;
  std::unique_ptr<cuda::Memo, cuda::DeleteMemo> memo_;
};

std::vector<float> noise(size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> x(count);
  for (float& value : x) value = normal(random);
  return x;
}

constexpr int64_t kChannels = 3, kHeight = 14, kWidth = 23, kOutputs = 5;

// One image of kChannels planes, moved to the right.
std::vector<float> moved(const std::vector<float>& x, int64_t by) {
  std::vector<float> result(x.size());
  for (int64_t row = 0; row < kChannels * kHeight; ++row)
    for (int64_t column = 0; column < kWidth; ++column)
      result[row * kWidth + (column + by) % kWidth] = x[row * kWidth + column];
  return result;
}

struct Window {
  int64_t rows, columns;
  std::vector<float> values;
  bool operator==(const Window& other) const {
    return rows == other.rows && columns == other.columns &&
           std::memcmp(values.data(), other.values.data(), values.size() * sizeof(float)) == 0;
  }
};

// Of the tile whose first output is at (y, x).
Window window_of(const std::vector<float>& image, int64_t y, int64_t x) {
  Window window{std::min<int64_t>(4, kHeight - y), std::min<int64_t>(4, kWidth - x), {}};
  for (int64_t channel = 0; channel < kChannels; ++channel)
    for (int64_t row = y - 1; row < y + window.rows + 1; ++row)
      for (int64_t column = x - 1; column < x + window.columns + 1; ++column) {
        const bool inside = row >= 0 && column >= 0 && row < kHeight && column < kWidth;
        window.values.push_back(inside ? image[(channel * kHeight + row) * kWidth + column] : 0.0f);
      }
  return window;
}

std::vector<Window> windows_of(const std::vector<float>& image) {
  std::vector<Window> windows;
  for (int64_t y = 0; y < kHeight; y += 4)
    for (int64_t x = 0; x < kWidth; x += 4) windows.push_back(window_of(image, y, x));
  return windows;
}

// Exactly the outputs of tiles with known windows are planted, the others are as they are without a memo.
bool is_planted(const std::vector<float>& y, const std::vector<float>& plain, const std::vector<float>& x,
                const std::vector<Window>& known, int* count) {
  for (int64_t row = 0; row < kHeight; ++row)
    for (int64_t column = 0; column < kWidth; ++column) {
      const Window window = window_of(x, row / 4 * 4, column / 4 * 4);
      bool knows = false;
      for (const Window& other : known) knows |= window == other;
      *count += knows;
      for (int64_t output = 0; output < kOutputs; ++output) {
        const size_t place = static_cast<size_t>((output * kHeight + row) * kWidth + column);
        if (y[place] != (knows ? kPlanted : plain[place])) return false;
      }
    }
  return true;
}

void check_hits() {
  Node node(kChannels, kOutputs, 1 << 20);
  const std::vector<float> first = noise(kChannels * kHeight * kWidth, 2);
  const std::vector<float> plain = node.run(first, 1, kHeight, kWidth, false);
  // Two tiles of a call may want one place.
  for (int call = 0; call < 4; ++call) expect(node.run(first, 1, kHeight, kWidth) == plain, "a still frame");
  node.plant();
  int tiles = 0;
  expect(is_planted(node.run(first, 1, kHeight, kWidth), plain, first, windows_of(first), &tiles), "all is kept");
  expect(tiles == kHeight * kWidth, "all tiles are known");

  for (const int64_t by : {4, 1}) {
    const std::vector<float> frame = moved(first, by), result = node.run(frame, 1, kHeight, kWidth, false);
    tiles = 0;
    expect(is_planted(node.run(frame, 1, kHeight, kWidth), result, frame, windows_of(first), &tiles), "a moved frame");
    expect(by == 1 ? tiles == 0 : tiles > 100, "a part of a moved frame is known");
  }
  // Two other images beside it, in one call.
  std::vector<float> batch = noise(3 * first.size(), 3);
  std::copy(first.begin(), first.end(), batch.begin() + static_cast<int64_t>(first.size()));
  std::vector<float> expected = node.run(batch, 3, kHeight, kWidth, false);
  const auto second = expected.begin() + static_cast<int64_t>(plain.size());
  std::fill(second, second + static_cast<int64_t>(plain.size()), kPlanted);
  expect(node.run(batch, 3, kHeight, kWidth) == expected, "a batch");
  // A plane of one value: all tiles away from the border are one, and the memo has room for it in the first call.
  const std::vector<float> flat(kChannels * kHeight * kWidth, 2.0f);
  const std::vector<float> flat_result = node.run(flat, 1, kHeight, kWidth);
  expect(flat_result == node.run(flat, 1, kHeight, kWidth, false), "a flat frame");
  node.plant();
  const std::vector<float> again = node.run(flat, 1, kHeight, kWidth);
  expect(again[5 * kWidth + 5] == kPlanted, "a flat frame is known");
}

// More tiles than a block lists, in one call.
void check_many_tiles() {
  Node node(1, kOutputs, 1 << 20);
  const std::vector<float> x = noise(70 * 70, 6);
  const std::vector<float> plain = node.run(x, 1, 70, 70, false);
  for (int call = 0; call < 2; ++call) expect(node.run(x, 1, 70, 70) == plain, "many tiles");
}

void check_owner() {
  Node node(kChannels, kOutputs, 1 << 20);
  const std::vector<float> x = noise(kChannels * kHeight * kWidth, 4);
  const std::vector<float> plain = node.run(x, 1, kHeight, kWidth, false);
  for (int call = 0; call < 4; ++call) node.run(x, 1, kHeight, kWidth);
  node.plant();
  node.set_owned(1);
  const std::vector<float> other = noise(x.size(), 5);
  expect(node.run(x, 1, kHeight, kWidth) == plain, "without the memo");
  expect(node.run(other, 1, kHeight, kWidth) == node.run(other, 1, kHeight, kWidth, false), "without the memo");
  node.set_owned(0);
  int tiles = 0;
  expect(is_planted(node.run(x, 1, kHeight, kWidth), plain, x, windows_of(x), &tiles), "as it was");
}

// Images of one tile, in a memo of one set.
void check_eviction() {
  constexpr int64_t kSlot = 16 * kOutputs * 4 + 24, kLimit = 256 + 15 * kSlot;
  Node node(1, kOutputs, kLimit);
  expect(node.store().sets == 1, "one set");
  expect(node.taken > 0 && node.taken <= kLimit, "the limit");
  const auto image = [](unsigned seed) { return noise(16, 10 + seed); };
  const auto knows = [&](unsigned seed) {
    node.plant();
    const std::vector<float> y = node.run(image(seed), 1, 4, 4), plain = node.run(image(seed), 1, 4, 4, false);
    expect(y == plain || y == std::vector<float>(y.size(), kPlanted), "one tile");
    return y != plain;
  };
  for (unsigned seed = 0; seed < 8; ++seed) expect(!knows(seed), "a first time");
  expect(knows(0), "the first of eight");
  expect(!knows(8), "the ninth");
  expect(knows(0), "what was used");
  expect(!knows(1), "what was not used for longest");
  expect(knows(8) && !knows(2) && knows(7), "the last");
}

void check_limits() {
  expect(Node(1, kOutputs, 500).store().sets == 0, "too little");
  Node poor(1, kOutputs, 1 << 20, 1 << 10);
  expect(poor.store().sets == 0, "no memory");
  expect(poor.run(noise(16, 1), 1, 4, 4) == poor.run(noise(16, 1), 1, 4, 4, false), "no memory");
  expect(Node(1, kOutputs, kTakenBytes * 2).taken == 0, "all of a process");
}

}  // namespace

int main() {
  check_hits();
  check_many_tiles();
  check_owner();
  check_eviction();
  check_limits();
  if (failures == 0) std::printf("all as expected\n");
  return failures;
}

#include "core/fully_connected.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>

#include "core/activation.h"
#include "core/geometry.h"

namespace drpass {
namespace {

// Rows of X that are listed, at most, and how many full rows their lists may make together: with more the product by tiles
// is faster. What is chosen does not show: a zero adds nothing to a sum.
constexpr int64_t kListedRows = 32, kFullRows = 3;
// Inputs whose weights for a wide panel stay in L2 while one row after the other meets them.
constexpr int64_t kInputs = 512;
// Depth and rows of the product by tiles.
constexpr int64_t kDepth = 384, kTileRows = 96;

void reference(const FullyConnectedParameters& p, const FullyConnectedGeometry& g, const float* x, const float* w,
               const float* bias, float* y) {
  for (int64_t r = 0; r < g.rows; ++r)
    for (int64_t m = 0; m < p.outputs; ++m) {
      const float* column = w + m / kWidePanel * g.inputs * kWidePanel + m % kWidePanel;
      float sum = 0.0f;
      for (int64_t k = 0; k < g.inputs; ++k) sum = std::fma(x[r * g.inputs + k], column[k * kWidePanel], sum);
      if (bias) sum += bias[m];
      y[r * p.outputs + m] = activate(sum, p.activation, p.activation_params[0], p.activation_params[1]);
    }
}

class FullyConnected {
 public:
  FullyConnected(const FullyConnectedParameters& p, const FullyConnectedGeometry& g, const float* x, const float* w,
                 const float* bias, float* y, const KernelSet& kernels, Executor& executor, Memory& memory)
      : p_(p), g_(g), x_(x), w_(w), bias_(bias), y_(y), kernels_(kernels), executor_(executor), memory_(memory) {}

  void run() {
    if (g_.rows > kListedRows) return run_by_tiles();
    std::vector<List> lists(g_.rows);
    int64_t listed = 0;
    for (int64_t row = 0; row < g_.rows; ++row) {
      lists[row] = make_list(row);
      listed += g_.inputs ? lists[row].ends[divide_up(g_.inputs, kInputs) - 1] : 0;
    }
    if (listed > kFullRows * g_.inputs) return run_by_tiles();
    run_lists(lists);
  }

 private:
  int64_t panels() const { return divide_up(p_.outputs, kWidePanel); }
  const float* weights_of(int64_t panel) const { return w_ + panel * g_.inputs * kWidePanel; }

  // The inputs of a row that count: values[i] meets the weights at offsets[i] of a wide panel. ends: of every kInputs.
  struct List {
    Scratch<float> values;
    Scratch<int32_t> offsets, ends;
  };

  List make_list(int64_t row) const {
    const int64_t parts = divide_up(g_.inputs, kInputs);
    List list{Scratch<float>(memory_, g_.inputs + kPanel), Scratch<int32_t>(memory_, g_.inputs + kPanel),
              Scratch<int32_t>(memory_, parts)};
    const float* x = x_ + row * g_.inputs;
    int64_t end = 0;
    for (int64_t part = 0; part < parts; ++part) {
      const int64_t first = part * kInputs, count = std::min(kInputs, g_.inputs - first);
      const int64_t before = end;
      end += p_.skip_zeros ? list_nonzeros(x + first, count, list, end) : list_all(x + first, count, list, end);
      for (int64_t i = before; i < end; ++i) list.offsets[i] += static_cast<int32_t>(first * kWidePanel);
      list.ends[part] = static_cast<int32_t>(end);
    }
    return list;
  }

  int64_t list_nonzeros(const float* x, int64_t count, List& list, int64_t at) const {
    const int64_t here = 0;
    NonzeroWindow window{};
    window.x = x;
    window.taps = &here;
    window.tap_count = 1;
    window.x_block = kPanel;
    window.channels = count;
    window.row = static_cast<int32_t>(kWidePanel);
    window.values = list.values.data() + at;
    window.offsets = list.offsets.data() + at;
    return kernels_.list_nonzeros(window);
  }

  static int64_t list_all(const float* x, int64_t count, List& list, int64_t at) {
    for (int64_t k = 0; k < count; ++k) {
      list.values[at + k] = x[k];
      list.offsets[at + k] = static_cast<int32_t>(k * kWidePanel);
    }
    return count;
  }

  void run_lists(const std::vector<List>& lists) {
    executor_.run(static_cast<size_t>(panels()), [&](size_t panel) {
      Scratch<float> acc(memory_, g_.rows * kWidePanel);
      std::fill(acc.data(), acc.data() + acc.size(), 0.0f);
      for (int64_t part = 0; part < divide_up(g_.inputs, kInputs); ++part)
        for (int64_t row = 0; row < g_.rows; ++row) {
          const List& list = lists[row];
          const int64_t begin = part == 0 ? 0 : list.ends[part - 1];
          kernels_.add_weight_rows({weights_of(static_cast<int64_t>(panel)), list.values.data() + begin,
                                    list.offsets.data() + begin, list.ends[part] - begin,
                                    acc.data() + row * kWidePanel});
        }
      finish(static_cast<int64_t>(panel), 0, g_.rows, acc.data());
    });
  }

  // Tiles of rows, whose inputs are copied side by side.
  void run_by_tiles() {
    const int64_t tiles = divide_up(g_.rows, kTileRows);
    executor_.run(static_cast<size_t>(tiles * panels()), [&](size_t task) {
      const int64_t panel = static_cast<int64_t>(task) / tiles, first = static_cast<int64_t>(task) % tiles * kTileRows;
      const int64_t rows = std::min(kTileRows, g_.rows - first);
      const int64_t narrow = divide_up(std::min(kWidePanel, p_.outputs - panel * kWidePanel), kPanel);
      Scratch<float> patch(memory_, std::min(divide_up(g_.inputs, kPanel) * kPanel, kDepth) * rows);
      Scratch<float> acc(memory_, rows * kWidePanel);
      if (g_.inputs == 0) std::fill(acc.data(), acc.data() + acc.size(), 0.0f);
      for (int64_t k = 0; k < g_.inputs; k += kDepth) {
        const int64_t depth = std::min(kDepth, g_.inputs - k);
        for (int64_t c = 0; c < depth; c += kPanel)
          for (int64_t row = 0; row < rows; ++row)
            std::memcpy(patch.data() + c * rows + row * kPanel, x_ + (first + row) * g_.inputs + k + c,
                        std::min(kPanel, depth - c) * sizeof(float));
        DenseBlock block{};
        block.patch = patch.data();
        block.patch_stride = rows * kPanel;
        block.weights = weights_of(panel) + k * kWidePanel;
        block.panel_stride = kPanel;
        block.weight_row = kWidePanel;
        block.depth = depth;
        block.panels = narrow;
        block.rows = rows;
        block.acc = acc.data();
        block.ld = kWidePanel;
        block.first = k == 0;
        kernels_.dense(block);
      }
      finish(panel, first, rows, acc.data());
    });
  }

  void finish(int64_t panel, int64_t first_row, int64_t rows, const float* acc) const {
    const int64_t m = panel * kWidePanel;
    Epilogue e{};
    e.acc = acc;
    e.ld = kWidePanel;
    e.pixels = rows;
    e.outputs = std::min(kWidePanel, p_.outputs - m);
    e.bias = bias_ ? bias_ + m : nullptr;
    e.activation = p_.activation;
    std::copy(p_.activation_params.begin(), p_.activation_params.end(), e.params);
    e.y = y_ + first_row * p_.outputs + m;
    e.y_rows = true;
    e.y_panel = kPanel;
    e.y_pixel = p_.outputs;
    kernels_.epilogue(e);
  }

  const FullyConnectedParameters& p_;
  const FullyConnectedGeometry& g_;
  const float *x_, *w_, *bias_;
  float* y_;
  const KernelSet& kernels_;
  Executor& executor_;
  Memory& memory_;
};

}  // namespace

FullyConnectedGeometry resolve_fully_connected(const FullyConnectedParameters& p, const std::vector<int64_t>& x,
                                               const std::vector<int64_t>& w) {
  const int64_t panels = divide_up(p.outputs, kWidePanel);
  if (x.empty()) throw std::invalid_argument("X has shape [], but FullyConnected needs [..., K]");
  FullyConnectedGeometry g;
  g.inputs = x.back();
  const std::vector<int64_t> weights{panels, g.inputs, kWidePanel};
  if (w != weights)
    throw std::invalid_argument("W has shape " + format_shape(w) + ", but " + format_shape(weights) + " was expected");
  g.rows = 1;
  for (size_t axis = 0; axis + 1 < x.size(); ++axis) g.rows = checked_product({g.rows, x[axis]});
  checked_product({g.rows, std::max(g.inputs, p.outputs)});
  // Offsets in a wide panel are 32-bit.
  if (checked_product({g.inputs, kWidePanel}) > std::numeric_limits<int32_t>::max())
    throw std::invalid_argument("the tensors are too large");
  g.y_shape = x;
  g.y_shape.back() = p.outputs;
  return g;
}

void fully_connected(const FullyConnectedParameters& p, const FullyConnectedGeometry& g, const float* x, const float* w,
                     const float* bias, float* y, const KernelSet* kernels, Executor& executor, Memory& memory) {
  if (g.rows == 0) return;
  if (!kernels) return reference(p, g, x, w, bias, y);
  FullyConnected(p, g, x, w, bias, y, *kernels, executor, memory).run();
}

}  // namespace drpass

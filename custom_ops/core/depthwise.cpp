#include "core/depthwise.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "core/activation.h"
#include "core/geometry.h"
#include "core/planes.h"

namespace drpass {
namespace {

// Multiply-adds of a task, at least.
constexpr int64_t kTaskWork = 200 * 1000;

DepthwiseAxis axis_of(const Parameters& p, size_t axis, int64_t in) {
  const Window window = slide(p, axis, in);
  return {in,
          p.kernel_shape[axis],
          p.strides.empty() ? 1 : p.strides[axis],
          p.dilations.empty() ? 1 : p.dilations[axis],
          window.count,
          window.pad};
}

// One output row of a block, as the definition reads.
void reference_row(const DepthwiseRow& row) {
  for (int64_t i = 0; i < row.outputs; ++i)
    for (int64_t lane = 0; lane < kPanel; ++lane) {
      float sum = 0.0f;
      for (int64_t y = 0; y < row.rows; ++y)
        for (int64_t k = 0; k < row.kernel; ++k) {
          const int64_t x = i * row.stride - row.pad + k * row.dilation;
          if (x < 0 || x >= row.width) continue;
          sum = std::fma(row.x[y * row.row_stride + x * kPanel + lane], row.w[(y * row.kernel + k) * kPanel + lane], sum);
        }
      row.y[i * kPanel + lane] = activate(sum + row.bias[lane], row.activation, row.params[0], row.params[1]);
    }
}

// Rows of taps of an output row that lie in the image: [first, end).
struct TapRows {
  int64_t first, end;
};
TapRows inside(const DepthwiseAxis& axis, int64_t start) {
  const int64_t first = start < 0 ? divide_up(-start, axis.dilation) : 0;
  const int64_t end = start >= axis.in ? 0 : divide_up(axis.in - start, axis.dilation);
  return {std::min(first, axis.kernel), std::clamp(end, std::min(first, axis.kernel), axis.kernel)};
}

// One call; a task computes some output rows of a block of channels.
class Depthwise {
 public:
  Depthwise(const Parameters& p, const DepthwiseGeometry& g, const float* x, const float* w, const float* bias, float* y,
            const KernelSet* kernels, Memory& memory)
      : p_(p), g_(g), x_(x), w_(w), bias_(bias), y_(y), kernels_(kernels), memory_(memory) {}

  // Output rows [first, end).
  void run(int64_t image, int64_t block, int64_t first, int64_t end) const {
    const int64_t channels = std::min(kPanel, p_.output_channels - block * kPanel);
    float bias[kPanel] = {};
    if (bias_) std::copy(bias_ + block * kPanel, bias_ + block * kPanel + channels, bias);
    DepthwiseRow row{};
    row.row_stride = g_.rows.dilation * g_.columns.in * kPanel;
    row.width = g_.columns.in;
    row.outputs = g_.columns.out;
    row.kernel = g_.columns.kernel;
    row.stride = g_.columns.stride;
    row.dilation = g_.columns.dilation;
    row.pad = g_.columns.pad;
    row.bias = bias;
    row.activation = p_.activation;
    std::copy(p_.activation_params.begin(), p_.activation_params.end(), row.params);

    Scratch<float> x_room, y_room;
    const Rows x = read(image, block, channels, first, end, x_room);
    float* y = place_of(image, block, first, end, y_room);
    for (int64_t i = first; i < end; ++i, y += g_.columns.out * kPanel) {
      const int64_t start = i * g_.rows.stride - g_.rows.pad;
      const TapRows taps = inside(g_.rows, start);
      row.rows = taps.end - taps.first;
      row.x = x.data + (row.rows > 0 ? start + taps.first * g_.rows.dilation - x.first : 0) * g_.columns.in * kPanel;
      row.w = w_ + (block * g_.taps() + taps.first * g_.columns.kernel) * kPanel;
      row.y = y;
      kernels_ ? kernels_->depthwise_row(row) : reference_row(row);
      for (int64_t pixel = 0; channels < kPanel && pixel < g_.columns.out; ++pixel)
        std::fill(y + pixel * kPanel + channels, y + (pixel + 1) * kPanel, 0.0f);
    }
    if (y_room.size()) write(image, block, channels, first, end, y_room.data());
  }

 private:
  // Input rows of a block from `first` on.
  struct Rows {
    const float* data;
    int64_t first;
  };

  Rows read(int64_t image, int64_t block, int64_t channels, int64_t first, int64_t end, Scratch<float>& room) const {
    const int64_t pixels = g_.rows.in * g_.columns.in;
    if (p_.x_layout == Layout::blocked) return {x_ + (image * g_.blocks + block) * pixels * kPanel, 0};
    const int64_t reach = (g_.rows.kernel - 1) * g_.rows.dilation;
    const int64_t top = std::clamp<int64_t>(first * g_.rows.stride - g_.rows.pad, 0, g_.rows.in);
    const int64_t bottom = std::clamp((end - 1) * g_.rows.stride - g_.rows.pad + reach + 1, top, g_.rows.in);
    const int64_t count = (bottom - top) * g_.columns.in;
    room = Scratch<float>(memory_, count * kPanel);
    const float* planes = x_ + (image * p_.output_channels + block * kPanel) * pixels + top * g_.columns.in;
    if (count > 0) planes_to_blocks(kernels_, planes, pixels, count, channels, room.data());
    return {room.data(), top};
  }

  // Where the rows of a block go: to Y, or to `room`.
  float* place_of(int64_t image, int64_t block, int64_t first, int64_t end, Scratch<float>& room) const {
    if (p_.y_layout == Layout::blocked)
      return y_ + ((image * g_.blocks + block) * g_.rows.out + first) * g_.columns.out * kPanel;
    room = Scratch<float>(memory_, (end - first) * g_.columns.out * kPanel);
    return room.data();
  }

  void write(int64_t image, int64_t block, int64_t channels, int64_t first, int64_t end, const float* rows) const {
    const int64_t pixels = g_.rows.out * g_.columns.out;
    float* planes = y_ + (image * p_.output_channels + block * kPanel) * pixels + first * g_.columns.out;
    blocks_to_planes(kernels_, rows, (end - first) * g_.columns.out, channels, planes, pixels);
  }

  const Parameters& p_;
  const DepthwiseGeometry& g_;
  const float *x_, *w_, *bias_;
  float* y_;
  const KernelSet* kernels_;
  Memory& memory_;
};

}  // namespace

DepthwiseGeometry resolve_depthwise(const Parameters& p, const std::vector<int64_t>& x, const std::vector<int64_t>& w) {
  DepthwiseGeometry g;
  const bool blocked = p.x_layout == Layout::blocked;
  g.blocks = divide_up(p.output_channels, kPanel);
  const int64_t second = blocked ? g.blocks : p.output_channels;
  if (x.size() != (blocked ? 5 : 4) || x[1] != second || (blocked && x[4] != kPanel))
    throw std::invalid_argument("X has shape " + format_shape(x) + ", but " + std::to_string(p.output_channels) +
                                " channels need [N, " + std::to_string(second) + (blocked ? ", H, W, 16]" : ", H, W]"));
  g.images = x[0];
  g.rows = axis_of(p, 0, x[2]);
  g.columns = axis_of(p, 1, x[3]);
  const std::vector<int64_t> weights{g.blocks, g.taps(), kPanel};
  if (w != weights)
    throw std::invalid_argument("W has shape " + format_shape(w) + ", but " + format_shape(weights) + " was expected");
  checked_product({g.images, g.blocks, g.rows.in, g.columns.in, kPanel});
  g.y_shape = image_shape(p.y_layout, g.images, p.output_channels, g.rows.out, g.columns.out);
  return g;
}

void depthwise(const Parameters& p, const DepthwiseGeometry& g, const float* x, const float* w, const float* bias,
               float* y, const KernelSet* kernels, Executor& executor, Memory& memory) {
  const Depthwise call(p, g, x, w, bias, y, kernels, memory);
  const int64_t work = g.columns.out * g.taps() * kPanel;  // of an output row
  const int64_t step =
      std::clamp<int64_t>(kTaskWork / std::max<int64_t>(work, 1), 1, std::max<int64_t>(g.rows.out, 1));
  const int64_t parts = divide_up(g.rows.out, step);
  // A part of all blocks, then the next: convolutions before and after hand out pixels to threads in that order.
  executor.run(static_cast<size_t>(g.images * parts * g.blocks), [&](size_t index) {
    const int64_t task = static_cast<int64_t>(index), part = task / g.blocks % parts;
    call.run(task / (g.blocks * parts), task % g.blocks, part * step, std::min((part + 1) * step, g.rows.out));
  });
}

}  // namespace drpass

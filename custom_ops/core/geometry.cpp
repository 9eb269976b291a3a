#include "core/geometry.h"

#include <limits>
#include <stdexcept>

namespace drpass {
namespace {

[[noreturn]] void fail(const std::string& message) { throw std::invalid_argument(message); }

int64_t floor_divide(int64_t a, int64_t b) { return a / b - (a % b < 0 ? 1 : 0); }

int64_t value_or(const std::vector<int64_t>& values, size_t index, int64_t fallback) {
  return values.empty() ? fallback : values[index];
}

int64_t blocks_of(int64_t channels) { return (channels + kPanel - 1) / kPanel; }

// Blocks hold channels of one group only, so that every stage finds its channels side by side.
void require_whole_blocks(const Geometry& g, int64_t channels, const char* tensor) {
  if (g.groups > 1 && channels / g.groups % kPanel != 0)
    fail(std::string(tensor) + " can't be NCHW16c: its " + std::to_string(channels / g.groups) +
         " channels a group are not a multiple of 16");
}

// Channels of a blocked X: only the weights tell how many of the last block's lanes are real.
int64_t blocked_channels(const Geometry& g, const std::vector<int64_t>& x, const std::vector<int64_t>& w) {
  const int64_t channels = w.size() == 5 ? checked_product({w[3], g.groups}) : 0;
  if (x.back() != kPanel || x[1] != blocks_of(channels))
    fail("X has shape " + format_shape(x) + ", but " + std::to_string(channels) + " channels in NCHW16c need " +
         std::to_string(blocks_of(channels)) + " blocks of 16");
  require_whole_blocks(g, channels, "X");
  return channels;
}

void resolve_convolution(Geometry& g, const Parameters& p, const std::vector<int64_t>& x,
                         const std::vector<int64_t>& w) {
  const size_t rank = p.kernel_shape.size();
  const bool x_blocked = g.x_layout == Layout::blocked, y_blocked = g.y_layout == Layout::blocked;
  g.convolution = true;
  if (x.size() != rank + (x_blocked ? 3 : 2))
    fail("X has rank " + std::to_string(x.size()) + ", but kernel_shape of " + std::to_string(rank) +
         " axes needs rank " + std::to_string(rank + (x_blocked ? 3 : 2)));
  g.images = x[0];
  g.channels = x_blocked ? blocked_channels(g, x, w) : x[1];
  if (y_blocked) require_whole_blocks(g, g.output_channels, "Y");
  g.y_shape = {g.images, y_blocked ? blocks_of(g.output_channels) : g.output_channels};
  for (size_t axis = 0; axis < rank; ++axis) {
    const size_t slot = axis + 3 - rank;
    g.in[slot] = x[axis + 2];
    g.kernel[slot] = p.kernel_shape[axis];
    g.stride[slot] = value_or(p.strides, axis, 1);
    g.dilation[slot] = value_or(p.dilations, axis, 1);
    const Window window = slide(p, axis, g.in[slot]);
    g.pad[slot] = window.pad;
    g.out[slot] = window.count;
    g.y_shape.push_back(window.count);
  }
  if (g.channels % g.groups != 0)
    fail("X has " + std::to_string(g.channels) + " channels, which group " + std::to_string(g.groups) +
         " does not divide");
  g.x_pixel = x_blocked ? kPanel : 1;
  g.x_channel = checked_product({g.in[0], g.in[1], g.in[2], g.x_pixel});
  g.x_image = checked_product({x_blocked ? blocks_of(g.channels) : g.channels, g.x_channel});
  g.y_pixel = y_blocked ? kPanel : 1;
  g.y_channel = checked_product({g.out[0], g.out[1], g.out[2], g.y_pixel});
  g.y_image = checked_product({g.y_shape[1], g.y_channel});
  if (y_blocked) g.y_shape.push_back(kPanel);
}

void resolve_matrix(Geometry& g, const Parameters& p, const std::vector<int64_t>& x) {
  if (x.size() < 2 || (p.trans_a && x.size() != 2))
    fail("X has rank " + std::to_string(x.size()) +
         (p.trans_a ? ", but trans_a needs rank 2" : ", but a matrix product needs rank 2 or more"));
  g.y_shape = x;
  const int64_t rows = p.trans_a ? x[1] : x[x.size() - 2];
  g.channels = p.trans_a ? x[0] : x.back();
  g.images = 1;
  for (size_t axis = 0; axis + 2 < x.size(); ++axis) g.images = checked_product({g.images, x[axis]});
  g.y_shape[x.size() - 2] = rows;
  g.y_shape.back() = g.output_channels;
  g.in[2] = g.out[2] = rows;
  g.x_pixel = p.trans_a ? 1 : g.channels;
  g.x_channel = p.trans_a ? rows : 1;
  g.x_image = checked_product({rows, g.channels});
  g.y_pixel = g.output_channels;
  g.y_channel = 1;
  g.y_image = checked_product({rows, g.output_channels});
}

}  // namespace

Window slide(AutoPad auto_pad, int64_t size, int64_t extent, int64_t stride, int64_t begin, int64_t end) {
  if (auto_pad == AutoPad::same_upper || auto_pad == AutoPad::same_lower) {
    const int64_t count = (size + stride - 1) / stride;
    const int64_t wanted = (count - 1) * stride + extent - size;
    const int64_t total = wanted > 0 ? wanted : 0;
    return {count, auto_pad == AutoPad::same_upper ? total / 2 : (total + 1) / 2};
  }
  if (auto_pad == AutoPad::valid) begin = end = 0;
  return {floor_divide(size + begin + end - extent, stride) + 1, begin};
}

Window slide(const Parameters& p, size_t axis, int64_t size) {
  const int64_t extent = value_or(p.dilations, axis, 1) * (p.kernel_shape[axis] - 1) + 1;
  const Window window = slide(p.auto_pad, size, extent, value_or(p.strides, axis, 1), value_or(p.pads, axis, 0),
                              value_or(p.pads, axis + p.kernel_shape.size(), 0));
  if (window.count < 0) fail("the output would have a negative size on axis " + std::to_string(axis + 2));
  return window;
}

int64_t checked_product(std::initializer_list<int64_t> factors) {
  int64_t result = 1;
  for (int64_t factor : factors) {
    if (factor != 0 && result > std::numeric_limits<int64_t>::max() / 8 / factor) fail("the tensors are too large");
    result *= factor;
  }
  return result;
}

int64_t input_pixel(const Geometry& g, int64_t pixel, int64_t tap) {
  std::array<int64_t, 3> at{}, offset{};
  for (int slot = 2; slot >= 0; --slot) {
    at[slot] = pixel % g.out[slot];
    pixel /= g.out[slot];
    offset[slot] = tap % g.kernel[slot];
    tap /= g.kernel[slot];
  }
  return input_pixel(g, at, offset);
}

Geometry resolve(const Parameters& p, const std::vector<int64_t>& x_shape, const std::vector<int64_t>& w_shape) {
  Geometry g;
  g.x_layout = p.x_layout;
  g.y_layout = p.y_layout;
  g.output_channels = p.output_channels;
  g.groups = p.group;
  g.sub_vector_length = p.sub_vector_length;
  g.scope = p.scope;
  if (p.kernel_shape.empty())
    resolve_matrix(g, p, x_shape);
  else
    resolve_convolution(g, p, x_shape, w_shape);
  // Pixel indices and cluster ids of one scope are 32-bit.
  if (checked_product({g.images, g.pixels()}) > std::numeric_limits<int32_t>::max()) fail("the tensors are too large");
  checked_product({g.images, g.x_image});
  checked_product({g.images, g.y_image});
  return g;
}

std::vector<int64_t> packed_weight_shape(const Geometry& g) {
  return {g.groups, g.panels(), g.taps(), g.group_channels(), kPanel};
}

void check_packed_weights(const Geometry& geometry, const std::vector<int64_t>& w_shape) {
  const std::vector<int64_t> expected = packed_weight_shape(geometry);
  if (w_shape.size() == 5 && w_shape[3] != expected[3])
    throw std::invalid_argument("X has " + std::to_string(geometry.channels) + " channels, but W was packed for " +
                                std::to_string(w_shape[3] * geometry.groups));
  if (w_shape != expected)
    throw std::invalid_argument("W has shape " + format_shape(w_shape) + ", but " + format_shape(expected) +
                                " was expected");
}

void check_bias(int64_t output_channels, const std::vector<int64_t>& shape) {
  if (shape != std::vector<int64_t>{output_channels})
    throw std::invalid_argument("B has shape " + format_shape(shape) + ", but [" + std::to_string(output_channels) +
                                "] was expected");
}

std::vector<int64_t> image_shape(Layout layout, int64_t images, int64_t channels, int64_t rows, int64_t columns) {
  const int64_t blocks = divide_up(channels, kPanel);
  checked_product({images, blocks, rows, columns, kPanel});
  if (layout == Layout::blocked) return {images, blocks, rows, columns, kPanel};
  return {images, channels, rows, columns};
}

std::string format_shape(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t axis = 0; axis < shape.size(); ++axis) text += (axis ? ", " : "") + std::to_string(shape[axis]);
  return text + "]";
}

}  // namespace drpass

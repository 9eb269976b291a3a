// Sizes and strides of one call, resolved from the parameters and the shape of X.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

#include "core/parameters.h"

namespace drpass {

inline int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Every form is a convolution over three spatial axes (leading ones are 1); the matrix form is a 1x1x1 convolution
// whose pixels are the rows. Element (image i, channel c, pixel p) of X is x[i * x_image + x_offset(c) + p * x_pixel].
struct Geometry {
  bool convolution = false;  // Y is [N, M, ...], else [..., R, M]
  int64_t images = 0, channels = 0, output_channels = 0, groups = 1;
  std::array<int64_t, 3> in{1, 1, 1}, out{1, 1, 1}, kernel{1, 1, 1}, stride{1, 1, 1}, dilation{1, 1, 1}, pad{0, 0, 0};
  Layout x_layout = Layout::planes, y_layout = Layout::planes;
  int64_t x_image = 0, x_channel = 0, x_pixel = 0;  // x_channel: between planes, or between blocks of channels
  int64_t y_image = 0, y_channel = 0, y_pixel = 0;
  int64_t sub_vector_length = 1;
  Scope scope = Scope::image;
  std::vector<int64_t> y_shape;

  int64_t pixels() const { return in[0] * in[1] * in[2]; }
  int64_t output_pixels() const { return out[0] * out[1] * out[2]; }
  int64_t taps() const { return kernel[0] * kernel[1] * kernel[2]; }
  int64_t group_channels() const { return channels / groups; }
  int64_t group_outputs() const { return output_channels / groups; }
  int64_t x_offset(int64_t channel) const { return offset(x_layout, channel, x_channel); }
  int64_t y_offset(int64_t channel) const { return offset(y_layout, channel, y_channel); }
  // Blocks of 16 input channels of one group.
  int64_t blocks() const { return (group_channels() + kPanel - 1) / kPanel; }
  int64_t panels() const { return (group_outputs() + kPanel - 1) / kPanel; }
  int64_t sub_groups() const { return (group_channels() + sub_vector_length - 1) / sub_vector_length; }
  int64_t scopes() const { return scope == Scope::image ? images : 1; }
  int64_t scope_images() const { return scope == Scope::image ? 1 : images; }

  // Channels of one sub-vector group; the last may be shorter than L.
  int64_t sub_vector_begin(int64_t sub_group) const { return sub_group * sub_vector_length; }
  int64_t sub_vector_size(int64_t sub_group) const {
    const int64_t left = group_channels() - sub_vector_begin(sub_group);
    return left < sub_vector_length ? left : sub_vector_length;
  }

 private:
  static int64_t offset(Layout layout, int64_t channel, int64_t stride) {
    return layout == Layout::planes ? channel * stride : channel / kPanel * stride + channel % kPanel;
  }
};

// Multiplies sizes of untrusted shapes; throws std::invalid_argument where an offset would leave 64 bits.
int64_t checked_product(std::initializer_list<int64_t> factors);

// How a kernel slides along one spatial axis of `size` elements, as ONNX Conv defines it.
struct Window {
  int64_t count, pad;  // positions, and elements of padding before the first
};
Window slide(AutoPad auto_pad, int64_t size, int64_t extent, int64_t stride, int64_t begin, int64_t end);
// The same for one axis of a convolution; throws std::invalid_argument where there would be less than no positions.
Window slide(const Parameters& parameters, size_t axis, int64_t size);

// Input pixel (index within its image) that `tap` of output pixel `pixel` reads, or -1 in the padding.
int64_t input_pixel(const Geometry& geometry, int64_t pixel, int64_t tap);

// The same for their places in the output and in the kernel, for those who walk over both.
inline int64_t input_pixel(const Geometry& g, const std::array<int64_t, 3>& at, const std::array<int64_t, 3>& offset) {
  int64_t index = 0;
  for (int slot = 0; slot < 3; ++slot) {
    const int64_t position = at[slot] * g.stride[slot] - g.pad[slot] + offset[slot] * g.dilation[slot];
    if (position < 0 || position >= g.in[slot]) return -1;
    index = index * g.in[slot] + position;
  }
  return index;
}

// Throws std::invalid_argument with a message of docs/operator.md where the shapes of X and W do not fit.
Geometry resolve(const Parameters& parameters, const std::vector<int64_t>& x_shape,
                 const std::vector<int64_t>& w_shape);

// [group, P, T, Cg, 16]
std::vector<int64_t> packed_weight_shape(const Geometry& geometry);

// Throw std::invalid_argument with a message of docs/operator.md where W or B has another shape.
void check_packed_weights(const Geometry& geometry, const std::vector<int64_t>& w_shape);
void check_bias(int64_t output_channels, const std::vector<int64_t>& shape);

// Of images [images, channels, rows, columns] in a layout. Throws std::invalid_argument where an offset would leave 64 bits.
std::vector<int64_t> image_shape(Layout layout, int64_t images, int64_t channels, int64_t rows, int64_t columns);

// Writes "[1, 3, 224, 224]".
std::string format_shape(const std::vector<int64_t>& shape);

}  // namespace drpass

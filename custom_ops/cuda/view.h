// One call as kernels see it: plain numbers and pointers, passed by value.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "core/activation.h"
#include "core/parameters.h"
#include "cuda/element.h"

namespace drpass {
struct Geometry;
struct Tensors;
}  // namespace drpass

namespace drpass::cuda {

// Leading axes of the addend that differ in whether they broadcast; neighbours that do not are merged.
constexpr int kAddendAxes = 8;

struct AddendView {
  const void* data;  // may be absent
  int axes;
  int64_t size[kAddendAxes], stride[kAddendAxes];
  int64_t channel_stride, pixel_stride[3];
};

struct View {
  int images, channels, groups, group_channels, group_outputs, panels, taps;
  int in[3], out[3], kernel[3], stride[3], dilation[3], pad[3];
  int pixels, output_pixels;
  int instance_images, scopes;  // images of a scope instance, instances
  int64_t x_image, x_channel, x_pixel, y_image, y_channel, y_pixel;
  bool x_blocked, y_blocked;
  bool tf32;                 // the dense part may round its factors to TF32
  bool half;                 // X, W, bias, addend and Y are of float16, else of float
  const void *x, *w, *bias;  // bias may be absent
  void* y;
  float* sums;  // as Y: of what is not complete; Y itself where that is of float
  AddendView addend;
  Activation activation;
  float activation_params[2];

  // Channels count through all groups.
  __device__ int64_t x_offset(int channel) const {
    return x_blocked ? channel / kPanel * x_channel + channel % kPanel : channel * x_channel;
  }
  __device__ int64_t y_offset(int channel) const {
    return y_blocked ? channel / kPanel * y_channel + channel % kPanel : channel * y_channel;
  }
  __device__ int64_t y_at(int image, int channel, int pixel) const {
    return image * y_image + y_offset(channel) + pixel * y_pixel;
  }

  __device__ float load(const void* data, int64_t index) const { return load_element(data, half, index); }
  __device__ void store(int64_t index, float value) const { store_element(y, half, index, value); }
};

// Throws std::invalid_argument where sizes leave 32 bits. `instance_images`: images that are worked on together.
View make_view(const Parameters& parameters, const Geometry& geometry, const Tensors& tensors, int64_t instance_images);

// Bias, addend and activation of one output.
__device__ inline float finish(const View& v, float sum, int image, int channel, int pixel) {
  if (v.bias) sum += v.load(v.bias, channel);
  if (v.addend.data) {
    int64_t offset = v.y_blocked ? v.y_offset(channel) + pixel * v.y_pixel : channel * v.addend.channel_stride;
    for (int axis = v.addend.axes - 1; axis >= 0; --axis) {
      offset += image % v.addend.size[axis] * v.addend.stride[axis];
      image /= static_cast<int>(v.addend.size[axis]);
    }
    for (int slot = 2; slot >= 0 && !v.y_blocked; --slot) {
      offset += pixel % v.out[slot] * v.addend.pixel_stride[slot];
      pixel /= v.out[slot];
    }
    sum += v.load(v.addend.data, offset);
  }
  return activate(sum, v.activation, v.activation_params[0], v.activation_params[1]);
}

}  // namespace drpass::cuda

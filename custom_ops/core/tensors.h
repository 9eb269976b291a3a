// The data of one call.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "core/geometry.h"

namespace drpass {

// The addend A, read as if it had the shape of Y: strides are 0 along broadcast axes. In blocks it has that shape.
struct Addend {
  const float* data = nullptr;
  std::vector<int64_t> image_offset;  // of every image
  std::vector<int64_t> image_size, image_stride;  // the axes before the pixels, which image_offset is made of
  int64_t channel_stride = 0;
  std::array<int64_t, 3> pixel_stride{0, 0, 0};

  int64_t offset(const Geometry& geometry, int64_t image, int64_t channel, int64_t pixel) const {
    if (geometry.y_layout == Layout::blocked)
      return image_offset[image] + geometry.y_offset(channel) + pixel * geometry.y_pixel;
    int64_t result = image_offset[image] + channel * channel_stride;
    for (int slot = 2; slot >= 0; --slot) {
      result += pixel % geometry.out[slot] * pixel_stride[slot];
      pixel /= geometry.out[slot];
    }
    return result;
  }
};

// Throws std::invalid_argument if `shape` does not broadcast to the shape of Y, or in blocks is not the same.
Addend make_addend(const Geometry& geometry, const float* data, const std::vector<int64_t>& shape);

// With `half` all but stats are of float16, and the pointers stand for pointers to that.
struct Tensors {
  bool half = false;
  const float* x = nullptr;
  const float* w = nullptr;
  const float* bias = nullptr;  // may be absent
  Addend addend;                // data may be absent
  float* y = nullptr;
  int64_t* stats = nullptr;  // may be absent; [S, group, G]
};

// Whether none of the values is NaN or infinite.
bool all_finite(const float* values, int64_t count);

}  // namespace drpass

#include "core/tensors.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

namespace drpass {

Addend make_addend(const Geometry& g, const float* data, const std::vector<int64_t>& shape) {
  const std::vector<int64_t>& y = g.y_shape;
  std::vector<int64_t> stride(y.size(), 0);
  int64_t step = 1;
  bool fits = shape.size() <= y.size();
  if (g.y_layout == Layout::blocked) fits = shape == y;
  for (size_t back = 1; fits && back <= shape.size(); ++back) {
    const int64_t size = shape[shape.size() - back], wanted = y[y.size() - back];
    fits = size == wanted || size == 1;
    if (size != 1) stride[y.size() - back] = step;
    step *= size;
  }
  if (!fits)
    throw std::invalid_argument("A of shape " + format_shape(shape) + " does not broadcast to " + format_shape(y));

  Addend addend;
  addend.data = data;
  addend.image_offset.assign(static_cast<size_t>(g.images), 0);
  if (g.y_layout == Layout::blocked) {
    for (int64_t image = 0; image < g.images; ++image) addend.image_offset[image] = image * g.y_image;
    addend.image_size = {g.images};
    addend.image_stride = {g.y_image};
    return addend;
  }
  const size_t leading = g.convolution ? 1 : y.size() - 2;
  addend.channel_stride = g.convolution ? stride[1] : stride.back();
  const size_t first_pixel_axis = g.convolution ? 2 : leading;
  const size_t pixel_axes = g.convolution ? y.size() - 2 : 1;
  for (size_t axis = 0; axis < pixel_axes; ++axis)
    addend.pixel_stride[3 - pixel_axes + axis] = stride[first_pixel_axis + axis];

  addend.image_size.assign(y.begin(), y.begin() + static_cast<std::ptrdiff_t>(leading));
  addend.image_stride.assign(stride.begin(), stride.begin() + static_cast<std::ptrdiff_t>(leading));
  for (int64_t image = 0; image < g.images; ++image)
    for (int64_t axis = static_cast<int64_t>(leading) - 1, rest = image; axis >= 0; rest /= y[axis], --axis)
      addend.image_offset[image] += rest % y[axis] * stride[axis];
  return addend;
}

bool all_finite(const float* values, int64_t count) {
  constexpr uint32_t kExponent = 0x7F800000u;
  constexpr int64_t kStep = 4096;
  for (int64_t first = 0; first < count; first += kStep) {
    uint32_t found = 0;  // without a branch, so that it is vector code
    for (int64_t i = first; i < std::min(count, first + kStep); ++i) {
      uint32_t bits;
      std::memcpy(&bits, values + i, sizeof bits);
      found |= static_cast<uint32_t>((bits & kExponent) == kExponent);
    }
    if (found) return false;
  }
  return true;
}

}  // namespace drpass

#include "core/plane_reader.h"

#include <algorithm>

namespace drpass {

PlaneReader::PlaneReader(const Call& call, int64_t channel, int64_t channels)
    : call_(call),
      g_(call.geometry),
      channel_(channel),
      channels_(channels),
      copy_(call.memory, copied_lanes() * (g_.x_pixel == 1 ? kMinimumPlane : kBlock)),
      planes_(call.memory, channels) {}

// Of whole blocks of channels where X is in blocks, because vectors turn those around.
int64_t PlaneReader::copied_lanes() const {
  if (g_.x_layout != Layout::blocked) return channels_;
  return (divide_up(channel_ + channels_, kPanel) - channel_ / kPanel) * kPanel;
}

const float* const* PlaneReader::read(int64_t image, int64_t pixel, int64_t count) {
  const float* start = call_.tensors.x + image * g_.x_image;
  if (g_.x_pixel == 1 && count >= kMinimumPlane) {
    for (int64_t l = 0; l < channels_; ++l) planes_[l] = start + g_.x_offset(channel_ + l) + pixel;
    return planes_.data();
  }
  const int64_t size = std::max(count, kMinimumPlane);
  copy(start, pixel, count, size);
  const int64_t lane = g_.x_layout == Layout::blocked ? channel_ % kPanel : 0;
  for (int64_t l = 0; l < channels_; ++l) {
    float* plane = copy_.data() + (lane + l) * size;
    std::fill(plane + count, plane + size, plane[0]);
    planes_[l] = plane;
  }
  return planes_.data();
}

void PlaneReader::copy(const float* image, int64_t pixel, int64_t count, int64_t size) {
  if (g_.x_layout == Layout::blocked) {
    const float* block = image + channel_ / kPanel * g_.x_channel + pixel * kPanel;
    for (int64_t lane = 0; lane < copied_lanes(); lane += kPanel, block += g_.x_channel)
      call_.kernels.to_planes(block, count, kPanel, copy_.data() + lane * size, size);
    return;
  }
  for (int64_t l = 0; l < channels_; ++l) {
    const float* source = image + g_.x_offset(channel_ + l) + pixel * g_.x_pixel;
    for (int64_t i = 0; i < count; ++i) copy_[l * size + i] = source[i * g_.x_pixel];
  }
}

}  // namespace drpass

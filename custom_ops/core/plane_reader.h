// Neighbouring channels of X as planes of neighbouring pixels, whatever its layout.
#pragma once

#include "core/call.h"

namespace drpass {

// Channels [channel, channel + channels) of X. In place where X has such planes, else copied, so that all sub-vectors of a
// line of X are read from it at once.
class PlaneReader {
 public:
  PlaneReader(const Call& call, int64_t channel, int64_t channels);

  // Pixels [pixel, pixel + count) of an image, 1 <= count <= kBlock. Planes are readable for kMinimumPlane pixels: past the
  // end is the first one again, which can't make a block fail where its own pixels do not.
  const float* const* read(int64_t image, int64_t pixel, int64_t count);

 private:
  int64_t copied_lanes() const;
  void copy(const float* image, int64_t pixel, int64_t count, int64_t size);

  const Call& call_;
  const Geometry& g_;
  int64_t channel_, channels_;
  Scratch<float> copy_;
  Scratch<const float*> planes_;
};

}  // namespace drpass

// What the kernels of the clustering share.
#pragma once

#include "cuda/clusters.h"

namespace drpass::cuda {

// Where a part's sub-vectors lie and what they have.
struct Part {
  int64_t index;
  int instance, group, k, length;
  int64_t channel;  // the first

  __device__ Part(const View& v, const ClusterView& c, int64_t index_) : index(index_) {
    k = static_cast<int>(index % c.sub_groups);
    group = static_cast<int>(index / c.sub_groups % v.groups);
    instance = static_cast<int>(index / c.sub_groups / v.groups);
    length = c.vector_size(v, k);
    channel = static_cast<int64_t>(group) * v.group_channels + k * c.length;
  }

  // Where channel 0 of a pixel of the scope instance lies in X.
  __device__ int64_t place(const View& v, int pixel) const {
    const int64_t image = static_cast<int64_t>(instance) * v.instance_images + pixel / v.pixels;
    return image * v.x_image + pixel % v.pixels * v.x_pixel;
  }

  // Element l of the sub-vector of a pixel.
  __device__ float value(const View& v, int pixel, int l) const {
    return v.load(v.x, place(v, pixel) + v.x_offset(static_cast<int>(channel) + l));
  }
};

// Tables and flags are read while other blocks change them.
__device__ inline int read_shared_state(const int* value) { return *static_cast<const volatile int*>(value); }

// The guard: the part is computed densely.
__device__ inline void give_up(const ClusterView& c, const Part& part) {
  if (!read_shared_state(c.dense + part.index)) atomicExch(c.dense + part.index, 1);
}

}  // namespace drpass::cuda

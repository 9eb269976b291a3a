// Memory of the clustering of one call. Its size depends on shapes and attributes alone.
#pragma once

#include <initializer_list>

#include "core/geometry.h"
#include "cuda/clusters.h"
#include "cuda/device.h"

namespace drpass::cuda {

void fill(void* data, int byte, int64_t bytes, void* stream);

template <typename T>
Scratch<T> make_scratch(Memory& memory, std::initializer_list<int64_t> shape) {
  return Scratch<T>(memory, static_cast<size_t>(checked_product(shape)));
}

// All but the pointers. The capacity is 0 where nothing can be clustered.
ClusterView make_cluster_view(const Parameters& parameters, const Geometry& geometry, const View& view);

// Gives a view its memory, filled as launch_clusters() and launch_keys() want it.
class ClusterScratch {
 public:
  ClusterScratch(const View& view, ClusterView& clusters, Device device);

 private:
  Scratch<double> moments_;
  Scratch<float> edges_, planes_, centroids_;
  Scratch<int> table_, ids_, counts_, dense_, first_pixels_, members_, dense_channels_, dense_counts_, reused_;
  Scratch<unsigned long long> keys_, sums_;
  Scratch<unsigned> largest_, magnitudes_;
};

}  // namespace drpass::cuda

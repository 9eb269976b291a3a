// Steps 6 and 7 of the algorithm: tables of cluster results, and output pixels as sums of their rows.
#pragma once

#include <vector>

#include "core/dense.h"

namespace drpass {

// Table rows of the input pixels of a scope instance in a grid that includes the padding, so that every tap of an
// output pixel lies at a fixed distance from its first tap. Row 0 is the padding; cluster c has row c + 1.
class RowGrid {
 public:
  RowGrid(const Geometry& geometry, const Instance& instance);

  int64_t size() const { return image_size_ * images_; }
  const std::vector<int32_t>& tap_delta() const { return tap_delta_; }
  // Grid index of the first tap of every output pixel of a tile.
  void bases(const Tile& tile, int32_t* base) const;
  // Spreads the cluster ids of the input pixels over the grid; `zero`: the cluster whose rows are zero, or -1.
  void fill(const int32_t* ids, int32_t zero, int32_t* rows) const;

 private:
  const Geometry& g_;
  int64_t images_, image_size_;
  std::array<int64_t, 3> extent_;
  std::vector<int32_t> tap_delta_;
};

// The clusters of all sub-vector groups of a group in one scope instance.
struct Clustering {
  std::vector<Clusters> clusters;  // [sub-vector group]
  std::vector<int64_t> reuse;      // the sub-vector groups that have clusters
  Scratch<int32_t> rows;           // [sub-vector group][grid]
};

// Computes the outputs of a group, some of whose sub-vector groups have clusters.
void reconstruct(const Call& call, const Instance& instance, int64_t group, const RowGrid& grid,
                 const Clustering& clustering, const DensePart& dense, Executor& executor);

}  // namespace drpass

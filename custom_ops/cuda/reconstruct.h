// Steps 6 and 7 of the algorithm on CUDA: tables of cluster results, and output pixels as sums of their rows.
#pragma once

#include "cuda/clusters.h"

namespace drpass::cuda {

// The units of 16-bit tables.
struct UnitView {
  float* tap_sums;  // [group][panel][Cg][16]: the sum over the taps of |w|
  float* units;     // [area][16 * panels]
  float* inverses;  // [area][16 * panels]
  int* narrow;      // [area]: 1 where tables are of 16 bits: every unit is finite
};

void launch_units(const View& view, const ClusterView& clusters, const UnitView& units, void* stream);

// What one pass works on: tables of some sub-vector groups, for some outputs of a group in some scope instances.
struct PassView {
  int group, instance, instances, k, sub_groups;
  int output, width;  // the first output, and columns of a table: a multiple of the columns of a block
  char* tables;       // [instance][k][cluster][tap][width] of float, or of int16 in half of that room
  UnitView units;     // all null: tables of float
};

constexpr int64_t kElement = sizeof(float);  // room for an element of a table

__device__ inline int64_t area_of(const View& v, const PassView& p, int instance) {
  return static_cast<int64_t>(instance) * v.groups + p.group;
}

// Where the table of a sub-vector group begins, in bytes.
__device__ inline int64_t table_place(const View& v, const ClusterView& c, const PassView& p, int instance, int k) {
  const int64_t index = static_cast<int64_t>(instance - p.instance) * p.sub_groups + (k - p.k);
  return index * c.capacity * v.taps * p.width * kElement;
}

// Whether the tables of an area are of 16 bits.
__device__ inline bool is_narrow(const PassView& p, int64_t area) { return p.units.narrow && p.units.narrow[area]; }

// Columns of a table are a multiple of this.
int table_columns(const View& view);

// Builds the tables.
void launch_tables(const View& view, const ClusterView& clusters, const PassView& pass, void* stream);

// Adds rows of the tables to what is in the view's sums. The last pass over sub-vector groups completes the outputs.
void launch_reconstruction(const View& view, const ClusterView& clusters, const PassView& pass, void* stream);

}  // namespace drpass::cuda

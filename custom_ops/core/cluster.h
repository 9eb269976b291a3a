// Steps 1 to 5 of the algorithm: cell edge, signatures, clusters, guard.
#pragma once

#include "core/kernels/kernel_set.h"
#include "core/memo.h"
#include "core/resources.h"
#include "core/stages.h"
#include "core/tensors.h"

namespace drpass {

// What a node keeps from call to call.
struct Kept {
  const float* hyperplanes = nullptr;       // lsh: [hash_bits][L]
  const float* winograd_weights = nullptr;  // of keep_winograd_weights(); may be absent
  Memo* memo = nullptr;                     // results of the dense part; may be absent
  const float* tap_sums = nullptr;  // 16-bit tables: sum_tap_magnitudes() of the weights; absent where they are not constant
  bool finite_weights = false;  // constant and finite: the rows of a cluster of zeros are zero
};

// What all stages of one call share.
struct Call {
  const Parameters& parameters;
  const Geometry& geometry;
  const Tensors& tensors;
  const KernelSet& kernels;
  const Kept& kept;
  const float* tap_sums;  // 16-bit tables: sum_tap_magnitudes() of the weights, which may be kept
  Memory& memory;
  StageTimes* stages;  // where time goes; absent unless someone asks
};

// One scope instance: images [first_image, first_image + images), or some of them. Their pixels are numbered through.
struct Instance {
  int64_t first_image, images;
  const int32_t* chosen = nullptr;  // [images]; null: all from first_image on

  int64_t image(int64_t index) const { return chosen ? chosen[index] : first_image + index; }
};

// The clusters of one sub-vector group in one scope instance.
struct Clusters {
  int64_t count = -1;  // -1: to be computed densely
  int32_t zero = -1;   // the cluster of vectors of zeros; -1: there is none
  int64_t zeros = 0;   // its members
  Scratch<float> centroids;   // [count][sub-vector size]
  Scratch<float> magnitudes;  // [sub-vector size]: the largest |centroid| of each channel
};

// `grid`: the cell edge s of docs/operator.md; zero, NaN or infinite where the input has no spread.
float cell_edge(const Call& call, const Instance& instance, Executor& executor);

// Sub-vector groups that are clustered together: those that share the lines of X.
int64_t clustered_together(const Geometry& geometry);

// The clusters of sub-vector groups [first, first + count) of a group. Writes the cluster id of every pixel of the instance
// to ids[0, count)[pixel] (undefined where the result is dense).
void find_clusters(const Call& call, const Instance& instance, int64_t group, int64_t first, int64_t count, float edge,
                   int32_t* ids, Clusters* result);

}  // namespace drpass

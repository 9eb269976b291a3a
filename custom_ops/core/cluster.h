// Steps 1 to 5 of the algorithm: cell edge, signatures, clusters, guard.
#pragma once

#include "core/call.h"

namespace drpass {

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

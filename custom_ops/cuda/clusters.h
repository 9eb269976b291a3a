// Steps 1 to 5 of the algorithm on CUDA: cell edges, signatures, clusters, guard. Everything is decided on the device;
// results do not depend on the order in which threads run.
#pragma once

#include "cuda/view.h"

namespace drpass::cuda {

// A part is a sub-vector group of a group in a scope instance: (instance * groups + group) * sub_groups + k.
// An area is a group in a scope instance: instance * groups + group.
struct ClusterView {
  Method method;
  int length;      // L
  int sub_groups;  // of a group
  int pixels;      // of a scope instance
  int capacity;    // the guard's limit: clusters that a part may have
  int slots;       // of a part's hash table, a power of two, at least twice the capacity
  int chunks;      // of kChunk pixels in a part
  int words;       // of 32 bits in a sum of members
  int bits;        // lsh: H
  float step;      // grid

  double* moments;         // grid: [image][channel][16]
  float* edges;            // grid: [instance]: the cell edge s
  float* planes;           // lsh: [L][kPlaneStride]: coordinates of the hyperplanes
  unsigned long long* keys;  // lsh: [part][pixel]
  unsigned* largest;       // lsh: [part]: bits of the largest |x|
  int* table;            // [part][slot]: the first pixel of a signature, then -2 - its id; -1: free
  int* ids;              // [part][pixel]: the slot of a pixel's signature, then its cluster
  int* counts;           // [part]: clusters
  int* dense;            // [part]: 1 where the guard says dense
  int* first_pixels;     // [part][chunk]: clusters that begin in a chunk
  int* members;          // [part][cluster]
  unsigned long long* sums;  // [part][cluster][L][words]: of the members in fixed point, the lowest word first
  float* centroids;      // [part][cluster][L]
  unsigned* magnitudes;  // [area][Cg]: bits of the largest |centroid| of every channel
  int* dense_channels;   // [area][Cg], the first dense_counts[area] of them
  int* dense_counts;     // [area]
  int* reused;           // [area]: sub-vector groups that have clusters

  __host__ __device__ int vector_size(const View& v, int k) const {
    const int left = v.group_channels - k * length;
    return left < length ? left : length;
  }
};

constexpr int kChunk = 1024;
constexpr int kPlaneStride = 64;  // of an element in `planes`: the most bits

int64_t part_count(const View& view, const ClusterView& clusters);

// grid: fills edges.
void launch_cell_edges(const View& view, const ClusterView& clusters, void* stream);

// lsh: fills keys and largest, which must be 0. `stride`: coordinates of a hyperplane.
void launch_keys(const View& view, const ClusterView& clusters, uint64_t seed, int64_t stride, void* stream);

// Fills ids, counts, dense and centroids, the lists of the areas, and stats [part] unless that is null.
// table must be -1 everywhere, counts, dense and magnitudes 0.
void launch_clusters(const View& view, const ClusterView& clusters, int64_t* stats, void* stream);

}  // namespace drpass::cuda

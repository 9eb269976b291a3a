#include "cuda/cluster_scratch.h"

#include <algorithm>
#include <cmath>

#include "cuda/launch.h"

namespace drpass::cuda {

void fill(void* data, int byte, int64_t bytes, void* stream) {
  if (bytes) check(cudaMemsetAsync(data, byte, bytes, static_cast<cudaStream_t>(stream)), "cudaMemsetAsync");
}

ClusterView make_cluster_view(const Parameters& p, const Geometry& g, const View& v) {
  ClusterView c{};
  c.method = p.method;
  c.sub_groups = static_cast<int>(g.sub_groups());
  c.length = static_cast<int>(std::min(p.sub_vector_length, g.group_channels()));
  c.pixels = v.instance_images * v.pixels;
  c.capacity = static_cast<int>(std::floor(static_cast<double>(p.max_remaining_ratio) * c.pixels));
  if (p.method == Method::lsh && p.hash_bits < 31) c.capacity = std::min(c.capacity, (1 << p.hash_bits) + 1);
  c.slots = 16;
  while (c.slots < 2 * static_cast<int64_t>(c.capacity)) {
    if (c.slots > (1 << 29)) throw std::invalid_argument("the tensors are too large");
    c.slots *= 2;
  }
  c.chunks = static_cast<int>(divide_up(c.pixels, kChunk));
  // The unit is 2^-79 of the cell's edge or less, so that small values near zero keep all bits. `lsh` has no bound of its
  // values but the largest of the part, whatever the others are: 2^-127 of that.
  c.words = p.method == Method::grid ? 3 : 4;
  c.bits = static_cast<int>(p.hash_bits);
  c.step = p.step;
  return c;
}

ClusterScratch::ClusterScratch(const View& v, ClusterView& c, Device device) {
  const int64_t parts = part_count(v, c), areas = static_cast<int64_t>(v.scopes) * v.groups;
  const auto take = [&device](auto& scratch, auto*& pointer, std::initializer_list<int64_t> shape) {
    scratch = make_scratch<std::remove_reference_t<decltype(*pointer)>>(device.memory, shape);
    pointer = scratch.data();
  };
  const auto fill_all = [&device](auto& scratch, int byte) {
    fill(scratch.data(), byte, static_cast<int64_t>(scratch.size() * sizeof(*scratch.data())), device.stream);
  };
  if (c.method == Method::grid) {
    take(moments_, c.moments, {v.images, v.channels, 16});
    take(edges_, c.edges, {v.scopes});
  } else {
    take(planes_, c.planes, {c.length, kPlaneStride});
    take(keys_, c.keys, {parts, c.pixels});
    take(largest_, c.largest, {parts});
    fill_all(largest_, 0);
  }
  take(table_, c.table, {parts, c.slots});
  take(ids_, c.ids, {parts, c.pixels});
  take(counts_, c.counts, {parts});
  take(dense_, c.dense, {parts});
  take(first_pixels_, c.first_pixels, {parts, c.chunks});
  take(members_, c.members, {parts, c.capacity});
  take(sums_, c.sums, {parts, c.capacity, c.length, c.words});
  take(centroids_, c.centroids, {parts, c.capacity, c.length});
  take(magnitudes_, c.magnitudes, {areas, v.group_channels});
  take(dense_channels_, c.dense_channels, {areas, v.group_channels});
  take(dense_counts_, c.dense_counts, {areas});
  take(reused_, c.reused, {areas});
  fill_all(table_, 0xFF);
  fill_all(counts_, 0);
  fill_all(dense_, 0);
  fill_all(magnitudes_, 0);
}

}  // namespace drpass::cuda

// Clusters on CUDA against those of the CPU, to the last bit: cell edges, ids in their order, counts, guard and centroids.
// Prints what differs; the exit status is the number of cases that do.
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cmath>
#include <cstdio>
#include <cstring>
#include <random>
#include <vector>

#include "core/cluster.h"
#include "core/hyperplanes.h"
#include "core/kernels/kernel_set.h"
#include "cuda/cluster_scratch.h"
#include "cuda/launch.h"

namespace {

using namespace drpass;

class HostMemory : public Memory {
  void* allocate(size_t bytes) override { return std::aligned_alloc(64, (bytes + 63) / 64 * 64); }
  void release(void* block) override { std::free(block); }
};

// A block of its own for every array, so that what is written past its end is seen.
class DeviceMemory : public Memory {
  void* allocate(size_t bytes) override {
    void* block = nullptr;
    cuda::check(cudaMalloc(&block, bytes), "cudaMalloc");
    return block;
  }
  void release(void* block) override { cudaFree(block); }
};

struct Case {
  const char* name;
  Method method;
  Scope scope;
  int64_t images, channels, group, height, width, length, bits;
  float step, ratio;
  bool blocked;
  float offset = 0;  // of all values; a large one brings out how sums are rounded
  bool half = false;  // X is of float16
};

std::vector<float> alike(const Geometry& g, unsigned seed, float offset) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> x(static_cast<size_t>(g.images * g.x_image), 0.0f);
  for (int64_t image = 0; image < g.images; ++image)
    for (int64_t channel = 0; channel < g.channels; ++channel)
      for (int64_t pixel = 0; pixel < g.pixels(); ++pixel) {
        const float level = std::round(normal(random) * 1.5f) / 1.5f;
        const float noise = random() % 3 ? 0.0f : normal(random) * (image == 0 ? 0.01f : 1e-6f);
        x[image * g.x_image + g.x_offset(channel) + pixel * g.x_pixel] = (level > 0 ? level : 0) + noise + offset;
      }
  return x;
}

template <typename T>
std::vector<T> fetch(const T* data, size_t count) {
  std::vector<T> values(count);
  cuda::check(cudaMemcpy(values.data(), data, count * sizeof(T), cudaMemcpyDeviceToHost), "cudaMemcpy");
  return values;
}

// What the device found for all parts.
struct Found {
  std::vector<int> ids, counts, dense;
  std::vector<float> edges, centroids;
  cuda::ClusterView view;
};

template <typename T>
Found run_on_device(const Parameters& p, const Geometry& g, const std::vector<T>& x) {
  DeviceMemory memory;
  const cuda::Device device{nullptr, memory};
  Scratch<char> copy(memory, x.size() * sizeof(T));
  cuda::check(cudaMemcpy(copy.data(), x.data(), x.size() * sizeof(T), cudaMemcpyHostToDevice), "cudaMemcpy");
  Tensors tensors;
  tensors.half = std::is_same<T, __half>::value;
  tensors.x = reinterpret_cast<const float*>(copy.data());
  const cuda::View v = cuda::make_view(p, g, tensors, g.scope_images());
  cuda::ClusterView c = cuda::make_cluster_view(p, g, v);
  const cuda::ClusterScratch scratch(v, c, device);
  if (p.method == Method::grid)
    cuda::launch_cell_edges(v, c, nullptr);
  else
    cuda::launch_keys(v, c, p.seed, p.sub_vector_length, nullptr);
  cuda::launch_clusters(v, c, nullptr, nullptr);
  const size_t parts = static_cast<size_t>(cuda::part_count(v, c));
  Found found;
  found.view = c;
  found.ids = fetch(c.ids, parts * c.pixels);
  found.counts = fetch(c.counts, parts);
  found.dense = fetch(c.dense, parts);
  found.centroids = fetch(c.centroids, parts * c.capacity * c.length);
  if (p.method == Method::grid) found.edges = fetch(c.edges, v.scopes);
  return found;
}

bool same_bits(float a, float b) { return std::memcmp(&a, &b, sizeof a) == 0 || (a == 0 && b == 0); }

// The first difference between a part on the device and on the CPU, or null.
const char* compare(const Found& found, size_t part, const Clusters& clusters, const std::vector<int32_t>& ids,
                    int64_t length) {
  const cuda::ClusterView& c = found.view;
  if ((found.dense[part] != 0) != (clusters.count < 0)) return "guard";
  if (clusters.count < 0) return nullptr;
  if (found.counts[part] != clusters.count) return "count";
  for (int pixel = 0; pixel < c.pixels; ++pixel)
    if (found.ids[part * c.pixels + pixel] != ids[pixel]) return "id";
  for (int64_t id = 0; id < clusters.count; ++id)
    for (int64_t l = 0; l < length; ++l)
      if (!same_bits(found.centroids[(part * c.capacity + id) * c.length + l], clusters.centroids[id * length + l]))
        return "centroid";
  return nullptr;
}

bool run(const Case& k, unsigned seed) {
  Parameters p;
  p.output_channels = k.group;
  p.kernel_shape = {1, 1};
  p.group = k.group;
  p.method = k.method;
  p.scope = k.scope;
  p.sub_vector_length = k.length;
  p.hash_bits = k.bits;
  p.seed = seed;
  p.step = k.step;
  p.max_remaining_ratio = k.ratio;
  p.x_layout = k.blocked ? Layout::blocked : Layout::planes;
  std::vector<int64_t> shape{k.images, k.channels, k.height, k.width};
  if (k.blocked) shape = {k.images, (k.channels + kPanel - 1) / kPanel, k.height, k.width, kPanel};
  const Geometry g = resolve(p, shape, {k.group, 1, 1, k.channels / k.group, kPanel});
  std::vector<float> x = alike(g, seed, k.offset);
  std::vector<__half> halves;
  for (float& value : x) {
    if (!k.half) break;
    halves.push_back(__float2half_rn(value));
    value = __half2float(halves.back());
  }
  const Found found = k.half ? run_on_device(p, g, halves) : run_on_device(p, g, x);

  HostMemory memory;
  SerialExecutor executor;
  Tensors tensors;
  tensors.x = x.data();
  const std::vector<float> planes = make_hyperplanes(p.seed, p.hash_bits, p.sub_vector_length);
  const KernelSet& kernels = *choose_kernels();
  const Kept kept{planes.data()};
  const Call call{p, g, tensors, kernels, kept, nullptr, memory, nullptr};
  int64_t reused = 0;
  for (int64_t scope = 0; scope < g.scopes(); ++scope) {
    const Instance instance{scope * g.scope_images(), g.scope_images()};
    const float edge = p.method == Method::grid ? cell_edge(call, instance, executor) : 0.0f;
    const char* difference = p.method == Method::grid && !same_bits(edge, found.edges[scope]) ? "edge" : nullptr;
    for (int64_t part = 0; part < g.groups * g.sub_groups() && !difference; ++part) {
      std::vector<int32_t> ids(found.view.pixels);
      const int64_t group = part / g.sub_groups(), sub_group = part % g.sub_groups();
      Clusters clusters;
      find_clusters(call, instance, group, sub_group, 1, edge, ids.data(), &clusters);
      reused += clusters.count > 0;
      difference = compare(found, scope * g.groups * g.sub_groups() + part, clusters, ids, g.sub_vector_size(sub_group));
    }
    if (!difference) continue;
    std::printf("%s, seed %u: another %s in scope %ld\n", k.name, seed, difference, static_cast<long>(scope));
    return false;
  }
  std::printf("%s, seed %u: the same, %ld parts have clusters\n", k.name, seed, static_cast<long>(reused));
  return true;
}

const Case kCases[] = {
    {"grid", Method::grid, Scope::image, 2, 10, 1, 21, 19, 4, 0, 0.3f, 0.5f, false},
    {"grid, batch", Method::grid, Scope::batch, 3, 7, 1, 25, 23, 3, 0, 0.05f, 0.9f, false},
    {"grid, groups", Method::grid, Scope::image, 1, 12, 3, 31, 30, 4, 0, 1.0f, 0.2f, false},
    {"grid, long", Method::grid, Scope::image, 1, 9, 1, 20, 20, 9, 0, 0.5f, 1.0f, false},
    {"grid, blocks", Method::grid, Scope::batch, 2, 20, 1, 20, 20, 4, 0, 0.5f, 0.3f, true},
    {"grid, guard", Method::grid, Scope::image, 2, 8, 1, 33, 40, 8, 0, 0.3f, 0.1f, false},
    {"grid, far from zero", Method::grid, Scope::image, 2, 8, 1, 33, 40, 4, 0, 0.3f, 0.5f, false, 1e5f},
    {"grid, blocks far from zero", Method::grid, Scope::batch, 2, 8, 1, 33, 40, 4, 0, 0.3f, 0.5f, true, 3e3f},
    {"grid, many channels", Method::grid, Scope::image, 2, 300, 1, 5, 5, 8, 0, 1.0f, 1.0f, false},
    {"lsh", Method::lsh, Scope::image, 2, 10, 1, 21, 19, 4, 9, 0, 0.5f, false},
    {"lsh, batch", Method::lsh, Scope::batch, 3, 7, 1, 25, 23, 3, 64, 0, 0.9f, false},
    {"lsh, blocks", Method::lsh, Scope::image, 2, 20, 1, 20, 20, 8, 33, 0, 0.3f, true},
    {"lsh, few bits of long vectors", Method::lsh, Scope::image, 2, 41, 1, 13, 11, 20, 5, 0, 1.0f, false},
    {"lsh, a bit a lane", Method::lsh, Scope::image, 1, 12, 3, 17, 19, 4, 32, 0, 1.0f, false},
    {"grid, half", Method::grid, Scope::batch, 3, 10, 1, 21, 19, 4, 0, 0.3f, 0.5f, false, 0, true},
    {"lsh, half in blocks", Method::lsh, Scope::image, 2, 20, 1, 20, 20, 8, 33, 0, 0.3f, true, 0, true},
};

}  // namespace

int main() {
  int different = 0;
  for (const Case& k : kCases)
    for (unsigned seed : {1u, 2u}) different += !run(k, seed);
  return different;
}

#include "core/engine.h"

#include <algorithm>
#include <vector>

#include "core/direct.h"
#include "core/local_memory.h"
#include "core/reconstruct.h"
#include "core/sparse.h"
#include "core/table_scale.h"
#include "core/winograd.h"

namespace drpass {
namespace {

// With at least this many scope instances each is a task of its own; with fewer the stages within are spread.
constexpr int64_t kScopesToSpread = 4;

Clustering find_all_clusters(const Call& call, const Instance& instance, int64_t group, float edge,
                             const RowGrid& grid, Executor& executor) {
  const int64_t sub_groups = call.geometry.sub_groups(), pixels = instance.images * call.geometry.pixels();
  const int64_t together = clustered_together(call.geometry);
  Clustering result{std::vector<Clusters>(sub_groups), {}, Scratch<int32_t>(call.memory, sub_groups * grid.size())};
  executor.run(divide_up(sub_groups, together), [&](size_t index) {
    const int64_t first = static_cast<int64_t>(index) * together;
    const int64_t count = std::min(together, sub_groups - first);
    Scratch<int32_t> ids(call.memory, count * pixels);
    Clusters* clusters = result.clusters.data() + first;
    find_clusters(call, instance, group, first, count, edge, ids.data(), clusters);
    const StageTimer timer(call.stages, Stage::cluster);
    for (int64_t k = 0; k < count; ++k)
      if (clusters[k].count > 0)
        grid.fill(ids.data() + k * pixels, call.kept.finite_weights ? clusters[k].zero : -1,
                  result.rows.data() + (first + k) * grid.size());
  });
  for (int64_t k = 0; k < sub_groups; ++k)
    if (result.clusters[k].count > 0) result.reuse.push_back(k);
  return result;
}

// A group none of whose sub-vector groups has clusters. Images that are mostly zeros are computed apart.
void run_dense(const Call& call, const Instance& instance, int64_t group, const DensePart& dense, Executor& executor) {
  const auto run_whole = [&](const Instance& images) {
    if (const auto form = choose_winograd(call.parameters, call.geometry))
      return run_winograd(call, images, group, *form, dense, executor);
    run_direct(call, images, group, dense, executor);
  };
  const std::vector<char> skip = images_to_skip_zeros_in(call, instance, group, executor);
  if (skip.empty()) return run_whole(instance);
  std::vector<int32_t> whole, sparse;
  for (size_t i = 0; i < skip.size(); ++i)
    (skip[i] ? sparse : whole).push_back(static_cast<int32_t>(instance.image(static_cast<int64_t>(i))));
  const auto images_of = [](const std::vector<int32_t>& chosen) {
    return Instance{0, static_cast<int64_t>(chosen.size()), chosen.data()};
  };
  if (!whole.empty()) run_whole(images_of(whole));
  if (!sparse.empty() && !run_sparse(call, images_of(sparse), group, executor)) run_whole(images_of(sparse));
}

// `exact`: nothing is clustered, so that the scope means nothing and all images are one instance.
void run_exact(const Call& call, Executor& executor) {
  const Geometry& g = call.geometry;
  const Instance all{0, g.images};
  const std::vector<Clusters> none(g.sub_groups());
  if (call.tensors.stats)
    std::fill(call.tensors.stats, call.tensors.stats + g.scopes() * g.groups * g.sub_groups(), -1);
  for (int64_t group = 0; group < g.groups; ++group)
    run_dense(call, all, group, make_dense_part(call, group, none.data()), executor);
}

void count_clusters(const Call& call, const Instance& instance, int64_t group, const Clustering& clustering) {
  const Geometry& g = call.geometry;
  for (int64_t k = 0; k < g.sub_groups(); ++k)
    call.stages->add_clusters(group * g.sub_groups() + k, g.groups * g.sub_groups(), clustering.clusters[k].count,
                              instance.images * g.pixels());
}

void run_scope(const Call& call, int64_t scope, Executor& executor) {
  const Geometry& g = call.geometry;
  const Instance instance{scope * g.scope_images(), g.scope_images()};
  const float edge = call.parameters.method == Method::grid ? cell_edge(call, instance, executor) : 0.0f;
  const RowGrid grid(g, instance);
  for (int64_t group = 0; group < g.groups; ++group) {
    const Clustering clustering = find_all_clusters(call, instance, group, edge, grid, executor);
    if (call.tensors.stats)
      for (int64_t k = 0; k < g.sub_groups(); ++k)
        call.tensors.stats[(scope * g.groups + group) * g.sub_groups() + k] = clustering.clusters[k].count;
    if (call.stages) count_clusters(call, instance, group, clustering);
    const DensePart dense = make_dense_part(call, group, clustering.clusters.data());
    if (clustering.reuse.empty())
      run_dense(call, instance, group, dense, executor);
    else
      reconstruct(call, instance, group, grid, clustering, dense, executor);
  }
}

void run_scopes(const Call& call, Executor& executor) {
  const int64_t scopes = call.geometry.scopes();
  if (scopes >= kScopesToSpread) {
    executor.run(scopes, [&](size_t scope) {
      SerialExecutor serial;
      run_scope(call, static_cast<int64_t>(scope), serial);
    });
  } else {
    for (int64_t scope = 0; scope < scopes; ++scope) run_scope(call, scope, executor);
  }
}

// 16-bit tables: sum_tap_magnitudes() of the weights, kept or else made now; null where tables are of float.
const float* tap_sums_of(const Parameters& p, const Geometry& g, const Tensors& tensors, const Kept& kept,
                         StageTimes* stages, std::vector<float>& made) {
  if (!needs_tap_sums(p)) return nullptr;
  if (kept.tap_sums) return kept.tap_sums;
  const StageTimer timer(stages, Stage::gemm);
  made = sum_tap_magnitudes(packed_weight_shape(g), tensors.w);
  return made.empty() ? nullptr : made.data();
}

}  // namespace

void compute(const Parameters& parameters, const Geometry& geometry, const Tensors& tensors, const KernelSet& kernels,
             const Kept& kept, Executor& executor, Memory& memory, StageTimes* stages) {
  const StageTimer timer(stages, Stage::rest);
  TimedExecutor timed(executor, stages);
  LocalMemory local(memory);
  Executor& threads = stages ? static_cast<Executor&>(timed) : executor;
  std::vector<float> made;
  const float* tap_sums = tap_sums_of(parameters, geometry, tensors, kept, stages, made);
  const Call call{parameters, geometry, tensors, kernels, kept, tap_sums, local, stages};
  parameters.method == Method::exact ? run_exact(call, threads) : run_scopes(call, threads);
  if (stages) stages->add_call();
}

}  // namespace drpass

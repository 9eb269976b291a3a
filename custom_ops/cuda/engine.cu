#include "cuda/engine.h"

#include <algorithm>

#include "cuda/cluster_scratch.h"
#include "cuda/dense.h"
#include "cuda/launch.h"
#include "cuda/memo.h"
#include "cuda/reconstruct.h"

namespace drpass::cuda {
namespace {

// Room for the tables of one pass. What is touched of it is what has clusters; at least one table must fit. Tests build with
// little room, so that small models take several passes.
#ifndef DRPASS_TABLE_BYTES
#define DRPASS_TABLE_BYTES (256 << 20)
#endif
constexpr int64_t kTableBytes = DRPASS_TABLE_BYTES;

// The passes of the reconstruction: as many scope instances as have room with all their sub-vector groups, else one
// instance and as many groups as have room, else a part of the outputs.
class Passes {
 public:
  Passes(const View& v, const ClusterView& c, const UnitView& units, Device device)
      : v_(v), c_(c), units_(units), device_(device) {
    const int unit = table_columns(v);
    const int64_t column = checked_product({c.capacity, v.taps, kElement}), columns = divide_up(v.group_outputs, unit) * unit;
    width_ = static_cast<int>(std::clamp(kTableBytes / column / unit * unit, static_cast<int64_t>(unit), columns));
    const int64_t table = checked_product({column, width_}), room = std::max<int64_t>(kTableBytes / table, 1);
    sub_groups_ = static_cast<int>(std::min<int64_t>(room, c.sub_groups));
    instances_ = static_cast<int>(std::clamp<int64_t>(room / c.sub_groups, 1, v.scopes));
    tables_ = make_scratch<char>(device.memory, {table, sub_groups_, instances_});
  }

  void run() {
    for (int group = 0; group < v_.groups; ++group)
      for (int instance = 0; instance < v_.scopes; instance += instances_)
        for (int output = 0; output < v_.group_outputs; output += width_)
          for (int k = 0; k < c_.sub_groups; k += sub_groups_) run(group, instance, output, k);
  }

 private:
  void run(int group, int instance, int output, int k) {
    PassView p{};
    p.group = group;
    p.instance = instance;
    p.instances = std::min(instances_, v_.scopes - instance);
    p.k = k;
    p.sub_groups = std::min(sub_groups_, c_.sub_groups - k);
    p.output = output;
    p.width = width_;
    p.tables = tables_.data();
    p.units = units_;
    launch_tables(v_, c_, p, device_.stream);
    launch_reconstruction(v_, c_, p, device_.stream);
  }

  const View& v_;
  const ClusterView& c_;
  UnitView units_;
  Device device_;
  int width_, sub_groups_, instances_;
  Scratch<char> tables_;
};

void compute_clustered(const Parameters& p, View v, ClusterView c, int64_t* stats, Device device) {
  const ClusterScratch scratch(v, c, device);
  Scratch<float> sums;
  if (v.half) {
    sums = make_scratch<float>(device.memory, {v.images, v.y_image});
    v.sums = sums.data();
  }
  if (p.method == Method::grid)
    launch_cell_edges(v, c, device.stream);
  else
    launch_keys(v, c, p.seed, p.sub_vector_length, device.stream);
  launch_clusters(v, c, stats, device.stream);
  launch_dense(v, {c.dense_channels, c.dense_counts, c.reused}, device.stream);

  UnitView u{};
  Scratch<float> tap_sums, units, inverses;
  Scratch<int> narrow;
  if (p.table_type == TableType::int16) {
    const int64_t areas = static_cast<int64_t>(v.scopes) * v.groups, width = v.panels * kPanel;
    tap_sums = make_scratch<float>(device.memory, {v.groups, width, v.group_channels});
    units = make_scratch<float>(device.memory, {areas, width});
    inverses = make_scratch<float>(device.memory, {areas, width});
    narrow = make_scratch<int>(device.memory, {areas});
    u = {tap_sums.data(), units.data(), inverses.data(), narrow.data()};
    launch_units(v, c, u, device.stream);
  }
  Passes(v, c, u, device).run();
}

}  // namespace

void DeleteMemo::operator()(Memo* memo) const { delete memo; }

std::unique_ptr<Memo, DeleteMemo> make_memo(const Parameters& p, Memory& memory) {
  if (p.memo_bytes == 0 || !may_keep_tiles(p)) return nullptr;
  return std::unique_ptr<Memo, DeleteMemo>(new Memo(p, p.memo_bytes, memory));
}

void compute(const Parameters& p, const Geometry& g, const Tensors& t, const Memo* memo, Device device) {
  const bool empty = g.images * g.output_pixels() == 0;
  if (p.method != Method::exact && !empty && g.pixels() * g.sub_groups() > 0) {
    const View v = make_view(p, g, t, g.scope_images());
    const ClusterView c = make_cluster_view(p, g, v);
    if (c.capacity > 0) return compute_clustered(p, v, c, t.stats, device);
  }
  if (t.stats)  // -1
    fill(t.stats, 0xFF, g.scopes() * g.groups * g.sub_groups() * static_cast<int64_t>(sizeof(int64_t)), device.stream);
  // Where nothing is clustered the scope means nothing, and all images are one instance.
  if (empty) return;
  const View v = make_view(p, g, t, g.images);
  if (memo && !t.addend.data && launch_remembered(v, *memo, device)) return;
  launch_dense(v, {}, device.stream);
}

}  // namespace drpass::cuda

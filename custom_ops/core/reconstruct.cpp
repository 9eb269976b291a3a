#include "core/reconstruct.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>
#include <stdexcept>

#include "core/row_lists.h"
#include "core/table_scale.h"

namespace drpass {
namespace {

// Bytes of tables that one pass of the reconstruction reads: half of a common L2 cache. A pass reads the tables of at
// least one span of sub-vector groups, whatever their size.
constexpr int64_t kTableBytes = 512 * 1024;
// A table of up to this size is still read in rows of four panels: the last-level cache holds it then, but its frequent
// rows stay nearer, and long rows share the cost of finding them.
constexpr int64_t kWideTableBytes = 4096 * 1024;

// Rows are listed in passes of at least this many sub-vector groups: lists of fewer cost more than they spare. Those of 16
// bits, which are widened one by one then, where also this share of the vectors is zero.
constexpr int64_t kGroupsToList = 4;
constexpr double kZerosToList = 0.15;

// A pass that replaces fewer multiply-adds than this takes less time than waking threads for it.
constexpr int64_t kWorkToSpread = 4 * 1000 * 1000;

class Reconstruction {
 public:
  Reconstruction(const Call& call, const Instance& instance, int64_t group, const RowGrid& grid,
                 const Clustering& clustering, const DensePart& dense, Executor& executor)
      : call_(call),
        g_(call.geometry),
        instance_(instance),
        group_(group),
        grid_(grid),
        c_(clustering),
        dense_(dense),
        executor_(executor),
        tiles_(tile_count(g_, instance)) {
    if (call.tap_sums) choose_scales();
  }

  // Ranges of panels are independent tasks; where there is only one, the stages within are spread instead, if there is
  // enough to do. None of this shows in the result.
  void run() {
    const int64_t wide = panels_per_range(), ranges = divide_up(g_.panels(), wide);
    split_passes(row_width(wide));
    const int64_t work = dense_work() / static_cast<int64_t>(passes_.size());
    SerialExecutor serial;
    Executor& spread = ranges == 1 && work < kWorkToSpread ? static_cast<Executor&>(serial) : executor_;
    for (Pass& pass : passes_)
      if (lists_rows(pass)) pass.listed.emplace(call_, rows_of(pass), grid_.size(), spread);
    if (ranges == 1) return run_range(0, wide, spread);
    executor_.run(ranges, [&](size_t range) {
      SerialExecutor within;
      const int64_t panel = static_cast<int64_t>(range) * wide;
      run_range(panel, std::min(wide, g_.panels() - panel), within);
    });
  }

 private:
  // Sub-vector groups reuse[begin, end), whose tables are built and read together.
  struct Pass {
    size_t begin, end;
    std::optional<PassRows> listed;
  };

  // Between passes the sums rest in acc.
  void run_range(int64_t panel, int64_t panels, Executor& executor) {
    const int64_t width = row_width(panels);
    const bool keep = passes_.size() > 1 || dense_.count;
    Scratch<float> acc(call_.memory, keep ? tiles_ * kTile * width : 0);
    if (dense_.count)
      executor.run(tiles_, [&](size_t index) {
        dense_tile(call_, instance_, tile_at(g_, instance_, index), group_, dense_, panel, panels,
                   acc.data() + index * kTile * width, width);
      });
    for (const Pass& pass : passes_) run_pass(pass, panel, panels, keep ? acc.data() : nullptr, executor);
  }

  void run_pass(const Pass& pass, int64_t panel, int64_t panels, float* kept, Executor& executor) {
    const int64_t width = row_width(panels);
    Scratch<char> tables(call_.memory, table_bytes(pass.begin, pass.end, width));
    Scratch<TableView> views(call_.memory, pass.end - pass.begin);
    build_tables(pass.begin, pass.end, panel, panels, tables.data(), views.data(), executor);
    executor.run(tiles_, [&](size_t index) {
      const StageTimer timer(call_.stages, Stage::reconstruct);
      const Tile tile = tile_at(g_, instance_, index);
      Scratch<float> local(call_.memory, kept ? 0 : kTile * width);
      float* acc = kept ? kept + index * kTile * width : local.data();
      add_rows(pass, tile, views.data(), panel, width, acc);
      const int64_t output = panel * kPanel, outputs = std::min(panels * kPanel, g_.group_outputs() - output);
      if (pass.end == c_.reuse.size()) finish_tile(call_, instance_, tile, group_, output, outputs, acc, width);
    });
  }

  void add_rows(const Pass& pass, const Tile& tile, const TableView* views, int64_t panel, int64_t width, float* acc) {
    const bool first = pass.begin == 0 && !dense_.count;
    const int32_t* delta = grid_.tap_delta().data();
    int32_t base[kTile];
    grid_.bases(tile, base);
    if (pass.listed) {
      Scratch<int32_t> rows(call_.memory, pass.listed->scratch());
      return call_.kernels.add_listed_rows({views->table, pass.listed->lists(), base, delta, g_.taps(), tile.count, width,
                                            narrow_ ? scale_.data() + panel * kPanel : nullptr, acc, first, rows.data()});
    }
    call_.kernels.add_rows({views, static_cast<int64_t>(pass.end - pass.begin), base, delta, g_.taps(), tile.count, width,
                            narrow_ ? scale_.data() + panel * kPanel : nullptr, narrow_span(g_), acc, first});
  }

  std::vector<GroupRows> rows_of(const Pass& pass) const {
    std::vector<GroupRows> rows;
    for (size_t i = pass.begin; i < pass.end; ++i)
      rows.push_back({c_.rows.data() + c_.reuse[i] * grid_.size(), c_.clusters[c_.reuse[i]].count + 1});
    return rows;
  }

  bool lists_rows(const Pass& pass) const {
    const int64_t groups = static_cast<int64_t>(pass.end - pass.begin);
    int64_t zeros = 0;
    for (size_t i = pass.begin; i < pass.end; ++i) zeros += c_.clusters[c_.reuse[i]].zeros;
    const double vectors = static_cast<double>(groups * instance_.images * g_.pixels());
    return groups >= kGroupsToList && (!narrow_ || static_cast<double>(zeros) >= kZerosToList * vectors);
  }

  void build_tables(size_t begin, size_t end, int64_t panel, int64_t panels, char* tables, TableView* views,
                    Executor& executor) {
    const int64_t width = row_width(panels), row_bytes = g_.taps() * width * element_bytes();
    struct Chunk {
      int64_t k, cluster, count;
      char* rows;
    };
    std::vector<Chunk> chunks;
    for (size_t i = begin; i < end; ++i) {
      const StageTimer timer(call_.stages, Stage::gemm);
      const int64_t k = c_.reuse[i], count = c_.clusters[k].count;
      views[i - begin] = {tables, c_.rows.data() + k * grid_.size()};
      std::memset(tables, 0, row_bytes);
      tables += row_bytes;
      if (width != panels * kPanel) std::memset(tables, 0, count * row_bytes);  // columns that no panel fills
      for (int64_t cluster = 0; cluster < count; cluster += kTableChunk)
        chunks.push_back({k, cluster, std::min(kTableChunk, count - cluster), tables + cluster * row_bytes});
      tables += count * row_bytes;
    }
    const int64_t tap_stride = g_.group_channels() * kPanel, panel_stride = g_.taps() * tap_stride;
    executor.run(chunks.size(), [&](size_t index) {
      const StageTimer timer(call_.stages, Stage::gemm);
      const Chunk& chunk = chunks[index];
      const int64_t length = g_.sub_vector_size(chunk.k);
      const float* weights = call_.tensors.w + (group_ * g_.panels() + panel) * panel_stride +
                             g_.sub_vector_begin(chunk.k) * kPanel;
      call_.kernels.build_table({c_.clusters[chunk.k].centroids.data() + chunk.cluster * length, chunk.count, length,
                                 weights, panel_stride, tap_stride, g_.taps(), panels, width,
                                 narrow_ ? inverse_scale_.data() + panel * kPanel : nullptr, chunk.rows});
    });
  }

  // Tables of float, unless int16 was asked for and every bound is finite.
  void choose_scales() {
    const StageTimer timer(call_.stages, Stage::gemm);
    std::vector<const float*> magnitudes;
    for (const Clusters& clusters : c_.clusters) magnitudes.push_back(clusters.magnitudes.data());
    scale_ = narrow_scales(g_, call_.tap_sums, group_, c_.reuse, magnitudes);
    narrow_ = !scale_.empty();
    for (float scale : scale_) inverse_scale_.push_back(inverse_scale(scale));
    scale_.resize(scale_.size() + kPanel, 0.0f);  // a row of 16-bit elements may be a panel longer
  }

  // Multiply-adds of the dense product.
  int64_t dense_work() const {
    return instance_.images * g_.output_pixels() * g_.taps() * g_.group_channels() * g_.group_outputs();
  }

  int64_t element_bytes() const { return narrow_ ? sizeof(int16_t) : sizeof(float); }
  int64_t row_width(int64_t panels) const { return (narrow_ ? (panels + 1) / 2 * 2 : panels) * kPanel; }

  int64_t table_bytes(size_t begin, size_t end, int64_t width) const {
    int64_t rows = 0;
    for (size_t i = begin; i < end; ++i) rows += c_.clusters[c_.reuse[i]].count + 1;
    return rows * g_.taps() * width * element_bytes();
  }

  // Four panels at a time read long rows; narrower where that keeps the table of a mean group within the budget.
  int64_t panels_per_range() const {
    const int64_t bytes = table_bytes(0, c_.reuse.size(), kPanel) / static_cast<int64_t>(c_.reuse.size());
    int64_t panels = std::min<int64_t>(4, g_.panels());
    while (panels > 1 && panels * bytes > kWideTableBytes) panels /= 2;
    return panels;
  }

  // Passes of whole spans, as many as have room; at least one.
  void split_passes(int64_t width) {
    for (size_t i = 0; i < c_.reuse.size(); ++i) {
      if (i == 0 || ((i - passes_.back().begin) % narrow_span(g_) == 0 &&
                     table_bytes(passes_.back().begin, i + 1, width) > kTableBytes))
        passes_.push_back({i, i, std::nullopt});
      passes_.back().end = i + 1;
    }
  }

  const Call& call_;
  const Geometry& g_;
  const Instance& instance_;
  int64_t group_;
  const RowGrid& grid_;
  const Clustering& c_;
  const DensePart& dense_;
  Executor& executor_;
  int64_t tiles_;
  std::vector<Pass> passes_;
  bool narrow_ = false;  // tables of 16 bits
  std::vector<float> scale_, inverse_scale_;
};

}  // namespace

RowGrid::RowGrid(const Geometry& geometry, const Instance& instance) : g_(geometry), images_(instance.images) {
  for (int slot = 0; slot < 3; ++slot) {
    const int64_t last = (g_.out[slot] - 1) * g_.stride[slot] + (g_.kernel[slot] - 1) * g_.dilation[slot];
    extent_[slot] = std::max(g_.pad[slot] + g_.in[slot], last + 1);
  }
  image_size_ = checked_product({extent_[0], extent_[1], extent_[2]});
  // Grid indices are 32-bit.
  if (checked_product({image_size_, images_}) > std::numeric_limits<int32_t>::max())
    throw std::invalid_argument("the tensors are too large");
  for (int64_t a = 0; a < g_.kernel[0]; ++a)
    for (int64_t b = 0; b < g_.kernel[1]; ++b)
      for (int64_t c = 0; c < g_.kernel[2]; ++c)
        tap_delta_.push_back(static_cast<int32_t>(
            (a * g_.dilation[0] * extent_[1] + b * g_.dilation[1]) * extent_[2] + c * g_.dilation[2]));
}

void RowGrid::bases(const Tile& tile, int32_t* base) const {
  PixelWalk walk(g_, tile.first);
  for (int64_t i = 0; i < tile.count; ++i, walk.next()) {
    int64_t index = walk.image;
    for (int slot = 0; slot < 3; ++slot) index = index * extent_[slot] + walk.at[slot] * g_.stride[slot];
    base[i] = static_cast<int32_t>(index);
  }
}

void RowGrid::fill(const int32_t* ids, int32_t zero, int32_t* rows) const {
  std::fill(rows, rows + size(), 0);
  for (int64_t image = 0; image < images_; ++image)
    for (int64_t z = 0; z < g_.in[0]; ++z)
      for (int64_t y = 0; y < g_.in[1]; ++y) {
        int32_t* row = rows + ((image * extent_[0] + g_.pad[0] + z) * extent_[1] + g_.pad[1] + y) * extent_[2];
        for (int64_t x = 0; x < g_.in[2]; ++x, ++ids) row[g_.pad[2] + x] = *ids == zero ? 0 : *ids + 1;
      }
}

void reconstruct(const Call& call, const Instance& instance, int64_t group, const RowGrid& grid,
                 const Clustering& clustering, const DensePart& dense, Executor& executor) {
  Reconstruction(call, instance, group, grid, clustering, dense, executor).run();
}

}  // namespace drpass

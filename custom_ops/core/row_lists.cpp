#include "core/row_lists.h"

#include <algorithm>
#include <limits>
#include <stdexcept>

namespace drpass {
namespace {

// Places of the grid whose lists are made by one task: these and the rows that they are made of stay in a cache.
constexpr int64_t kPlaces = 512;

}  // namespace

PassRows::PassRows(const Call& call, const std::vector<GroupRows>& groups, int64_t grid, Executor& executor)
    : call_(call),
      stride_(static_cast<int64_t>(groups.size())),
      rows_(call.memory, grid * stride_ + kMinimumPlane),
      counts_(call.memory, grid) {
  int64_t numbers = 0;
  for (const GroupRows& group : groups) numbers += group.table_rows * call.geometry.taps();
  if (numbers > std::numeric_limits<int32_t>::max()) throw std::invalid_argument("the tensors are too large");
  executor.run(divide_up(grid, kPlaces), [&](size_t part) {
    const StageTimer timer(call.stages, Stage::list);
    const int64_t first = static_cast<int64_t>(part) * kPlaces;
    fill(groups, first, std::min(kPlaces, grid - first));
  });
}

void PassRows::fill(const std::vector<GroupRows>& groups, int64_t first, int64_t count) {
  const int64_t taps = call_.geometry.taps();
  int32_t *lists = rows_.data() + first * stride_, *counts = counts_.data() + first;
  std::fill(counts, counts + count, 0);
  int64_t before = 0;  // rows of the tables before
  for (const GroupRows& group : groups) {
    const int32_t* rows = group.rows + first;
    for (int64_t i = 0; i < count; ++i) {  // no branch: what comes next overwrites a zero
      lists[i * stride_ + counts[i]] = static_cast<int32_t>((before + rows[i]) * taps);
      counts[i] += rows[i] != 0;
    }
    before += group.table_rows;
  }
}

}  // namespace drpass

// The table rows of the input pixels in a pass of the reconstruction, without those that are zero.
#pragma once

#include <vector>

#include "core/call.h"

namespace drpass {

// The rows of one sub-vector group in the grid of its scope instance; those of row 0 are zero.
struct GroupRows {
  const int32_t* rows;
  int64_t table_rows;  // rows of its table, one for all taps
};

class PassRows {
 public:
  PassRows(const Call& call, const std::vector<GroupRows>& groups, int64_t grid, Executor& executor);

  RowLists lists() const { return {rows_.data(), counts_.data(), stride_}; }
  // Numbers that add_listed_rows() needs as scratch.
  int64_t scratch() const { return call_.geometry.taps() * stride_ + kMinimumPlane; }

 private:
  void fill(const std::vector<GroupRows>& groups, int64_t first, int64_t count);

  const Call& call_;
  int64_t stride_;
  Scratch<int32_t> rows_, counts_;
};

}  // namespace drpass

// What makes a memo warm before the first call: results of windows that are known beforehand.
#pragma once

#include <vector>

#include "core/kernels/kernel_set.h"
#include "core/memo.h"
#include "core/resources.h"
#include "core/tensors.h"

namespace drpass {

// The constants of a node.
struct Constants {
  std::vector<int64_t> w_shape, bias_shape;
  const float* w = nullptr;
  const float* bias = nullptr;  // may be absent
};

// Both are for nodes of which may_use_winograd() is true.

// The number of windows of tiles in memo_windows [count, blocks, n, n, 16]: images of n x n pixels in blocks of 16
// channels. Throws std::invalid_argument with a message of docs/operator.md where that is not its shape, or W and B are
// not what the node needs.
int64_t count_windows(const Parameters& parameters, const Constants& constants, const std::vector<int64_t>& shape);

// Keeps the results of so many windows, one after the other, as if calls had met them away from the borders of their
// images. They are computed as in calls, so no result depends on what the windows hold. Of more than there is room for
// the last count; a memo that has not taken its memory stays empty, so that no model takes more by that when it is
// loaded.
void prefill(const Parameters& parameters, const Constants& constants, const float* windows, int64_t count,
             const KernelSet& kernels, Memo& memo, Memory& memory);

}  // namespace drpass

// The direct product of images most of whose values are zero, as ReLU leaves them: it multiplies only the others. Zeros
// are the one cluster whose products are known without a multiplication, so nothing is lost by it.
#pragma once

#include <vector>

#include "core/dense.h"

namespace drpass {

// For every image of the instance, whether skipping zeros is expected to take less time than `dense_cost` (winograd.h).
// It depends on that image alone, so that splitting a batch does not change results. Empty: for none of them.
std::vector<char> images_to_skip_zeros_in(const Call& call, const Instance& instance, int64_t group,
                                          Executor& executor);

// All outputs of a group. False if a weight is not finite, because its product with a zero is NaN; Y is undefined then.
bool run_sparse(const Call& call, const Instance& instance, int64_t group, Executor& executor);

}  // namespace drpass

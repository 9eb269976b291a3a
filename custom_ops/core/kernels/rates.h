// How fast kernels are on this CPU, as far as choices between ways of computing depend on it. Known by the kind of the CPU
// and not measured: what is chosen shows in the last bits of a result, and must be the same in every run.
#pragma once

#include "core/kernels/kernel_set.h"

namespace drpass {

// Cycles, fitted to `make bench-stages` and `bench --stages`.
struct Rates {
  double product;  // a multiply-add of 16 lanes in the dense product
  // The product that skips zeros: an entry of a list, for all panels of outputs and for each of them, and the listing of
  // 16 values.
  double entry, entry_panel, listed;
};

const Rates& rates_of(const KernelSet& kernels);

}  // namespace drpass

// The one description of the kernels, a file a stage. A file per instruction set includes its simd_*.h, opens its
// namespace and includes this; everything here is static so that no two sets share a function.

// Loops over registers must vanish for the arrays to live in registers.
#define DRPASS_UNROLL _Pragma("GCC unroll 16")

constexpr int kPanelVectors = static_cast<int>(kPanel) / kLanes;

#include "core/kernels/inl/layout.h"

#include "core/kernels/inl/epilogue.h"

#include "core/kernels/inl/dense.h"
#include "core/kernels/inl/depthwise.h"
#include "core/kernels/inl/hash.h"
#include "core/kernels/inl/lrn.h"
#include "core/kernels/inl/pool.h"
#include "core/kernels/inl/sparse.h"
#include "core/kernels/inl/sums.h"
#include "core/kernels/inl/table.h"
#include "core/kernels/inl/winograd.h"

extern const KernelSet kKernels = {
    kName,         moments,          grid_signature, lsh_signature,    dense,
    list_nonzeros, copy_weight_rows, add_nonzeros,   add_weight_rows,  build_table,      add_rows,
    add_listed_rows, epilogue,      winograd_input,   winograd_hash,  winograd_weights, winograd_output,
    to_planes,     to_blocks,        pool_row,       depthwise_row,    lrn};

#undef DRPASS_UNROLL

// Compiled for one instruction set only (CMakeLists.txt); nothing but the table leaves this file.
#include "core/activation.h"
#include "core/kernels/kernel_set.h"
#include "core/kernels/simd_avx512.h"

namespace drpass {
namespace avx512 {
#include "core/kernels/kernels-inl.h"

extern const KernelSet kKernels = {"avx512",   kDenseRows,  moments,  grid_signature, lsh_signature,
                                   dense, build_table, add_rows, epilogue, lrn};
}  // namespace avx512
}  // namespace drpass

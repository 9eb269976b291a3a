// Compiled for one instruction set only (CMakeLists.txt); nothing but the table leaves this file.
#include <cstring>
#include <iterator>

#include "core/activation.h"
#include "core/kernels/kernel_set.h"
#include "core/kernels/simd_avx2.h"

namespace drpass {
namespace avx2 {
#include "core/kernels/kernels-inl.h"
}  // namespace avx2
}  // namespace drpass

// Compiled for one instruction set only (CMakeLists.txt); nothing but the table leaves this file.
#include <cstring>
#include <iterator>

#include "core/activation.h"
#include "core/kernels/kernel_set.h"
#include "core/kernels/simd_portable.h"

namespace drpass {
namespace portable {
#include "core/kernels/kernels-inl.h"
}  // namespace portable
}  // namespace drpass

#include "core/kernels/rates.h"

#include <cstring>

#ifdef DRPASS_X86
#include <cpuid.h>
#endif

namespace drpass {
namespace {

// One multiply-add of 16 lanes a cycle: two of 8 lanes (AVX2), or AVX-512 in two halves (Zen 4).
constexpr Rates kOneProduct{1.0, 0.8, 1.3, 16};
// Two of them; a list, which loads more than it multiplies, does not gain as much (Zen 5).
constexpr Rates kTwoProducts{0.52, 0.8, 0.8, 12};

#ifdef DRPASS_X86
bool is_zen4() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (!__get_cpuid(0, &eax, &ebx, &ecx, &edx)) return false;
  char vendor[12];
  std::memcpy(vendor, &ebx, 4);
  std::memcpy(vendor + 4, &edx, 4);
  std::memcpy(vendor + 8, &ecx, 4);
  if (std::memcmp(vendor, "AuthenticAMD", sizeof vendor) != 0 || !__get_cpuid(1, &eax, &ebx, &ecx, &edx)) return false;
  return (eax >> 8 & 0xF) + (eax >> 20 & 0xFF) == 0x19;  // the family
}
#endif

}  // namespace

const Rates& rates_of(const KernelSet& kernels) {
#ifdef DRPASS_X86
  static const Rates& avx512 = is_zen4() ? kOneProduct : kTwoProducts;
  if (std::strcmp(kernels.name, "avx512") == 0) return avx512;
#endif
  (void)kernels;
  return kOneProduct;
}

}  // namespace drpass

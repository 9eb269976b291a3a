#include <cstdlib>
#include <stdexcept>
#include <string>

#include "core/kernels/kernel_set.h"

namespace drpass {

namespace portable {
extern const KernelSet kKernels;
}
#ifdef DRPASS_X86
namespace avx2 {
extern const KernelSet kKernels;
}
namespace avx512 {
extern const KernelSet kKernels;
}
#endif

namespace {

struct Candidate {
  const KernelSet* kernels;
  bool (*runs_here)();
};

// Best first: adding a kernel set is adding a line.
const Candidate kCandidates[] = {
#ifdef DRPASS_X86
    {&avx512::kKernels, [] { return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("fma"); }},
    {&avx2::kKernels, [] { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }},
#endif
    {&portable::kKernels, [] { return true; }},
};

}  // namespace

const KernelSet* choose_kernels() {
  const char* forced = std::getenv(kKernelVariable);
  const std::string wanted = forced ? forced : "";
  if (wanted == "reference") return nullptr;
  std::string known = "reference";
  for (const Candidate& candidate : kCandidates) {
    if (wanted.empty() ? candidate.runs_here() : wanted == candidate.kernels->name) {
      if (!candidate.runs_here())
        throw std::invalid_argument(std::string(kKernelVariable) + "=" + wanted + ": this CPU can't run these kernels");
      return candidate.kernels;
    }
    known += std::string(", ") + candidate.kernels->name;
  }
  throw std::invalid_argument(std::string(kKernelVariable) + " must be one of " + known + ", not '" + wanted + "'");
}

}  // namespace drpass

#include "core/memo.h"

#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace drpass {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

// Pages are taken one by one as results are kept: large ones make that, and finding them again, much cheaper.
float* allocate(size_t bytes) {
  const size_t rounded = (bytes + kHugePage - 1) / kHugePage * kHugePage;
  void* block = std::aligned_alloc(kHugePage, rounded);
  if (!block) throw std::bad_alloc();
#if defined(__linux__)
  madvise(block, rounded, MADV_HUGEPAGE);  // advice: a failure changes nothing but the time
#endif
  return static_cast<float*>(block);
}

}  // namespace

Memo::Memo(int64_t bytes, int64_t floats)
    : floats_(floats),
      sets_(bytes / kWays / (floats * static_cast<int64_t>(sizeof(float)) + static_cast<int64_t>(sizeof(Entry)))),
      entries_(static_cast<size_t>(sets_ * kWays), Entry{{0, 0}, 0}),
      clocks_(static_cast<size_t>(sets_), 0),
      results_(sets_ ? allocate(static_cast<size_t>(sets_ * kWays * floats) * sizeof(float)) : nullptr) {}

}  // namespace drpass

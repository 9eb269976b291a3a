#include "core/memo.h"

#include <algorithm>
#include <atomic>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace drpass {
namespace {

constexpr int64_t kPage = 4096;  // the smallest of any system
constexpr size_t kHugePage = size_t{2} << 20;

// What is left of kTakenBytes.
std::atomic<int64_t> left{kTakenBytes};

// Large pages make taking memory, and finding results again, much cheaper.
float* allocate(size_t bytes) {
  const size_t rounded = (bytes + kHugePage - 1) / kHugePage * kHugePage;
  void* block = std::aligned_alloc(kHugePage, rounded);
  if (!block) throw std::bad_alloc();
#if defined(__linux__)
  madvise(block, rounded, MADV_HUGEPAGE);  // advice: a failure changes nothing but the time
#endif
  return static_cast<float*>(block);
}

// Zeros for which the system gives pages only when they are written.
template <typename T>
T* allocate_zeros(int64_t count) {
  void* block = std::calloc(static_cast<size_t>(std::max<int64_t>(count, 1)), sizeof(T));
  if (!block) throw std::bad_alloc();
  return static_cast<T*>(block);
}

// Makes the system give all pages at once; returns how many bytes count, which are none where too few are left.
int64_t take(float* block, int64_t bytes) {
  if (left.fetch_sub(bytes) < bytes) {
    left += bytes;
    return 0;
  }
  volatile char* at = reinterpret_cast<volatile char*>(block);
  for (int64_t offset = 0; offset < bytes; offset += kPage) at[offset] = 0;
  return bytes;
}

}  // namespace

Memo::Memo(int64_t bytes, int64_t floats)
    : floats_(floats),
      sets_(bytes / kWays / (floats * static_cast<int64_t>(sizeof(float)) + static_cast<int64_t>(sizeof(Entry)))),
      entries_(allocate_zeros<Entry>(capacity())),
      clocks_(allocate_zeros<uint64_t>(sets_)) {
  if (sets_ == 0) return;
  const int64_t size = capacity() * floats * static_cast<int64_t>(sizeof(float));
  results_.reset(allocate(static_cast<size_t>(size)));
  taken_ = take(results_.get(), size);
}

Memo::~Memo() { left += taken_; }

}  // namespace drpass

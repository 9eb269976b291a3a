// Reuse across calls: results of blocks of work whose inputs were met before in this session. An entry is a pure
// function of its key, and the key of all inputs, so results depend neither on what came before nor on concurrent
// callers.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <mutex>

#include "core/hash128.h"

namespace drpass {

// All memos of a process together take so much memory when they are made, at most: models are not trusted.
constexpr int64_t kTakenBytes = int64_t{4} << 30;

// A bounded set-associative store of results of one size. A key is the hash of everything that a result depends on. Of
// a full set the entry goes that was not used for longest.
class Memo {
 public:
  // Room for as many results of `floats` floats as fit into `bytes`. Where kTakenBytes leaves room, their memory is
  // taken from the system at once, else page by page, as results are kept.
  Memo(int64_t bytes, int64_t floats);
  ~Memo();
  Memo(const Memo&) = delete;
  Memo& operator=(const Memo&) = delete;

  // Results that there is room for.
  int64_t capacity() const { return sets_ * kWays; }
  // Whether all memory is taken already.
  bool has_taken_memory() const { return taken_ > 0; }

  // Calls use(const float* result) under the lock of the entry if the key is there.
  template <typename Use>
  bool find(const Hash128& key, const Use& use) {
    if (sets_ == 0) return false;
    const int64_t set = set_of(key);
    const std::lock_guard<std::mutex> lock(mutex_of(set));
    for (int64_t way = 0; way < kWays; ++way) {
      Entry& entry = entries_[set * kWays + way];
      if (!holds(entry, key)) continue;
      entry.used = ++clocks_[set];
      use(results_.get() + (set * kWays + way) * floats_);
      return true;
    }
    return false;
  }

  // Calls make(float* result) to write the result of a key that was not there.
  template <typename Make>
  void insert(const Hash128& key, const Make& make) {
    if (sets_ == 0) return;
    const int64_t set = set_of(key);
    const std::lock_guard<std::mutex> lock(mutex_of(set));
    int64_t victim = 0;
    for (int64_t way = 0; way < kWays; ++way) {
      const Entry& entry = entries_[set * kWays + way];
      if (holds(entry, key)) return;  // a concurrent caller was quicker
      if (entry.used < entries_[set * kWays + victim].used) victim = way;
    }
    entries_[set * kWays + victim] = {key, ++clocks_[set]};
    make(results_.get() + (set * kWays + victim) * floats_);
  }

 private:
  static constexpr int64_t kWays = 8;
  static constexpr size_t kLocks = 64;
  struct Entry {
    Hash128 key;
    uint64_t used;  // time of the set at the last use; 0: empty
  };

  static bool holds(const Entry& entry, const Hash128& key) {
    return entry.used && entry.key.high == key.high && entry.key.low == key.low;
  }
  int64_t set_of(const Hash128& key) const { return static_cast<int64_t>(key.low % static_cast<uint64_t>(sets_)); }
  std::mutex& mutex_of(int64_t set) { return locks_[static_cast<size_t>(set) % kLocks]; }

  struct Free {
    void operator()(void* block) const { std::free(block); }
  };
  int64_t floats_, sets_, taken_ = 0;
  std::unique_ptr<Entry[], Free> entries_;
  std::unique_ptr<uint64_t[], Free> clocks_;  // of the sets
  std::unique_ptr<float[], Free> results_;
  std::mutex locks_[kLocks];
};

}  // namespace drpass

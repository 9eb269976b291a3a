// Scratch memory that stays with the thread that used it, from call to call. Cores may share no cache but memory itself
// (parts of a socket, sockets, virtual machines): even to write a line that another one has written takes a way there.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <new>

#include "core/resources.h"

namespace drpass {

// Free blocks of a thread, for its whole life; no more of them than it used at once.
class ThreadBlocks {
 public:
  struct alignas(64) Header {
    size_t bytes;  // behind it; 0: the block belongs to another Memory
  };

  ~ThreadBlocks() {
    for (Header* block : free_) destroy(block);
  }

  // The smallest block that suffices. Where there is none, a new one takes the place of the largest. AddressSanitizer gets
  // a new one always: it sees steps beyond a block only if this is no larger than it was asked for.
  Header* take(size_t bytes) {
    Header** found = nullptr;
    for (Header*& block : free_)
      if (block && (!found || better(block->bytes, (*found)->bytes, bytes))) found = &block;
    if (found) {
      Header* block = *found;
      *found = nullptr;
      if (kReuse && block->bytes >= bytes) return block;
      destroy(block);
    }
    return new (::operator new(sizeof(Header) + bytes, kAlignment)) Header{bytes};
  }

  void give(Header* block) noexcept {
    const auto place = std::find(free_.begin(), free_.end(), nullptr);
    if (place == free_.end()) return destroy(block);
    *place = block;
  }

 private:
#ifdef __SANITIZE_ADDRESS__
  static constexpr bool kReuse = false;
#else
  static constexpr bool kReuse = true;
#endif
  static constexpr std::align_val_t kAlignment{alignof(Header)};

  // Whether `size` suits `bytes` more than `other` does.
  static bool better(size_t size, size_t other, size_t bytes) {
    if ((size >= bytes) != (other >= bytes)) return size >= bytes;
    return size >= bytes ? size < other : size > other;
  }
  static void destroy(Header* block) noexcept { ::operator delete(block, kAlignment); }

  std::array<Header*, 8> free_{};
};

// Small blocks come from the thread that asks and go to the one that releases them; large ones belong to `memory`.
class LocalMemory : public Memory {
 public:
  explicit LocalMemory(Memory& memory) : memory_(memory) {}

  void* allocate(size_t bytes) override {
    if (bytes <= kLargest) return blocks().take(bytes ? bytes : 1) + 1;
    if (bytes > SIZE_MAX - sizeof(Header)) throw std::bad_alloc();
    return new (memory_.allocate(sizeof(Header) + bytes)) Header{0} + 1;
  }

  void release(void* data) override {
    Header* block = static_cast<Header*>(data) - 1;
    block->bytes ? blocks().give(block) : memory_.release(block);
  }

 private:
  using Header = ThreadBlocks::Header;
  // Larger blocks do not stay in the cache of a core, and a thread that rests should not keep much.
  static constexpr size_t kLargest = 1 << 20;

  static ThreadBlocks& blocks() {
    thread_local ThreadBlocks blocks;
    return blocks;
  }

  Memory& memory_;
};

}  // namespace drpass

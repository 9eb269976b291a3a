// Scratch memory that stays with the thread that used it. Cores may share no cache but memory itself (parts of a socket,
// sockets, virtual machines): what another one has written comes from there five times as slowly.
#pragma once

#include <mutex>
#include <thread>
#include <vector>

#include "core/resources.h"

namespace drpass {

// Gives a thread the blocks that it has released before. For one call: the blocks go back at the end of its life.
class LocalMemory : public Memory {
 public:
  explicit LocalMemory(Memory& memory) : memory_(memory) {}
  ~LocalMemory() override {
    for (const Block& block : blocks_) memory_.release(block.data);
  }
  LocalMemory(const LocalMemory&) = delete;
  LocalMemory& operator=(const LocalMemory&) = delete;

  void* allocate(size_t bytes) override {
    if (bytes > kLargest) return memory_.allocate(bytes);
    const std::thread::id self = std::this_thread::get_id();
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      for (Block& block : blocks_)
        if (block.free && block.bytes == bytes && block.thread == self) {
          block.free = false;
          return block.data;
        }
      blocks_.reserve(blocks_.size() + 1);  // so that nothing fails once there is a block
    }
    void* data = memory_.allocate(bytes);
    const std::lock_guard<std::mutex> lock(mutex_);
    blocks_.push_back({data, bytes, self, false});
    return data;
  }

  void release(void* data) override {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      for (Block& block : blocks_)
        if (block.data == data) {
          block.free = true;
          block.thread = std::this_thread::get_id();
          return;
        }
    }
    memory_.release(data);
  }

 private:
  // Larger blocks go back at once: they do not stay in a cache of one core.
  static constexpr size_t kLargest = 4 << 20;

  struct Block {
    void* data;
    size_t bytes;
    std::thread::id thread;  // that released it
    bool free;
  };

  Memory& memory_;
  std::mutex mutex_;
  std::vector<Block> blocks_;
};

}  // namespace drpass

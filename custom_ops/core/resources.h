// What the algorithm borrows from its host: threads and memory. ONNX Runtime lends both; tests can lend others.
#pragma once

#include <cstddef>
#include <new>
#include <type_traits>
#include <utility>

namespace drpass {

// Runs task(0) ... task(count - 1), in any order and on any threads, and returns when all are done. A task may throw;
// one of the exceptions is thrown again by run().
class Executor {
 public:
  virtual ~Executor() = default;

  template <typename Task>
  void run(size_t count, const Task& task) {
    run_erased(count, [](const void* context, size_t index) { (*static_cast<const Task*>(context))(index); }, &task);
  }

 protected:
  using Function = void (*)(const void* context, size_t index);
  virtual void run_erased(size_t count, Function function, const void* context) = 0;
};

// On the calling thread, in order.
class SerialExecutor : public Executor {
  void run_erased(size_t count, Function function, const void* context) override {
    for (size_t index = 0; index < count; ++index) function(context, index);
  }
};

class Memory {
 public:
  virtual ~Memory() = default;
  virtual void* allocate(size_t bytes) = 0;  // throws std::bad_alloc; aligned to 64 bytes or more
  virtual void release(void* block) = 0;
};

// An uninitialised array that goes back to its Memory at the end of its life.
template <typename T>
class Scratch {
  static_assert(std::is_trivially_copyable<T>::value && std::is_trivially_destructible<T>::value,
                "scratch memory is not constructed");

 public:
  Scratch() = default;
  Scratch(Memory& memory, size_t count)
      : memory_(&memory), data_(static_cast<T*>(memory.allocate((count ? count : 1) * sizeof(T)))), size_(count) {}
  Scratch(Scratch&& other) noexcept { *this = std::move(other); }
  Scratch& operator=(Scratch&& other) noexcept {
    std::swap(memory_, other.memory_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~Scratch() {
    if (data_) memory_->release(data_);
  }
  T* data() { return data_; }
  const T* data() const { return data_; }
  T& operator[](size_t index) { return data_[index]; }
  const T& operator[](size_t index) const { return data_[index]; }
  size_t size() const { return size_; }

 private:
  Memory* memory_ = nullptr;
  T* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace drpass

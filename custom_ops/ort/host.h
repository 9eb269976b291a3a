// What every operator of the library borrows from ONNX Runtime: threads, memory, names and errors.
#pragma once

#include <exception>
#include <memory>
#include <string>

#include "core/resources.h"
#include "ort/api.h"

namespace drpass {

constexpr const char* kCpuProvider = nullptr;  // ONNX Runtime's default

// The session's own threads. What a task throws must not pass through ONNX Runtime's thread pool.
class PoolExecutor : public Executor {
 public:
  explicit PoolExecutor(const OrtKernelContext* context) : context_(context) {}

 private:
  void run_erased(size_t count, Function function, const void* context) override;

  const OrtKernelContext* context_;
};

class ArenaMemory : public Memory {
 public:
  explicit ArenaMemory(OrtAllocator* allocator) : allocator_(allocator) {}
  void* allocate(size_t bytes) override {
    void* block = allocator_->Alloc(allocator_, bytes);
    if (!block) throw std::bad_alloc();
    return block;
  }
  void release(void* block) override { allocator_->Free(allocator_, block); }

 private:
  OrtAllocator* allocator_;
};

struct ReleaseAllocator {
  void operator()(OrtAllocator* allocator) const { Ort::GetApi().ReleaseAllocator(allocator); }
};
using OwnedAllocator = std::unique_ptr<OrtAllocator, ReleaseAllocator>;
OwnedAllocator default_allocator(const OrtKernelInfo* info);

std::string node_name(const OrtKernelInfo* info);

// Whether a tensor is of float16; else it is of float, because no other type is registered.
bool is_half(const Ort::ConstValue& tensor);

// Input `index` as it is before any call; null where it is not known then.
Ort::ConstValue constant_input(const OrtKernelInfo* info, size_t index);

// Whether input `index` is known before any call, of float, and without NaN and infinities.
bool is_constant_and_finite(const OrtKernelInfo* info, size_t index);

// Input 2, [channels]; null where it is absent. Throws std::invalid_argument where it has another shape.
const void* bias_of(int64_t channels, Ort::KernelContext& context);

// The status that reports an exception of `op_type` node `node`.
OrtStatus* make_status(const char* op_type, const std::string& node, const std::exception& error);

// Runs the computation of a node; what it throws becomes a status.
template <typename Run>
OrtStatus* run_guarded(const char* op_type, const std::string& node, const Run& run) noexcept {
  try {
    run();
  } catch (const std::exception& error) {
    return make_status(op_type, node, error);
  }
  return nullptr;
}

// For CreateKernelV2: makes the kernel of a node, or the status that says why not.
template <typename Kernel>
OrtStatus* create_kernel(const char* op_type, const OrtKernelInfo* info, void** kernel) noexcept {
  std::string name;
  return run_guarded(op_type, name, [&] {
    name = node_name(info);
    *kernel = new Kernel(info);
  });
}

}  // namespace drpass

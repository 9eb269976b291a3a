// The operators on ONNX Runtime's CUDAExecutionProvider.
#pragma once

#include <string>

#include "cuda/engine.h"
#include "ort/deep_reuse_gemm.h"
#include "ort/depthwise.h"
#include "ort/fully_connected.h"
#include "ort/lrn.h"
#include "ort/pool.h"
#include "ort/upsample.h"

namespace drpass {

constexpr const char* kCudaProvider = "CUDAExecutionProvider";

// Memory of the provider's arena for one call. It is asked for through the call's context, so that the arena knows the
// stream and hands a released block to another stream only when that has waited.
class StreamMemory : public Memory {
 public:
  StreamMemory(const OrtKernelContext* context, OrtAllocator* allocator);
  void* allocate(size_t bytes) override;
  void release(void* block) override { allocator_->Free(allocator_, block); }

 private:
  const OrtKernelContext* context_;
  OrtAllocator* allocator_;
  const OrtMemoryInfo* info_ = nullptr;
};

// Calls launch(device) with the stream and the memory of a call.
template <typename Launch>
void with_device(OrtKernelContext* context, OrtAllocator* allocator, const Launch& launch) {
  void* stream = nullptr;
  Ort::ThrowOnError(Ort::GetApi().KernelContext_GetGPUComputeStream(context, &stream));
  StreamMemory memory(context, allocator);
  launch(cuda::Device{stream, memory});
}

// One node of a session. Compute may run concurrently: it changes nothing here.
class CudaDeepReuseGemmKernel {
 public:
  static constexpr const char* kProvider = kCudaProvider;

  explicit CudaDeepReuseGemmKernel(const OrtKernelInfo* info);
  OrtStatus* ComputeV2(OrtKernelContext* context) noexcept;

 private:
  std::string name_;
  Parameters parameters_;
  OwnedAllocator allocator_;
  ArenaMemory memory_;  // of the memo
  std::unique_ptr<cuda::Memo, cuda::DeleteMemo> memo_;  // may be absent; calls share it; it lets in one at a time
};

template <typename Operator>
class OneTensorCudaKernel {
 public:
  static constexpr const char* kProvider = kCudaProvider;

  explicit OneTensorCudaKernel(const OrtKernelInfo* info)
      : name_(node_name(info)), parameters_(Operator::read(info)), allocator_(default_allocator(info)) {}

  OrtStatus* ComputeV2(OrtKernelContext* raw) noexcept {
    return run_guarded(Operator::kName, name_, [&] {
      Ort::KernelContext context(raw);
      const auto call = Operator::bind(parameters_, context);
      with_device(raw, allocator_.get(), [&](cuda::Device device) { Operator::launch(parameters_, call, device); });
    });
  }

 private:
  std::string name_;
  typename Operator::Parameters parameters_;
  OwnedAllocator allocator_;
};

template <ONNXTensorElementDataType kElement>
using CudaDeepReuseGemmOp = DeepReuseGemmOn<CudaDeepReuseGemmKernel, kElement>;
template <ONNXTensorElementDataType kElement>
using CudaDepthwiseOp = OneTensorOp<Depthwise, OneTensorCudaKernel<Depthwise>, kElement>;
template <ONNXTensorElementDataType kElement>
using CudaFullyConnectedOp = OneTensorOp<FullyConnectedLayer, OneTensorCudaKernel<FullyConnectedLayer>, kElement>;
template <ONNXTensorElementDataType kElement>
using CudaLrnOp = OneTensorOp<Lrn, OneTensorCudaKernel<Lrn>, kElement>;
template <ONNXTensorElementDataType kElement>
using CudaPoolOp = OneTensorOp<Pool, OneTensorCudaKernel<Pool>, kElement>;
template <ONNXTensorElementDataType kElement>
using CudaUpsampleOp = OneTensorOp<Upsample, OneTensorCudaKernel<Upsample>, kElement>;

}  // namespace drpass

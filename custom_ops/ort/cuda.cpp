#include "ort/cuda.h"

#include <stdexcept>

#include "ort/attributes.h"

namespace drpass {

StreamMemory::StreamMemory(const OrtKernelContext* context, OrtAllocator* allocator)
    : context_(context), allocator_(allocator) {
  Ort::ThrowOnError(Ort::GetApi().AllocatorGetInfo(allocator, &info_));
}

// Where there is no memory KernelContext_GetScratchBuffer ends the process: it throws, and is declared not to. The allocator
// throws, too, but may; so it is asked first. Its own block would not do, because the arena does not know its stream.
void* StreamMemory::allocate(size_t bytes) {
  void* block = nullptr;
  try {
    block = allocator_->Alloc(allocator_, bytes);
  } catch (const std::exception&) {  // what it says is about ONNX Runtime's source
  }
  if (!block)
    throw std::runtime_error("out of memory: " + std::to_string(bytes) + " bytes of the device were asked for");
  release(block);
  Ort::ThrowOnError(Ort::GetApi().KernelContext_GetScratchBuffer(context_, info_, bytes, &block));
  return block;
}

CudaDeepReuseGemmKernel::CudaDeepReuseGemmKernel(const OrtKernelInfo* info)
    : name_(node_name(info)), parameters_(read_parameters(info)), allocator_(default_allocator(info)),
      memory_(allocator_.get()) {
  if (has_constant_inputs(info)) memo_ = cuda::make_memo(parameters_, memory_);
}

OrtStatus* CudaDeepReuseGemmKernel::ComputeV2(OrtKernelContext* raw) noexcept {
  return run_guarded(kDeepReuseGemm, name_, [&] {
    Ort::KernelContext context(raw);
    const BoundCall call = bind(parameters_, context);
    with_device(raw, allocator_.get(), [&](cuda::Device device) {
      cuda::compute(parameters_, call.geometry, call.tensors, memo_.get(), device);
    });
  });
}

void Depthwise::launch(const Parameters& parameters, const Call& call, cuda::Device device) {
  cuda::depthwise(parameters, call.geometry, call.half, call.x, call.w, call.bias, call.y, device);
}

void FullyConnectedLayer::launch(const Parameters& parameters, const Call& call, cuda::Device device) {
  cuda::fully_connected(parameters, call.geometry, call.half, call.x, call.w, call.bias, call.y, device);
}

void Lrn::launch(const Parameters& parameters, const Call& call, cuda::Device device) {
  cuda::local_response_normalization(parameters, call.images, call.channels, call.pixels, call.half, call.x, call.y,
                                     device);
}

void Upsample::launch(const Parameters& parameters, const Call& call, cuda::Device device) {
  cuda::upsample(parameters, call.geometry, call.half, call.x, call.y, device);
}

void Pool::launch(const Parameters& parameters, const Call& call, cuda::Device device) {
  cuda::pool(parameters, call.geometry, call.half, call.x, call.y, device);
}

}  // namespace drpass

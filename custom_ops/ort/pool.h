// The operator ai.drpass::Pool: max and average pooling in blocks of channels.
#pragma once

#include <string>

#include "core/pool.h"
#include "ort/api.h"
#include "ort/host.h"

namespace drpass {

class PoolKernel {
 public:
  explicit PoolKernel(const OrtKernelInfo* info);
  OrtStatus* ComputeV2(OrtKernelContext* context) noexcept;

 private:
  void run(OrtKernelContext* context) const;

  std::string name_;
  PoolParameters parameters_;
  const KernelSet* kernels_;
  OwnedAllocator allocator_;
};

struct PoolOp : Ort::CustomOpBase<PoolOp, PoolKernel, /*WithStatus=*/true> {
  PoolOp();
  const char* GetName() const { return "Pool"; }
  size_t GetInputTypeCount() const { return 1; }
  size_t GetOutputTypeCount() const { return 1; }
  ONNXTensorElementDataType GetInputType(size_t) const { return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT; }
  ONNXTensorElementDataType GetOutputType(size_t) const { return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT; }
  OrtStatus* CreateKernelV2(const OrtApi& api, const OrtKernelInfo* info, void** kernel) const noexcept;
};

}  // namespace drpass

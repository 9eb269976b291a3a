// The operator ai.drpass::LRN: ONNX LRN with the same attributes.
#pragma once

#include <string>

#include "core/lrn.h"
#include "ort/api.h"
#include "ort/host.h"

namespace drpass {

class LrnKernel {
 public:
  explicit LrnKernel(const OrtKernelInfo* info);
  OrtStatus* ComputeV2(OrtKernelContext* context) noexcept;

 private:
  void run(OrtKernelContext* context) const;

  std::string name_;
  LrnParameters parameters_;
  const KernelSet* kernels_;
  OwnedAllocator allocator_;
};

struct LrnOp : Ort::CustomOpBase<LrnOp, LrnKernel, /*WithStatus=*/true> {
  LrnOp();
  const char* GetName() const { return "LRN"; }
  size_t GetInputTypeCount() const { return 1; }
  size_t GetOutputTypeCount() const { return 1; }
  ONNXTensorElementDataType GetInputType(size_t) const { return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT; }
  ONNXTensorElementDataType GetOutputType(size_t) const { return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT; }
  OrtStatus* CreateKernelV2(const OrtApi& api, const OrtKernelInfo* info, void** kernel) const noexcept;
};

}  // namespace drpass

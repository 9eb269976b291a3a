// The operator as ONNX Runtime sees it.
#pragma once

#include <memory>
#include <vector>

#include "core/kernels/kernel_set.h"
#include "core/memo.h"
#include "core/resources.h"
#include "core/stages.h"
#include "core/tensors.h"
#include "ort/api.h"
#include "ort/host.h"

namespace drpass {

// One node of a session. Compute may run concurrently: it changes nothing here.
class DeepReuseGemmKernel {
 public:
  explicit DeepReuseGemmKernel(const OrtKernelInfo* info);
  OrtStatus* ComputeV2(OrtKernelContext* context) noexcept;

 private:
  void run(OrtKernelContext* context) const;
  Tensors bind(Ort::KernelContext& context, const Geometry& geometry) const;

  std::string name_;
  Parameters parameters_;
  const KernelSet* kernels_ = nullptr;  // null: the scalar reference
  std::vector<float> hyperplanes_;
  OwnedAllocator allocator_;
  std::unique_ptr<Memo> memo_;  // shared by concurrent calls; it locks itself
  mutable StageTimes stages_;   // the same
};

struct DeepReuseGemmOp : Ort::CustomOpBase<DeepReuseGemmOp, DeepReuseGemmKernel, /*WithStatus=*/true> {
  DeepReuseGemmOp();
  const char* GetName() const { return "DeepReuseGemm"; }
  size_t GetInputTypeCount() const { return 4; }
  size_t GetOutputTypeCount() const { return 2; }
  ONNXTensorElementDataType GetInputType(size_t) const { return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT; }
  ONNXTensorElementDataType GetOutputType(size_t index) const {
    return index == 0 ? ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT : ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;
  }
  OrtCustomOpInputOutputCharacteristic GetInputCharacteristic(size_t index) const {
    return index < 2 ? INPUT_OUTPUT_REQUIRED : INPUT_OUTPUT_OPTIONAL;
  }
  OrtCustomOpInputOutputCharacteristic GetOutputCharacteristic(size_t index) const {
    return index == 0 ? INPUT_OUTPUT_REQUIRED : INPUT_OUTPUT_OPTIONAL;
  }
  OrtStatus* CreateKernelV2(const OrtApi& api, const OrtKernelInfo* info, void** kernel) const noexcept;
};

}  // namespace drpass

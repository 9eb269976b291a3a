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
#include "ort/shape_inference.h"

namespace drpass {

constexpr const char* kDeepReuseGemm = "DeepReuseGemm";

// Sizes and data of one call.
struct BoundCall {
  Geometry geometry;
  Tensors tensors;
};

// Asks for inputs and outputs; throws where a shape does not fit.
BoundCall bind(const Parameters& parameters, Ort::KernelContext& context);

// Whether W and B are known when the session is created, and there is no input A.
bool has_constant_inputs(const OrtKernelInfo* info);

// One node of a session. Compute may run concurrently: it changes nothing here.
class DeepReuseGemmKernel {
 public:
  static constexpr const char* kProvider = kCpuProvider;

  explicit DeepReuseGemmKernel(const OrtKernelInfo* info);
  OrtStatus* ComputeV2(OrtKernelContext* context) noexcept;

 private:
  void keep_for_clusters(const OrtKernelInfo* info);
  void make_memo(const OrtKernelInfo* info);
  void run(OrtKernelContext* context) const;

  std::string name_;
  Parameters parameters_;
  const KernelSet* kernels_ = nullptr;  // null: the scalar reference
  std::vector<float> hyperplanes_;
  std::vector<float> tap_sums_;
  bool finite_weights_ = false;
  OwnedAllocator allocator_;
  mutable ArenaMemory memory_;  // the allocator locks itself
  Scratch<float> winograd_weights_;
  std::unique_ptr<Memo> memo_;  // may be absent; shared by concurrent calls; it locks itself
  mutable StageTimes stages_;   // the same
};

// The operator on the provider of a kernel class, for tensors of one type.
template <typename Kernel, ONNXTensorElementDataType kElement = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT>
struct DeepReuseGemmOn : Ort::CustomOpBase<DeepReuseGemmOn<Kernel, kElement>, Kernel, /*WithStatus=*/true> {
  DeepReuseGemmOn() {
    this->version = kOrtApiVersion;
    this->InferOutputShapeFn = [](const OrtCustomOp*, OrtShapeInferContext* context) {
      return infer_output_shapes(context);
    };
  }
  const char* GetName() const { return kDeepReuseGemm; }
  const char* GetExecutionProviderType() const { return Kernel::kProvider; }
  size_t GetInputTypeCount() const { return 4; }
  size_t GetOutputTypeCount() const { return 2; }
  ONNXTensorElementDataType GetInputType(size_t) const { return kElement; }
  ONNXTensorElementDataType GetOutputType(size_t index) const {
    return index == 0 ? kElement : ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;
  }
  OrtCustomOpInputOutputCharacteristic GetInputCharacteristic(size_t index) const {
    return index < 2 ? INPUT_OUTPUT_REQUIRED : INPUT_OUTPUT_OPTIONAL;
  }
  OrtCustomOpInputOutputCharacteristic GetOutputCharacteristic(size_t index) const {
    return index == 0 ? INPUT_OUTPUT_REQUIRED : INPUT_OUTPUT_OPTIONAL;
  }
  OrtStatus* CreateKernelV2(const OrtApi&, const OrtKernelInfo* info, void** kernel) const noexcept {
    return create_kernel<Kernel>(kDeepReuseGemm, info, kernel);
  }
};

using DeepReuseGemmOp = DeepReuseGemmOn<DeepReuseGemmKernel>;

}  // namespace drpass

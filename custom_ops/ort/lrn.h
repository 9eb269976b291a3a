// The operator ai.drpass::LRN: ONNX LRN with the same attributes.
#pragma once

#include "core/lrn.h"
#include "ort/one_tensor.h"

namespace drpass {

struct Lrn {
  static constexpr const char* kName = "LRN";
  static constexpr size_t kInputs = 1, kRequiredInputs = 1;
  using Parameters = LrnParameters;
  static Parameters read(const OrtKernelInfo* info);
  static OrtStatus* infer_shape(OrtShapeInferContext* context);
  struct Call {
    int64_t images, channels, pixels;  // of local_response_normalization()
    bool half;  // X and Y are of float16
    const void* x;
    void* y;
  };
  static Call bind(const Parameters& parameters, Ort::KernelContext& context);
  static void run(const Parameters& parameters, const Call& call, const KernelSet* kernels, Executor& executor,
                  Memory& memory);
  static void launch(const Parameters& parameters, const Call& call, cuda::Device device);
};
using LrnOp = OneTensorOp<Lrn>;

}  // namespace drpass

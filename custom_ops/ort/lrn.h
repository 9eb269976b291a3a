// The operator ai.drpass::LRN: ONNX LRN with the same attributes.
#pragma once

#include "core/lrn.h"
#include "ort/one_tensor.h"

namespace drpass {

struct Lrn {
  static constexpr const char* kName = "LRN";
  using Parameters = LrnParameters;
  static Parameters read(const OrtKernelInfo* info);
  static OrtStatus* infer_shape(OrtShapeInferContext* context);
  static void run(const Parameters& parameters, Ort::KernelContext& context, const KernelSet* kernels,
                  Executor& executor, Memory& memory);
};
using LrnOp = OneTensorOp<Lrn>;

}  // namespace drpass

// The operator ai.drpass::DepthwiseConv: depthwise convolution.
#pragma once

#include "core/depthwise.h"
#include "ort/one_tensor.h"

namespace drpass {

struct Depthwise {
  static constexpr const char* kName = "DepthwiseConv";
  static constexpr size_t kInputs = 3, kRequiredInputs = 2;  // X, W, B
  using Parameters = drpass::Parameters;
  static Parameters read(const OrtKernelInfo* info);
  static OrtStatus* infer_shape(OrtShapeInferContext* context);
  using Call = WeightedCall<DepthwiseGeometry>;
  static Call bind(const Parameters& parameters, Ort::KernelContext& context);
  static void run(const Parameters& parameters, const Call& call, const KernelSet* kernels, Executor& executor,
                  Memory& memory);
  static void launch(const Parameters& parameters, const Call& call, cuda::Device device);
};
using DepthwiseOp = OneTensorOp<Depthwise>;

}  // namespace drpass

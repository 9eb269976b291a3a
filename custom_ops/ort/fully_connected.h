// The operator ai.drpass::FullyConnected: the product of few rows with many weights.
#pragma once

#include "core/fully_connected.h"
#include "ort/one_tensor.h"

namespace drpass {

struct FullyConnectedLayer {
  static constexpr const char* kName = "FullyConnected";
  static constexpr size_t kInputs = 3, kRequiredInputs = 2;  // X, W, B
  using Parameters = FullyConnectedParameters;
  static Parameters read(const OrtKernelInfo* info);
  static OrtStatus* infer_shape(OrtShapeInferContext* context);
  using Call = WeightedCall<FullyConnectedGeometry>;
  static Call bind(const Parameters& parameters, Ort::KernelContext& context);
  static void run(const Parameters& parameters, const Call& call, const KernelSet* kernels, Executor& executor,
                  Memory& memory);
  static void launch(const Parameters& parameters, const Call& call, cuda::Device device);
};
using FullyConnectedOp = OneTensorOp<FullyConnectedLayer>;

}  // namespace drpass

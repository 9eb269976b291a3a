// The operator ai.drpass::Upsample: repeats rows and pixels, in blocks of channels.
#pragma once

#include "core/upsample.h"
#include "ort/one_tensor.h"

namespace drpass {

struct Upsample {
  static constexpr const char* kName = "Upsample";
  static constexpr size_t kInputs = 1, kRequiredInputs = 1;
  using Parameters = UpsampleParameters;
  static Parameters read(const OrtKernelInfo* info);
  static OrtStatus* infer_shape(OrtShapeInferContext* context);
  struct Call {
    UpsampleGeometry geometry;
    bool half;  // X and Y are of float16
    const void* x;
    void* y;
  };
  static Call bind(const Parameters& parameters, Ort::KernelContext& context);
  static void run(const Parameters& parameters, const Call& call, const KernelSet* kernels, Executor& executor,
                  Memory& memory);
  static void launch(const Parameters& parameters, const Call& call, cuda::Device device);
};
using UpsampleOp = OneTensorOp<Upsample>;

}  // namespace drpass

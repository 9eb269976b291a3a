// The operator ai.drpass::Pool: max and average pooling in blocks of channels.
#pragma once

#include "core/pool.h"
#include "ort/one_tensor.h"

namespace drpass {

struct Pool {
  static constexpr const char* kName = "Pool";
  static constexpr size_t kInputs = 1, kRequiredInputs = 1;
  using Parameters = PoolParameters;
  static Parameters read(const OrtKernelInfo* info);
  static OrtStatus* infer_shape(OrtShapeInferContext* context);
  struct Call {
    PoolGeometry geometry;
    bool half;  // X and Y are of float16
    const void* x;
    void* y;
  };
  static Call bind(const Parameters& parameters, Ort::KernelContext& context);
  static void run(const Parameters& parameters, const Call& call, const KernelSet* kernels, Executor& executor,
                  Memory& memory);
  static void launch(const Parameters& parameters, const Call& call, cuda::Device device);
};
using PoolOp = OneTensorOp<Pool>;

}  // namespace drpass

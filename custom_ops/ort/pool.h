// The operator ai.drpass::Pool: max and average pooling in blocks of channels.
#pragma once

#include "core/pool.h"
#include "ort/one_tensor.h"

namespace drpass {

struct Pool {
  static constexpr const char* kName = "Pool";
  using Parameters = PoolParameters;
  static Parameters read(const OrtKernelInfo* info);
  static OrtStatus* infer_shape(OrtShapeInferContext* context);
  static void run(const Parameters& parameters, Ort::KernelContext& context, const KernelSet* kernels,
                  Executor& executor, Memory& memory);
};
using PoolOp = OneTensorOp<Pool>;

}  // namespace drpass

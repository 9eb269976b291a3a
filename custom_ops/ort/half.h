// The operators for tensors of float16 on the CPU: types without kernels. The schema takes such tensors, and because
// ONNX Runtime finds no kernel for them on the CPU, it does with these nodes what it does with its own of that type: it
// computes in float, converts constants once, and casts where a chain of such nodes begins and ends, not within.
#pragma once

#include <stdexcept>

#include "ort/deep_reuse_gemm.h"
#include "ort/depthwise.h"
#include "ort/fully_connected.h"
#include "ort/lrn.h"
#include "ort/pool.h"
#include "ort/upsample.h"

namespace drpass {

class NoKernel {
 public:
  // No session has a provider of this name.
  static constexpr const char* kProvider = "ai.drpass.none";

  explicit NoKernel(const OrtKernelInfo*) { throw std::logic_error("there is no kernel for float16"); }
  OrtStatus* ComputeV2(OrtKernelContext*) noexcept { return nullptr; }
};

using HalfDeepReuseGemmOp = DeepReuseGemmOn<NoKernel, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16>;
using HalfDepthwiseOp = OneTensorOp<Depthwise, NoKernel, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16>;
using HalfFullyConnectedOp = OneTensorOp<FullyConnectedLayer, NoKernel, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16>;
using HalfLrnOp = OneTensorOp<Lrn, NoKernel, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16>;
using HalfPoolOp = OneTensorOp<Pool, NoKernel, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16>;
using HalfUpsampleOp = OneTensorOp<Upsample, NoKernel, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16>;

}  // namespace drpass

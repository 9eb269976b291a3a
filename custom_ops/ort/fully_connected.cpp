#include "ort/fully_connected.h"

#include "ort/attributes.h"
#include "ort/shape_inference.h"

namespace drpass {

FullyConnectedParameters FullyConnectedLayer::read(const OrtKernelInfo* info) {
  FullyConnectedParameters parameters = read_fully_connected_parameters(info);
  parameters.skip_zeros = is_constant_and_finite(info, 1);
  return parameters;
}

OrtStatus* FullyConnectedLayer::infer_shape(OrtShapeInferContext* context) {
  return infer_fully_connected_shape(context);
}

FullyConnectedLayer::Call FullyConnectedLayer::bind(const Parameters& parameters, Ort::KernelContext& context) {
  const auto resolve = [&](const auto& x, const auto& w) { return resolve_fully_connected(parameters, x, w); };
  return bind_weighted(resolve, parameters.outputs, context);
}

void FullyConnectedLayer::run(const Parameters& parameters, const Call& call, const KernelSet* kernels,
                              Executor& executor, Memory& memory) {
  fully_connected(parameters, call.geometry, static_cast<const float*>(call.x), static_cast<const float*>(call.w),
                  static_cast<const float*>(call.bias), static_cast<float*>(call.y), kernels, executor, memory);
}

}  // namespace drpass

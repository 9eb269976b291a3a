#include "ort/fully_connected.h"

#include "core/geometry.h"
#include "ort/attributes.h"
#include "ort/shape_inference.h"

namespace drpass {

FullyConnectedParameters FullyConnectedLayer::read(const OrtKernelInfo* info) {
  FullyConnectedParameters parameters = read_fully_connected_parameters(info);
  const Ort::ConstValue w = constant_input(info, 1);
  parameters.skip_zeros = w && !is_half(w) &&
                          all_finite(static_cast<const float*>(w.GetTensorRawData()),
                                     static_cast<int64_t>(w.GetTensorTypeAndShapeInfo().GetElementCount()));
  return parameters;
}

OrtStatus* FullyConnectedLayer::infer_shape(OrtShapeInferContext* context) {
  return infer_fully_connected_shape(context);
}

FullyConnectedLayer::Call FullyConnectedLayer::bind(const Parameters& parameters, Ort::KernelContext& context) {
  const auto x = context.GetInput(0), w = context.GetInput(1);
  Call call{};
  call.geometry = resolve_fully_connected(parameters, x.GetTensorTypeAndShapeInfo().GetShape(),
                                          w.GetTensorTypeAndShapeInfo().GetShape());
  call.half = is_half(x);
  call.x = x.GetTensorRawData();
  call.w = w.GetTensorRawData();
  call.bias = bias_of(parameters.outputs, context);
  call.y = context.GetOutput(0, call.geometry.y_shape).GetTensorMutableRawData();
  return call;
}

void FullyConnectedLayer::run(const Parameters& parameters, const Call& call, const KernelSet* kernels,
                              Executor& executor, Memory& memory) {
  fully_connected(parameters, call.geometry, static_cast<const float*>(call.x), static_cast<const float*>(call.w),
                  static_cast<const float*>(call.bias), static_cast<float*>(call.y), kernels, executor, memory);
}

}  // namespace drpass

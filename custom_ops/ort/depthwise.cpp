#include "ort/depthwise.h"

#include "core/geometry.h"
#include "ort/attributes.h"
#include "ort/shape_inference.h"

namespace drpass {

Parameters Depthwise::read(const OrtKernelInfo* info) { return read_depthwise_parameters(info); }

OrtStatus* Depthwise::infer_shape(OrtShapeInferContext* context) { return infer_depthwise_shape(context); }

Depthwise::Call Depthwise::bind(const Parameters& parameters, Ort::KernelContext& context) {
  const auto x = context.GetInput(0), w = context.GetInput(1);
  Call call{};
  call.geometry = resolve_depthwise(parameters, x.GetTensorTypeAndShapeInfo().GetShape(),
                                    w.GetTensorTypeAndShapeInfo().GetShape());
  call.half = is_half(x);
  call.x = x.GetTensorRawData();
  call.w = w.GetTensorRawData();
  call.bias = bias_of(parameters.output_channels, context);
  call.y = context.GetOutput(0, call.geometry.y_shape).GetTensorMutableRawData();
  return call;
}

void Depthwise::run(const Parameters& parameters, const Call& call, const KernelSet* kernels, Executor& executor,
                    Memory& memory) {
  depthwise(parameters, call.geometry, static_cast<const float*>(call.x), static_cast<const float*>(call.w),
            static_cast<const float*>(call.bias), static_cast<float*>(call.y), kernels, executor,
            memory);
}

}  // namespace drpass

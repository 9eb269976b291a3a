#include "ort/depthwise.h"

#include "ort/attributes.h"
#include "ort/shape_inference.h"

namespace drpass {

Parameters Depthwise::read(const OrtKernelInfo* info) { return read_depthwise_parameters(info); }

OrtStatus* Depthwise::infer_shape(OrtShapeInferContext* context) { return infer_depthwise_shape(context); }

Depthwise::Call Depthwise::bind(const Parameters& parameters, Ort::KernelContext& context) {
  const auto resolve = [&](const auto& x, const auto& w) { return resolve_depthwise(parameters, x, w); };
  return bind_weighted(resolve, parameters.output_channels, context);
}

void Depthwise::run(const Parameters& parameters, const Call& call, const KernelSet* kernels, Executor& executor,
                    Memory& memory) {
  depthwise(parameters, call.geometry, static_cast<const float*>(call.x), static_cast<const float*>(call.w),
            static_cast<const float*>(call.bias), static_cast<float*>(call.y), kernels, executor, memory);
}

}  // namespace drpass

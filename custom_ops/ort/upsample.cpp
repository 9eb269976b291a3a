#include "ort/upsample.h"

#include "ort/attributes.h"
#include "ort/shape_inference.h"

namespace drpass {

UpsampleParameters Upsample::read(const OrtKernelInfo* info) { return read_upsample_parameters(info); }

OrtStatus* Upsample::infer_shape(OrtShapeInferContext* context) { return infer_upsample_shape(context); }

Upsample::Call Upsample::bind(const Parameters& parameters, Ort::KernelContext& context) {
  const auto x = context.GetInput(0);
  const UpsampleGeometry geometry = resolve_upsample(parameters, x.GetTensorTypeAndShapeInfo().GetShape());
  void* y = context.GetOutput(0, geometry.y_shape).GetTensorMutableRawData();
  return {geometry, is_half(x), x.GetTensorRawData(), y};
}

// Nothing is computed, so the scalar reference would be the same.
void Upsample::run(const Parameters& parameters, const Call& call, const KernelSet*, Executor& executor, Memory&) {
  upsample(parameters, call.geometry, static_cast<const float*>(call.x), static_cast<float*>(call.y), executor);
}

}  // namespace drpass

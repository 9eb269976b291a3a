#include "ort/pool.h"

#include "ort/attributes.h"
#include "ort/shape_inference.h"

namespace drpass {

PoolParameters Pool::read(const OrtKernelInfo* info) { return read_pool_parameters(info); }

OrtStatus* Pool::infer_shape(OrtShapeInferContext* context) { return infer_pool_shape(context); }

Pool::Call Pool::bind(const Parameters& parameters, Ort::KernelContext& context) {
  const auto x = context.GetInput(0);
  const PoolGeometry geometry = resolve_pool(parameters, x.GetTensorTypeAndShapeInfo().GetShape());
  float* y = context.GetOutput(0, geometry.y_shape).GetTensorMutableData<float>();
  return {geometry, x.GetTensorData<float>(), y};
}

void Pool::run(const Parameters& parameters, const Call& call, const KernelSet* kernels, Executor& executor,
               Memory& memory) {
  pool(parameters, call.geometry, call.x, call.y, kernels, executor, memory);
}

}  // namespace drpass

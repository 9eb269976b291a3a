#include "ort/pool.h"

#include "ort/attributes.h"
#include "ort/shape_inference.h"

namespace drpass {

PoolParameters Pool::read(const OrtKernelInfo* info) { return read_pool_parameters(info); }

OrtStatus* Pool::infer_shape(OrtShapeInferContext* context) { return infer_pool_shape(context); }

Pool::Call Pool::bind(const Parameters& parameters, Ort::KernelContext& context) {
  const auto x = context.GetInput(0);
  const PoolGeometry geometry = resolve_pool(parameters, x.GetTensorTypeAndShapeInfo().GetShape());
  void* y = context.GetOutput(0, geometry.y_shape).GetTensorMutableRawData();
  return {geometry, is_half(x), x.GetTensorRawData(), y};
}

void Pool::run(const Parameters& parameters, const Call& call, const KernelSet* kernels, Executor& executor,
               Memory& memory) {
  pool(parameters, call.geometry, static_cast<const float*>(call.x), static_cast<float*>(call.y), kernels, executor,
       memory);
}

}  // namespace drpass

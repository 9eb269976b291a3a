#include "ort/pool.h"

#include "ort/attributes.h"
#include "ort/shape_inference.h"

namespace drpass {

PoolKernel::PoolKernel(const OrtKernelInfo* info)
    : name_(node_name(info)),
      parameters_(read_pool_parameters(info)),
      kernels_(choose_kernels()),
      allocator_(default_allocator(info)) {}

OrtStatus* PoolKernel::ComputeV2(OrtKernelContext* context) noexcept {
  return run_guarded("Pool", name_, [&] { run(context); });
}

void PoolKernel::run(OrtKernelContext* raw) const {
  Ort::KernelContext context(raw);
  const auto x = context.GetInput(0);
  const PoolGeometry geometry = resolve_pool(parameters_, x.GetTensorTypeAndShapeInfo().GetShape());
  float* y = context.GetOutput(0, geometry.y_shape).GetTensorMutableData<float>();
  PoolExecutor executor(raw);
  ArenaMemory memory(allocator_.get());
  pool(parameters_, geometry, x.GetTensorData<float>(), y, kernels_, executor, memory);
}

PoolOp::PoolOp() {
  version = kOrtApiVersion;
  InferOutputShapeFn = [](const OrtCustomOp*, OrtShapeInferContext* context) { return infer_pool_shape(context); };
}

OrtStatus* PoolOp::CreateKernelV2(const OrtApi&, const OrtKernelInfo* info, void** kernel) const noexcept {
  return create_kernel<PoolKernel>(GetName(), info, kernel);
}

}  // namespace drpass

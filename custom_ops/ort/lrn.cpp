#include "ort/lrn.h"

#include <stdexcept>

#include "core/geometry.h"
#include "ort/attributes.h"
#include "ort/host.h"
#include "ort/shape_inference.h"

namespace drpass {

LrnKernel::LrnKernel(const OrtKernelInfo* info)
    : name_(node_name(info)),
      parameters_(read_lrn_parameters(info)),
      kernels_(choose_kernels()),
      allocator_(default_allocator(info)) {}

OrtStatus* LrnKernel::ComputeV2(OrtKernelContext* context) noexcept {
  return run_guarded("LRN", name_, [&] { run(context); });
}

void LrnKernel::run(OrtKernelContext* raw) const {
  Ort::KernelContext context(raw);
  const auto x = context.GetInput(0);
  const std::vector<int64_t> shape = x.GetTensorTypeAndShapeInfo().GetShape();
  if (shape.size() < 2)
    throw std::invalid_argument("X has rank " + std::to_string(shape.size()) + ", but LRN needs [N, C, ...]");
  int64_t pixels = 1;
  for (size_t axis = 2; axis < shape.size(); ++axis) pixels *= shape[axis];
  int64_t channels = shape[1];
  if (parameters_.layout == Layout::blocked) {
    if (shape.size() < 3 || shape.back() != kPanel)
      throw std::invalid_argument("X has shape " + format_shape(shape) + ", but NCHW16c ends in 16");
    pixels /= kPanel;
    channels *= kPanel;
  }
  float* y = context.GetOutput(0, shape).GetTensorMutableData<float>();
  PoolExecutor executor(raw);
  ArenaMemory memory(allocator_.get());
  local_response_normalization(parameters_, shape[0], channels, pixels, x.GetTensorData<float>(), y, kernels_, executor,
                               memory);
}

LrnOp::LrnOp() {
  version = kOrtApiVersion;
  InferOutputShapeFn = [](const OrtCustomOp*, OrtShapeInferContext* context) { return infer_same_shape(context); };
}

OrtStatus* LrnOp::CreateKernelV2(const OrtApi&, const OrtKernelInfo* info, void** kernel) const noexcept {
  return create_kernel<LrnKernel>(GetName(), info, kernel);
}

}  // namespace drpass

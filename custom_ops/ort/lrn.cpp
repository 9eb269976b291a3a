#include "ort/lrn.h"

#include <stdexcept>

#include "core/geometry.h"
#include "ort/attributes.h"
#include "ort/shape_inference.h"

namespace drpass {

LrnParameters Lrn::read(const OrtKernelInfo* info) { return read_lrn_parameters(info); }

OrtStatus* Lrn::infer_shape(OrtShapeInferContext* context) { return infer_same_shape(context); }

Lrn::Call Lrn::bind(const Parameters& parameters, Ort::KernelContext& context) {
  const auto x = context.GetInput(0);
  const std::vector<int64_t> shape = x.GetTensorTypeAndShapeInfo().GetShape();
  if (shape.size() < 2)
    throw std::invalid_argument("X has rank " + std::to_string(shape.size()) + ", but LRN needs [N, C, ...]");
  int64_t pixels = 1;
  for (size_t axis = 2; axis < shape.size(); ++axis) pixels *= shape[axis];
  int64_t channels = shape[1];
  if (parameters.layout == Layout::blocked) {
    if (shape.size() < 3 || shape.back() != kPanel)
      throw std::invalid_argument("X has shape " + format_shape(shape) + ", but NCHW16c ends in 16");
    pixels /= kPanel;
    channels *= kPanel;
  }
  void* y = context.GetOutput(0, shape).GetTensorMutableRawData();
  return {shape[0], channels, pixels, is_half(x), x.GetTensorRawData(), y};
}

void Lrn::run(const Parameters& parameters, const Call& call, const KernelSet* kernels, Executor& executor,
              Memory& memory) {
  local_response_normalization(parameters, call.images, call.channels, call.pixels, static_cast<const float*>(call.x),
                               static_cast<float*>(call.y), kernels, executor, memory);
}

}  // namespace drpass

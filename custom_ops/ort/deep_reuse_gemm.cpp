#include "ort/deep_reuse_gemm.h"

#include <stdexcept>
#include <string>

#include "core/engine.h"
#include "core/hyperplanes.h"
#include "core/reference.h"
#include "core/winograd.h"
#include "ort/attributes.h"
#include "ort/host.h"

namespace drpass {
namespace {

// The shape of input `index`, or nothing where it is absent.
bool shape_of(Ort::KernelContext& context, size_t index, std::vector<int64_t>* shape) {
  if (index >= context.GetInputCount()) return false;
  const auto value = context.GetInput(index);
  if (!value) return false;
  *shape = value.GetTensorTypeAndShapeInfo().GetShape();
  return true;
}

const float* data_of(const Ort::ConstValue& tensor) { return static_cast<const float*>(tensor.GetTensorRawData()); }

}  // namespace

BoundCall bind(const Parameters& parameters, Ort::KernelContext& context) {
  BoundCall call;
  Tensors& tensors = call.tensors;
  std::vector<int64_t> x_shape, shape;
  shape_of(context, 0, &x_shape);
  shape_of(context, 1, &shape);
  const Geometry& geometry = call.geometry = resolve(parameters, x_shape, shape);
  tensors.half = is_half(context.GetInput(0));
  tensors.x = data_of(context.GetInput(0));
  const std::vector<int64_t> expected = packed_weight_shape(geometry);
  if (shape.size() == 5 && shape[3] != expected[3])
    throw std::invalid_argument("X has " + std::to_string(geometry.channels) + " channels, but W was packed for " +
                                std::to_string(shape[3] * geometry.groups));
  if (shape != expected)
    throw std::invalid_argument("W has shape " + format_shape(shape) + ", but " + format_shape(expected) +
                                " was expected");
  tensors.w = data_of(context.GetInput(1));
  if (shape_of(context, 2, &shape)) {
    if (shape != std::vector<int64_t>{geometry.output_channels})
      throw std::invalid_argument("B has shape " + format_shape(shape) + ", but [" +
                                  std::to_string(geometry.output_channels) + "] was expected");
    tensors.bias = data_of(context.GetInput(2));
  }
  if (shape_of(context, 3, &shape))
    tensors.addend = make_addend(geometry, data_of(context.GetInput(3)), shape);
  tensors.y = static_cast<float*>(context.GetOutput(0, geometry.y_shape).GetTensorMutableRawData());
  if (context.GetOutputCount() > 1) {
    auto stats = context.GetOutput(1, {geometry.scopes(), geometry.groups, geometry.sub_groups()});
    if (stats) tensors.stats = stats.GetTensorMutableData<int64_t>();
  }
  return call;
}

DeepReuseGemmKernel::DeepReuseGemmKernel(const OrtKernelInfo* info)
    : name_(node_name(info)), parameters_(read_parameters(info)), kernels_(choose_kernels()),
      allocator_(default_allocator(info)), stages_(name_) {
  if (parameters_.method == Method::lsh)
    hyperplanes_ = make_hyperplanes(parameters_.seed, parameters_.hash_bits, parameters_.sub_vector_length);
  if (parameters_.memo_bytes > 0)
    memo_ = std::make_unique<Memo>(parameters_.memo_bytes, winograd_result_size(parameters_));
}

OrtStatus* DeepReuseGemmKernel::ComputeV2(OrtKernelContext* context) noexcept {
  return run_guarded(kDeepReuseGemm, name_, [&] { run(context); });
}

void DeepReuseGemmKernel::run(OrtKernelContext* raw) const {
  Ort::KernelContext context(raw);
  const auto [geometry, tensors] = bind(parameters_, context);
  if (!kernels_) return compute_reference(parameters_, geometry, tensors);
  PoolExecutor executor(raw);
  ArenaMemory memory(allocator_.get());
  StageTimes* stages = collects_stages() ? &stages_ : nullptr;
  compute(parameters_, geometry, tensors, *kernels_, hyperplanes_.data(), memo_.get(), executor, memory, stages);
}

}  // namespace drpass

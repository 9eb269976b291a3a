#include "ort/deep_reuse_gemm.h"

#include <optional>
#include <stdexcept>
#include <string>

#include "core/engine.h"
#include "core/hyperplanes.h"
#include "core/prefill.h"
#include "core/reference.h"
#include "core/table_scale.h"
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

// The value of input `index`, null where it is not known before a call.
const float* constant_input(const OrtKernelInfo* info, size_t index, std::vector<int64_t>* shape) {
  const Ort::ConstValue tensor = drpass::constant_input(info, index);
  if (!tensor) return nullptr;
  *shape = tensor.GetTensorTypeAndShapeInfo().GetShape();
  return data_of(tensor);
}

// W and B, or nothing where there is an input besides X that is not known before a call.
std::optional<Constants> constants_of(const OrtKernelInfo* info) {
  size_t inputs = 0;
  Ort::ThrowOnError(Ort::GetApi().KernelInfo_GetInputCount(info, &inputs));
  Constants constants;
  constants.w = constant_input(info, 1, &constants.w_shape);
  if (inputs > 2) constants.bias = constant_input(info, 2, &constants.bias_shape);
  if (!constants.w || (inputs > 2 && !constants.bias) || inputs > 3) return std::nullopt;
  return constants;
}

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
  check_packed_weights(geometry, shape);
  tensors.w = data_of(context.GetInput(1));
  if (shape_of(context, 2, &shape)) {
    check_bias(geometry.output_channels, shape);
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

bool has_constant_inputs(const OrtKernelInfo* info) { return constants_of(info).has_value(); }

DeepReuseGemmKernel::DeepReuseGemmKernel(const OrtKernelInfo* info)
    : name_(node_name(info)), parameters_(read_parameters(info)), kernels_(choose_kernels()),
      allocator_(default_allocator(info)), memory_(allocator_.get()), stages_(name_) {
  if (!kernels_) return;
  if (parameters_.method != Method::exact) keep_for_clusters(info);
  if (!may_use_winograd(parameters_)) return;
  std::vector<int64_t> shape;
  if (const float* w = constant_input(info, 1, &shape))
    winograd_weights_ = keep_winograd_weights(parameters_, w, shape, *kernels_, memory_);
  if (parameters_.memo_bytes > 0) make_memo(info);
}

void DeepReuseGemmKernel::keep_for_clusters(const OrtKernelInfo* info) {
  if (parameters_.method == Method::lsh)
    hyperplanes_ = make_hyperplanes(parameters_.seed, parameters_.hash_bits, parameters_.sub_vector_length);
  finite_weights_ = is_constant_and_finite(info, 1);
  std::vector<int64_t> shape;
  const float* w = constant_input(info, 1, &shape);
  if (w && needs_tap_sums(parameters_)) tap_sums_ = sum_tap_magnitudes(shape, w);
}

// Results are kept by the inputs of their windows alone, so all else must be constant.
void DeepReuseGemmKernel::make_memo(const OrtKernelInfo* info) {
  const std::optional<Constants> constants = constants_of(info);
  if (!constants) return;
  const Ort::Value windows = read_tensor(info, "memo_windows");
  const int64_t count =
      windows ? count_windows(parameters_, *constants, windows.GetTensorTypeAndShapeInfo().GetShape()) : 0;
  memo_ = std::make_unique<Memo>(parameters_.memo_bytes, winograd_result_size(parameters_));
  if (count == 0) return;
  prefill(parameters_, *constants, windows.GetTensorData<float>(), count, *kernels_, *memo_, memory_);
}

OrtStatus* DeepReuseGemmKernel::ComputeV2(OrtKernelContext* context) noexcept {
  return run_guarded(kDeepReuseGemm, name_, [&] { run(context); });
}

void DeepReuseGemmKernel::run(OrtKernelContext* raw) const {
  Ort::KernelContext context(raw);
  const auto [geometry, tensors] = bind(parameters_, context);
  if (!kernels_) return compute_reference(parameters_, geometry, tensors);
  PoolExecutor executor(raw);
  const Kept kept{hyperplanes_.data(), winograd_weights_.size() ? winograd_weights_.data() : nullptr, memo_.get(),
                  tap_sums_.empty() ? nullptr : tap_sums_.data(), finite_weights_};
  StageTimes* stages = collects_stages() ? &stages_ : nullptr;
  compute(parameters_, geometry, tensors, *kernels_, kept, executor, memory_, stages);
}

}  // namespace drpass

// What operators of one running tensor in and one out share. An operator is a struct with
//   kName, Parameters
//   kInputs, kRequiredInputs                                the tensor, constants, and those that may be absent
//   static Parameters read(const OrtKernelInfo*)            its attributes, checked
//   static OrtStatus* infer_shape(OrtShapeInferContext*)
//   Call                                                    sizes and data of one call
//   static Call bind(const Parameters&, Ort::KernelContext&)   asks for input and output
//   static void run(const Parameters&, const Call&, const KernelSet* (null: the scalar reference), Executor&, Memory&)
//   static void launch(const Parameters&, const Call&, cuda::Device)   defined where the library is built with CUDA
#pragma once

#include <string>
#include <type_traits>

#include "core/kernels/kernel_set.h"
#include "core/local_memory.h"
#include "cuda/device.h"
#include "ort/api.h"
#include "ort/host.h"

namespace drpass {

// A call of an operator with constant weights and a bias, which may be absent.
template <typename Geometry>
struct WeightedCall {
  Geometry geometry;
  bool half;  // all tensors are of float16
  const void *x, *w, *bias;
  void* y;
};

// resolve(shape of X, shape of W) makes the geometry of the call.
template <typename Resolve>
auto bind_weighted(const Resolve& resolve, int64_t output_channels, Ort::KernelContext& context) {
  const auto x = context.GetInput(0), w = context.GetInput(1);
  const auto geometry = resolve(x.GetTensorTypeAndShapeInfo().GetShape(), w.GetTensorTypeAndShapeInfo().GetShape());
  const void* bias = bias_of(output_channels, context);
  void* y = context.GetOutput(0, geometry.y_shape).GetTensorMutableRawData();
  return WeightedCall<std::decay_t<decltype(geometry)>>{geometry, is_half(x), x.GetTensorRawData(),
                                                        w.GetTensorRawData(), bias, y};
}

// One node of a session. Compute may run concurrently: it changes nothing here.
template <typename Operator>
class OneTensorKernel {
 public:
  static constexpr const char* kProvider = kCpuProvider;

  explicit OneTensorKernel(const OrtKernelInfo* info)
      : name_(node_name(info)),
        parameters_(Operator::read(info)),
        kernels_(choose_kernels()),
        allocator_(default_allocator(info)) {}

  OrtStatus* ComputeV2(OrtKernelContext* raw) noexcept {
    return run_guarded(Operator::kName, name_, [&] {
      Ort::KernelContext context(raw);
      PoolExecutor executor(raw);
      ArenaMemory arena(allocator_.get());
      LocalMemory memory(arena);
      Operator::run(parameters_, Operator::bind(parameters_, context), kernels_, executor, memory);
    });
  }

 private:
  std::string name_;
  typename Operator::Parameters parameters_;
  const KernelSet* kernels_;
  OwnedAllocator allocator_;
};

// The operator on the provider of a kernel class, for tensors of one type.
template <typename Operator, typename Kernel = OneTensorKernel<Operator>,
          ONNXTensorElementDataType kElement = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT>
struct OneTensorOp : Ort::CustomOpBase<OneTensorOp<Operator, Kernel, kElement>, Kernel, /*WithStatus=*/true> {
  OneTensorOp() {
    this->version = kOrtApiVersion;
    this->InferOutputShapeFn = [](const OrtCustomOp*, OrtShapeInferContext* context) {
      return Operator::infer_shape(context);
    };
  }
  const char* GetName() const { return Operator::kName; }
  const char* GetExecutionProviderType() const { return Kernel::kProvider; }
  size_t GetInputTypeCount() const { return Operator::kInputs; }
  size_t GetOutputTypeCount() const { return 1; }
  ONNXTensorElementDataType GetInputType(size_t) const { return kElement; }
  ONNXTensorElementDataType GetOutputType(size_t) const { return kElement; }
  OrtCustomOpInputOutputCharacteristic GetInputCharacteristic(size_t index) const {
    return index < Operator::kRequiredInputs ? INPUT_OUTPUT_REQUIRED : INPUT_OUTPUT_OPTIONAL;
  }
  OrtStatus* CreateKernelV2(const OrtApi&, const OrtKernelInfo* info, void** kernel) const noexcept {
    return create_kernel<Kernel>(GetName(), info, kernel);
  }
};

}  // namespace drpass

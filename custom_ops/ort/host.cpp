#include "ort/host.h"

#include <mutex>
#include <stdexcept>

#include "core/geometry.h"
#include "core/tensors.h"

namespace drpass {
namespace {

struct Job {
  void (*function)(const void* context, size_t index);
  const void* context;
  std::mutex mutex;
  std::exception_ptr error;
};

}  // namespace

void PoolExecutor::run_erased(size_t count, Function function, const void* context) {
  if (count == 0) return;
  if (count == 1) return function(context, 0);
  Job job{function, context, {}, nullptr};
  const auto step = [](void* data, size_t index) {
    Job& shared = *static_cast<Job*>(data);
    try {
      shared.function(shared.context, index);
    } catch (...) {
      const std::lock_guard<std::mutex> lock(shared.mutex);
      if (!shared.error) shared.error = std::current_exception();
    }
  };
  Ort::ThrowOnError(Ort::GetApi().KernelContext_ParallelFor(context_, step, count, 0, &job));
  if (job.error) std::rethrow_exception(job.error);
}

OwnedAllocator default_allocator(const OrtKernelInfo* info) {
  OrtAllocator* allocator = nullptr;
  Ort::ThrowOnError(Ort::GetApi().KernelInfoGetAllocator(info, OrtMemTypeDefault, &allocator));
  return OwnedAllocator(allocator);
}

bool is_half(const Ort::ConstValue& tensor) {
  return tensor.GetTensorTypeAndShapeInfo().GetElementType() == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16;
}

Ort::ConstValue constant_input(const OrtKernelInfo* info, size_t index) {
  int is_constant = 0;
  const OrtValue* value = nullptr;
  Ort::ThrowOnError(Ort::GetApi().KernelInfoGetConstantInput_tensor(info, index, &is_constant, &value));
  return Ort::ConstValue(is_constant ? value : nullptr);
}

bool is_constant_and_finite(const OrtKernelInfo* info, size_t index) {
  const Ort::ConstValue tensor = constant_input(info, index);
  return tensor && !is_half(tensor) &&
         all_finite(static_cast<const float*>(tensor.GetTensorRawData()),
                    static_cast<int64_t>(tensor.GetTensorTypeAndShapeInfo().GetElementCount()));
}

const void* bias_of(int64_t channels, Ort::KernelContext& context) {
  if (context.GetInputCount() < 3) return nullptr;
  const auto bias = context.GetInput(2);
  if (!bias) return nullptr;
  check_bias(channels, bias.GetTensorTypeAndShapeInfo().GetShape());
  return bias.GetTensorRawData();
}

std::string node_name(const OrtKernelInfo* info) {
  size_t size = 0;
  Ort::ThrowOnError(Ort::GetApi().KernelInfo_GetNodeName(info, nullptr, &size));
  std::string name(size, '\0');
  Ort::ThrowOnError(Ort::GetApi().KernelInfo_GetNodeName(info, &name[0], &size));
  name.resize(size ? size - 1 : 0);
  return name;
}

OrtStatus* make_status(const char* op_type, const std::string& node, const std::exception& error) {
  const bool memory = dynamic_cast<const std::bad_alloc*>(&error) != nullptr;
  const std::string text = op_type + std::string(" '") + node + "': " + (memory ? "out of memory" : error.what());
  const bool argument = dynamic_cast<const std::invalid_argument*>(&error) != nullptr;
  return Ort::GetApi().CreateStatus(argument ? ORT_INVALID_ARGUMENT : ORT_RUNTIME_EXCEPTION, text.c_str());
}

}  // namespace drpass

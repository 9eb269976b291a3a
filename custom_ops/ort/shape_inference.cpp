#include "ort/shape_inference.h"

#include <atomic>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/geometry.h"
#include "ort/attributes.h"

namespace drpass {
namespace {

struct Dimension {
  int64_t size = -1;
  std::string symbol;  // where the size is not known; may be empty
};
using Shape = std::vector<Dimension>;

// A name for a size that is not known. It must be of this dimension alone: tensors whose dimensions have equal names, or
// none, count as equally large for ONNX Runtime, which then puts one into the memory of the other.
std::string new_symbol() {
  static std::atomic<uint64_t> next{0};
  return "drpass_" + std::to_string(next++);
}

// What is known of an input.
struct Input {
  Shape shape;
  ONNXTensorElementDataType type = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
};

Input input_of(OrtShapeInferContext* context, size_t index) {
  const OrtApi& api = Ort::GetApi();
  OrtTensorTypeAndShapeInfo* info = nullptr;  // belongs to the context
  Ort::ThrowOnError(api.ShapeInferContext_GetInputTypeShape(context, index, &info));
  size_t rank = 0;
  Ort::ThrowOnError(api.GetDimensionsCount(info, &rank));
  std::vector<int64_t> sizes(rank);
  std::vector<const char*> symbols(rank, nullptr);
  Ort::ThrowOnError(api.GetDimensions(info, sizes.data(), rank));
  Ort::ThrowOnError(api.GetSymbolicDimensions(info, symbols.data(), rank));
  Input input{Shape(rank)};
  Ort::ThrowOnError(api.GetTensorElementType(info, &input.type));
  for (size_t axis = 0; axis < rank; ++axis) {
    input.shape[axis].size = sizes[axis];
    if (symbols[axis]) input.shape[axis].symbol = symbols[axis];
  }
  return input;
}

void set_output_shape(OrtShapeInferContext* context, size_t index, const Shape& shape, ONNXTensorElementDataType type) {
  const OrtApi& api = Ort::GetApi();
  std::vector<int64_t> sizes;
  std::vector<std::string> names;
  std::vector<const char*> symbols;
  for (const Dimension& dimension : shape) {
    sizes.push_back(dimension.size);
    const bool named = dimension.size >= 0 || !dimension.symbol.empty();
    names.push_back(named ? dimension.symbol : new_symbol());
  }
  for (const std::string& name : names) symbols.push_back(name.c_str());
  OrtTensorTypeAndShapeInfo* info = nullptr;
  Ort::ThrowOnError(api.CreateTensorTypeAndShapeInfo(&info));
  const std::unique_ptr<OrtTensorTypeAndShapeInfo, void (*)(OrtTensorTypeAndShapeInfo*)> owner(
      info, [](OrtTensorTypeAndShapeInfo* object) { Ort::GetApi().ReleaseTensorTypeAndShapeInfo(object); });
  Ort::ThrowOnError(api.SetTensorElementType(info, type));
  Ort::ThrowOnError(api.SetDimensions(info, sizes.data(), sizes.size()));
  Ort::ThrowOnError(api.SetSymbolicDimensions(info, symbols.data(), symbols.size()));
  Ort::ThrowOnError(api.ShapeInferContext_SetOutputTypeShape(context, index, info));
}

Shape infer(const Parameters& p, const Shape& x) {
  Shape y = x;
  if (p.kernel_shape.empty()) {
    if (p.trans_a) y[0] = x[1];
    y.back() = {p.output_channels, ""};
    return y;
  }
  const bool x_blocked = p.x_layout == Layout::blocked, y_blocked = p.y_layout == Layout::blocked;
  if (x_blocked) y.pop_back();
  y[1] = {y_blocked ? (p.output_channels + kPanel - 1) / kPanel : p.output_channels, ""};
  for (size_t axis = 2; axis < y.size(); ++axis)
    y[axis] = {x[axis].size < 0 ? -1 : slide(p, axis - 2, x[axis].size).count, ""};
  if (y_blocked) y.push_back({kPanel, ""});
  return y;
}

void infer_all(OrtShapeInferContext* context) {
  const Parameters p = read_shape_parameters(context);
  const auto [x, type] = input_of(context, 0);
  if (x.size() < 2) return;  // not known
  const size_t wanted = p.kernel_shape.size() + (p.x_layout == Layout::blocked ? 3 : 2);
  if (!p.kernel_shape.empty() && x.size() != wanted)
    throw std::invalid_argument("X has rank " + std::to_string(x.size()) + ", but kernel_shape of " +
                                std::to_string(p.kernel_shape.size()) + " axes needs rank " + std::to_string(wanted));
  set_output_shape(context, 0, infer(p, x), type);
}

template <typename Infer>
OrtStatus* guarded(const char* op_type, const Infer& infer) {
  try {
    infer();
  } catch (const std::exception& error) {
    return Ort::GetApi().CreateStatus(ORT_INVALID_GRAPH, (op_type + std::string(": ") + error.what()).c_str());
  }
  return nullptr;
}

}  // namespace

OrtStatus* infer_output_shapes(OrtShapeInferContext* context) {
  return guarded("DeepReuseGemm", [context] { infer_all(context); });
}

OrtStatus* infer_pool_shape(OrtShapeInferContext* context) {
  return guarded("Pool", [context] {
    const PoolParameters p = read_pool_shape_parameters(context);
    const auto [x, type] = input_of(context, 0);
    if (x.size() != 5) return;  // not known
    Shape y = x;
    for (size_t axis : {2, 3})
      if (p.kernel_shape.empty())
        y[axis] = {1, ""};
      else
        y[axis] = {x[axis].size < 0 ? -1 : pool_axis(p, axis - 2, x[axis].size).out, ""};
    if (p.y_layout == Layout::planes) {
      y.pop_back();
      y[1] = {p.channels, ""};
    }
    set_output_shape(context, 0, y, type);
  });
}

OrtStatus* infer_depthwise_shape(OrtShapeInferContext* context) {
  return guarded("DepthwiseConv", [context] {
    const Parameters p = read_depthwise_shape_parameters(context);
    const auto [x, type] = input_of(context, 0);
    if (x.size() == (p.x_layout == Layout::blocked ? 5 : 4)) set_output_shape(context, 0, infer(p, x), type);
  });
}

OrtStatus* infer_fully_connected_shape(OrtShapeInferContext* context) {
  return guarded("FullyConnected", [context] {
    const FullyConnectedParameters p = read_fully_connected_shape_parameters(context);
    auto [x, type] = input_of(context, 0);
    if (x.empty()) return;  // not known
    x.back() = {p.outputs, ""};
    set_output_shape(context, 0, x, type);
  });
}

OrtStatus* infer_upsample_shape(OrtShapeInferContext* context) {
  return guarded("Upsample", [context] {
    const UpsampleParameters p = read_upsample_shape_parameters(context);
    auto [x, type] = input_of(context, 0);
    if (x.size() != 5) return;  // not known
    const int64_t scales[] = {p.rows, p.columns};
    for (size_t axis : {2, 3}) x[axis] = {x[axis].size < 0 ? -1 : x[axis].size * scales[axis - 2], ""};
    set_output_shape(context, 0, x, type);
  });
}

OrtStatus* infer_same_shape(OrtShapeInferContext* context) {
  return guarded("LRN", [context] {
    const auto [x, type] = input_of(context, 0);
    if (!x.empty()) set_output_shape(context, 0, x, type);
  });
}

}  // namespace drpass

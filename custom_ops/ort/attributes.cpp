#include "ort/attributes.h"

#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

namespace drpass {
namespace {

[[noreturn]] void fail(const std::string& message) { throw std::invalid_argument(message); }

std::string format(float value) {
  std::string text = std::to_string(value);
  text.erase(text.find_last_not_of('0') + 1);
  return text.back() == '.' ? text + "0" : text;
}
std::string format(int64_t value) { return std::to_string(value); }

// True if the call succeeded; a failed one only means that there is no such attribute of that type.
bool succeeded(OrtStatus* status) {
  if (status) Ort::GetApi().ReleaseStatus(status);
  return status == nullptr;
}

// Whether a node has no attribute of that name. There is no function that says so, but ONNX Runtime's complaint is then
// the one that it has of any other missing name.
bool is_absent(const OrtKernelInfo* info, const std::string& name) {
  const auto complaint = [info](const std::string& asked) {
    int64_t value = 0;
    const Ort::Status status(Ort::GetApi().KernelInfoGetAttribute_int64(info, asked.c_str(), &value));
    std::string text = status.IsOK() ? "" : status.GetErrorMessage();
    if (const size_t at = text.find(asked); at != std::string::npos) text.erase(at, asked.size());
    return text;
  };
  return complaint(name) == complaint("drpass.no_such_attribute");
}

// Both sources answer read(name, &value): false where the attribute is absent or of another type.
class KernelSource {
 public:
  explicit KernelSource(const OrtKernelInfo* info) : info_(info) {}
  bool read(const char* name, int64_t* value) const {
    return succeeded(Ort::GetApi().KernelInfoGetAttribute_int64(info_, name, value));
  }
  bool read(const char* name, float* value) const {
    return succeeded(Ort::GetApi().KernelInfoGetAttribute_float(info_, name, value));
  }
  bool read(const char* name, std::string* value) const {
    size_t size = 0;
    if (!succeeded(Ort::GetApi().KernelInfoGetAttribute_string(info_, name, nullptr, &size))) return false;
    value->resize(size);
    if (!succeeded(Ort::GetApi().KernelInfoGetAttribute_string(info_, name, &(*value)[0], &size))) return false;
    value->resize(size ? size - 1 : 0);
    return true;
  }
  bool read(const char* name, std::vector<int64_t>* value) const {
    return read_array(name, value, Ort::GetApi().KernelInfoGetAttributeArray_int64);
  }
  bool read(const char* name, std::vector<float>* value) const {
    return read_array(name, value, Ort::GetApi().KernelInfoGetAttributeArray_float);
  }

 private:
  template <typename T, typename Getter>
  bool read_array(const char* name, std::vector<T>* value, Getter get) const {
    size_t size = 0;
    if (!succeeded(get(info_, name, nullptr, &size))) return false;
    value->resize(size);
    return succeeded(get(info_, name, value->data(), &size));
  }
  const OrtKernelInfo* info_;
};

class InferenceSource {
 public:
  explicit InferenceSource(OrtShapeInferContext* context) : context_(context) {}
  bool read(const char* name, int64_t* value) const { return read_raw(name, ORT_OP_ATTR_INT, value, sizeof *value); }
  bool read(const char* name, float* value) const { return read_raw(name, ORT_OP_ATTR_FLOAT, value, sizeof *value); }
  bool read(const char* name, std::string* value) const { return read_array(name, ORT_OP_ATTR_STRING, value); }
  bool read(const char* name, std::vector<int64_t>* value) const { return read_array(name, ORT_OP_ATTR_INTS, value); }
  bool read(const char* name, std::vector<float>* value) const { return read_array(name, ORT_OP_ATTR_FLOATS, value); }

 private:
  bool read_raw(const char* name, OrtOpAttrType type, void* data, size_t bytes, size_t* needed = nullptr) const {
    const OrtOpAttr* attribute = nullptr;
    size_t out = 0;
    if (!succeeded(Ort::GetApi().ShapeInferContext_GetAttribute(context_, name, &attribute)) || !attribute)
      return false;
    const bool done = succeeded(Ort::GetApi().ReadOpAttr(attribute, type, data, bytes, &out));
    if (needed) *needed = out;
    return done;
  }
  // The first call, into no room, says how many bytes are needed and fails unless that is none.
  template <typename Container>
  bool read_array(const char* name, OrtOpAttrType type, Container* value) const {
    size_t bytes = 0;
    value->clear();
    if (read_raw(name, type, nullptr, 0, &bytes)) return true;
    if (bytes == 0) return false;
    value->resize(bytes / sizeof(*value->data()));
    return read_raw(name, type, &(*value)[0], bytes);
  }
  OrtShapeInferContext* context_;
};

template <typename Source>
class Reader {
 public:
  explicit Reader(const Source& source) : source_(source) {}

  template <typename T>
  T get(const char* name, T fallback) const {
    T value{};
    if (source_.read(name, &value)) return value;
    if (of_type<int64_t>(name) || of_type<float>(name) || of_type<std::string>(name) ||
        of_type<std::vector<int64_t>>(name) || of_type<std::vector<float>>(name))
      fail(std::string(name) + " has the wrong type");
    return fallback;
  }

  template <typename T>
  T get_in(const char* name, T fallback, T low, T high) const {
    const T value = get<T>(name, fallback);
    if (!(value >= low && value <= high))
      fail(std::string(name) + " must be in [" + format(low) + ", " + format(high) + "], not " + format(value));
    return value;
  }

  template <typename Enum>
  Enum get_name(const char* name, const std::vector<std::pair<std::string, Enum>>& choices) const {
    const std::string value = get<std::string>(name, choices.front().first);
    std::string known;
    for (const auto& choice : choices) {
      if (choice.first == value) return choice.second;
      known += (known.empty() ? "" : ", ") + choice.first;
    }
    fail(std::string(name) + " must be one of " + known + ", not '" + value + "'");
  }

 private:
  template <typename T>
  bool of_type(const char* name) const {
    T value{};
    return source_.read(name, &value);
  }
  const Source& source_;
};

// Sizes of untrusted nodes: nothing sensible is larger, and products of three stay far from overflow.
constexpr int64_t kLargest = int64_t{1} << 20;

template <typename Source>
std::vector<int64_t> axes(const Reader<Source>& reader, const char* name, size_t wanted, size_t rank, int64_t low) {
  const std::vector<int64_t> values = reader.template get<std::vector<int64_t>>(name, {});
  if (!values.empty() && values.size() != wanted)
    fail(std::string(name) + " needs " + std::to_string(wanted) + " values for a kernel of rank " +
         std::to_string(rank) + ", not " + std::to_string(values.size()));
  for (int64_t value : values)
    if (value < low || value > kLargest)
      fail(std::string(name) + " must be in [" + format(low) + ", " + format(kLargest) + "], not " + format(value));
  return values;
}

template <typename Source>
Layout read_layout(const Reader<Source>& reader, const char* name) {
  return reader.template get_name<Layout>(name, {{"NCHW", Layout::planes}, {"NCHW16c", Layout::blocked}});
}

template <typename Source>
AutoPad read_auto_pad(const Reader<Source>& reader) {
  return reader.template get_name<AutoPad>("auto_pad", {{"NOTSET", AutoPad::notset},
                                                        {"VALID", AutoPad::valid},
                                                        {"SAME_UPPER", AutoPad::same_upper},
                                                        {"SAME_LOWER", AutoPad::same_lower}});
}

template <typename Source>
void read_shape(const Reader<Source>& reader, Parameters& p) {
  p.output_channels = reader.template get_in<int64_t>("output_channels", 0, 1, kLargest);
  p.group = reader.template get_in<int64_t>("group", 1, 1, kLargest);
  p.trans_a = reader.template get_in<int64_t>("trans_a", 0, 0, 1) != 0;
  p.kernel_shape = reader.template get<std::vector<int64_t>>("kernel_shape", {});
  const size_t rank = p.kernel_shape.size();
  if (rank > 3) fail("kernel_shape must have 1 to 3 values, not " + std::to_string(rank));
  axes(reader, "kernel_shape", rank, rank, 1);
  p.strides = axes(reader, "strides", rank, rank, 1);
  p.dilations = axes(reader, "dilations", rank, rank, 1);
  p.pads = axes(reader, "pads", 2 * rank, rank, 0);
  p.auto_pad = read_auto_pad(reader);
  if (p.output_channels % p.group != 0)
    fail("output_channels " + format(p.output_channels) + " is not a multiple of group " + format(p.group));
  if (rank == 0 && p.group != 1) fail("group must be 1 in the matrix form, not " + format(p.group));
  if (rank != 0 && p.trans_a) fail("trans_a must be 0 in the convolution form, not 1");
  p.x_layout = read_layout(reader, "x_layout");
  p.y_layout = read_layout(reader, "y_layout");
  if (rank == 0 && (p.x_layout == Layout::blocked || p.y_layout == Layout::blocked))
    fail("x_layout and y_layout must be NCHW in the matrix form");
  p.scope = reader.template get_name<Scope>("scope", {{"image", Scope::image}, {"batch", Scope::batch}});
  p.sub_vector_length = reader.template get_in<int64_t>("sub_vector_length", 4, 1, kLargest);
}

template <typename Source>
void read_method(const Reader<Source>& reader, Parameters& p) {
  p.method = reader.template get_name<Method>("method",
                                              {{"exact", Method::exact}, {"lsh", Method::lsh}, {"grid", Method::grid}});
  p.step = reader.template get_in<float>("step", 0.03f, std::numeric_limits<float>::min(), 1e6f);
  p.hash_bits = reader.template get_in<int64_t>("hash_bits", 16, 1, 64);
  p.table_type = reader.template get_name<TableType>("table_type",
                                                     {{"float", TableType::float32}, {"int16", TableType::int16}});
  p.winograd = reader.template get_in<int64_t>("winograd", 1, 0, 1) != 0;
  p.skip_zeros = reader.template get_in<int64_t>("skip_zeros", 1, 0, 1) != 0;
  p.allow_tf32 = reader.template get_in<int64_t>("allow_tf32", 0, 0, 1) != 0;
  p.memo_bytes = reader.template get_in<int64_t>("memo_bytes", 0, 0, int64_t{1} << 36);
  p.seed = static_cast<uint64_t>(reader.template get<int64_t>("seed", 0));
  p.max_remaining_ratio =
      reader.template get_in<float>("max_remaining_ratio", 0.5f, std::numeric_limits<float>::min(), 1.0f);
}

// Into parameters of any operator that has an activation.
template <typename Source, typename P>
void read_activation(const Reader<Source>& reader, P& p) {
  struct Known {
    const char* name;
    Activation activation;
    size_t parameters;
  };
  static const std::array<Known, 8> kKnown = {{{"none", Activation::none, 0},
                                               {"relu", Activation::relu, 0},
                                               {"leaky_relu", Activation::leaky_relu, 1},
                                               {"clip", Activation::clip, 2},
                                               {"hard_sigmoid", Activation::hard_sigmoid, 2},
                                               {"hard_swish", Activation::hard_swish, 0},
                                               {"sigmoid", Activation::sigmoid, 0},
                                               {"silu", Activation::silu, 0}}};
  std::vector<std::pair<std::string, Activation>> names;
  for (const Known& known : kKnown) names.push_back({known.name, known.activation});
  p.activation = reader.template get_name<Activation>("activation", names);
  const std::vector<float> values = reader.template get<std::vector<float>>("activation_params", {});
  const size_t wanted = kKnown[static_cast<size_t>(p.activation)].parameters;
  if (values.size() != wanted)
    fail("activation '" + names[static_cast<size_t>(p.activation)].first + "' needs " + std::to_string(wanted) +
         " parameters, not " + std::to_string(values.size()));
  for (size_t i = 0; i < wanted; ++i) p.activation_params[i] = values[i];
}

template <typename Source>
PoolParameters read_pool(const Reader<Source>& reader) {
  PoolParameters p;
  p.average = reader.template get_name<bool>("mode", {{"max", false}, {"average", true}});
  p.channels = reader.template get_in<int64_t>("channels", 0, 1, kLargest);
  p.kernel_shape = axes(reader, "kernel_shape", 2, 2, 1);
  p.strides = axes(reader, "strides", 2, 2, 1);
  p.pads = axes(reader, "pads", 4, 2, 0);
  p.auto_pad = read_auto_pad(reader);
  p.ceil_mode = reader.template get_in<int64_t>("ceil_mode", 0, 0, 1) != 0;
  p.count_include_pad = reader.template get_in<int64_t>("count_include_pad", 0, 0, 1) != 0;
  if (p.ceil_mode && p.count_include_pad) fail("count_include_pad must be 0 with ceil_mode, not 1");
  p.y_layout = read_layout(reader, "y_layout");
  return p;
}

template <typename Source>
Parameters read_depthwise(const Reader<Source>& reader) {
  Parameters p;
  p.output_channels = reader.template get_in<int64_t>("channels", 0, 1, kLargest);
  p.kernel_shape = axes(reader, "kernel_shape", 2, 2, 1);
  if (p.kernel_shape.empty()) fail("kernel_shape needs 2 values for a kernel of rank 2, not 0");
  p.strides = axes(reader, "strides", 2, 2, 1);
  p.dilations = axes(reader, "dilations", 2, 2, 1);
  p.pads = axes(reader, "pads", 4, 2, 0);
  p.auto_pad = read_auto_pad(reader);
  read_activation(reader, p);
  p.x_layout = read_layout(reader, "x_layout");
  p.y_layout = read_layout(reader, "y_layout");
  return p;
}

template <typename Source>
FullyConnectedParameters read_fully_connected(const Reader<Source>& reader) {
  FullyConnectedParameters p;
  p.outputs = reader.template get_in<int64_t>("output_channels", 0, 1, kLargest);
  read_activation(reader, p);
  return p;
}

template <typename Source>
UpsampleParameters read_upsample(const Reader<Source>& reader) {
  const std::vector<int64_t> scales = reader.template get<std::vector<int64_t>>("scales", {});
  if (scales.size() != 2) fail("scales needs 2 values, not " + std::to_string(scales.size()));
  for (int64_t scale : scales)
    if (scale < 1 || scale > 1024) fail("scales must be in [1, 1024], not " + format(scale));
  return {scales[0], scales[1]};
}

// What `read` makes of the attributes of a node, when its kernel is made and during shape inference.
template <typename Read>
auto read_from(const OrtKernelInfo* info, const Read& read) {
  const KernelSource source(info);
  return read(Reader<KernelSource>(source));
}
template <typename Read>
auto read_from(OrtShapeInferContext* context, const Read& read) {
  const InferenceSource source(context);
  return read(Reader<InferenceSource>(source));
}

constexpr auto kDepthwise = [](const auto& reader) { return read_depthwise(reader); };
constexpr auto kFullyConnected = [](const auto& reader) { return read_fully_connected(reader); };
constexpr auto kUpsample = [](const auto& reader) { return read_upsample(reader); };
constexpr auto kPool = [](const auto& reader) { return read_pool(reader); };

}  // namespace

Parameters read_depthwise_parameters(const OrtKernelInfo* info) { return read_from(info, kDepthwise); }
Parameters read_depthwise_shape_parameters(OrtShapeInferContext* context) { return read_from(context, kDepthwise); }

FullyConnectedParameters read_fully_connected_parameters(const OrtKernelInfo* info) {
  return read_from(info, kFullyConnected);
}
FullyConnectedParameters read_fully_connected_shape_parameters(OrtShapeInferContext* context) {
  return read_from(context, kFullyConnected);
}

UpsampleParameters read_upsample_parameters(const OrtKernelInfo* info) { return read_from(info, kUpsample); }
UpsampleParameters read_upsample_shape_parameters(OrtShapeInferContext* context) {
  return read_from(context, kUpsample);
}

PoolParameters read_pool_parameters(const OrtKernelInfo* info) { return read_from(info, kPool); }
PoolParameters read_pool_shape_parameters(OrtShapeInferContext* context) { return read_from(context, kPool); }

Parameters read_parameters(const OrtKernelInfo* info) {
  const KernelSource source(info);
  const Reader<KernelSource> reader(source);
  Parameters p;
  read_shape(reader, p);
  read_method(reader, p);
  read_activation(reader, p);
  return p;
}

Ort::Value read_tensor(const OrtKernelInfo* info, const char* name) {
  if (is_absent(info, name)) return Ort::Value(nullptr);
  OrtAllocator* heap = nullptr;
  OrtValue* value = nullptr;
  Ort::ThrowOnError(Ort::GetApi().GetAllocatorWithDefaultOptions(&heap));
  const bool read = succeeded(Ort::GetApi().KernelInfoGetAttribute_tensor(info, name, heap, &value));
  Ort::Value tensor(value);
  if (!read || tensor.GetTensorTypeAndShapeInfo().GetElementType() != ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT)
    fail(std::string(name) + " must be a tensor of float, as large as its shape says");
  return tensor;
}

LrnParameters read_lrn_parameters(const OrtKernelInfo* info) {
  const KernelSource source(info);
  const Reader<KernelSource> reader(source);
  LrnParameters p;
  p.size = reader.get_in<int64_t>("size", 0, 1, kLargest);
  p.alpha = reader.get<float>("alpha", p.alpha);
  p.beta = reader.get<float>("beta", p.beta);
  p.bias = reader.get<float>("bias", p.bias);
  p.layout = read_layout(reader, "layout");
  return p;
}

Parameters read_shape_parameters(OrtShapeInferContext* context) {
  const InferenceSource source(context);
  Parameters p;
  read_shape(Reader<InferenceSource>(source), p);
  return p;
}

}  // namespace drpass

// ONNX Runtime's C++ API, initialised by RegisterCustomOps instead of by linking to the runtime.
#pragma once

#define ORT_API_MANUAL_INIT
#include <onnxruntime_cxx_api.h>
#undef ORT_API_MANUAL_INIT

#include <cstdint>

namespace drpass {

// The oldest ONNX Runtime that the library supports is 1.18: newer headers must not raise this, because a runtime
// refuses a library that asks for a newer interface than its own.
constexpr uint32_t kOrtApiVersion = 18;

}  // namespace drpass

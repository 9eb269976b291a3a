// What the library exports: RegisterCustomOps, which ONNX Runtime calls, the name of the kernels in use, and where the
// time of DeepReuseGemm goes.
#include <mutex>

#include "ort/deep_reuse_gemm.h"
#include "ort/depthwise.h"
#include "ort/fully_connected.h"
#include "ort/half.h"
#include "ort/lrn.h"
#include "ort/pool.h"
#include "ort/upsample.h"
#ifdef DRPASS_CUDA
#include "ort/cuda.h"
#endif

#if defined(_WIN32)
#define DRPASS_EXPORT extern "C" __declspec(dllexport)
#else
#define DRPASS_EXPORT extern "C" __attribute__((visibility("default")))
#endif

#ifdef DRPASS_CUDA
// For tensors of one type.
template <ONNXTensorElementDataType kElement>
static void add_cuda_operators(Ort::CustomOpDomain& domain) {
  static const drpass::CudaDeepReuseGemmOp<kElement> deep_reuse_gemm;
  static const drpass::CudaDepthwiseOp<kElement> depthwise;
  static const drpass::CudaFullyConnectedOp<kElement> fully_connected;
  static const drpass::CudaLrnOp<kElement> lrn;
  static const drpass::CudaPoolOp<kElement> pool;
  static const drpass::CudaUpsampleOp<kElement> upsample;
  domain.Add(&deep_reuse_gemm);
  domain.Add(&depthwise);
  domain.Add(&fully_connected);
  domain.Add(&lrn);
  domain.Add(&pool);
  domain.Add(&upsample);
}
#endif

// Called for every session that uses the library, on any thread. The operators and their domain live as long as the library,
// because sessions keep pointers to them.
DRPASS_EXPORT OrtStatus* ORT_API_CALL RegisterCustomOps(OrtSessionOptions* options, const OrtApiBase* base) {
  const OrtApi* api = base->GetApi(drpass::kOrtApiVersion);
  if (!api) return nullptr;  // older than kOrtApiVersion: the runtime has already printed why
  try {
    static std::once_flag once;
    std::call_once(once, [api] { Ort::InitApi(api); });
    static const drpass::DeepReuseGemmOp deep_reuse_gemm;
    static const drpass::DepthwiseOp depthwise;
    static const drpass::FullyConnectedOp fully_connected;
    static const drpass::LrnOp lrn;
    static const drpass::PoolOp pool;
    static const drpass::UpsampleOp upsample;
    static const drpass::HalfDeepReuseGemmOp half_deep_reuse_gemm;
    static const drpass::HalfDepthwiseOp half_depthwise;
    static const drpass::HalfFullyConnectedOp half_fully_connected;
    static const drpass::HalfLrnOp half_lrn;
    static const drpass::HalfPoolOp half_pool;
    static const drpass::HalfUpsampleOp half_upsample;
    static Ort::CustomOpDomain domain = [] {
      Ort::CustomOpDomain made("ai.drpass");
      made.Add(&deep_reuse_gemm);
      made.Add(&depthwise);
      made.Add(&fully_connected);
      made.Add(&lrn);
      made.Add(&pool);
      made.Add(&upsample);
      made.Add(&half_deep_reuse_gemm);
      made.Add(&half_depthwise);
      made.Add(&half_fully_connected);
      made.Add(&half_lrn);
      made.Add(&half_pool);
      made.Add(&half_upsample);
#ifdef DRPASS_CUDA
      add_cuda_operators<ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT>(made);
      add_cuda_operators<ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16>(made);
#endif
      return made;
    }();
    return api->AddCustomOpDomain(options, domain);
  } catch (const std::exception& error) {
    return api->CreateStatus(ORT_RUNTIME_EXCEPTION, error.what());
  }
}

// The kernel set that a session created now would use, or the reason why there is none.
DRPASS_EXPORT const char* drpass_kernel_set() {
  static thread_local std::string text;
  try {
    const drpass::KernelSet* kernels = drpass::choose_kernels();
    text = kernels ? kernels->name : "reference";
  } catch (const std::exception& error) {
    text = std::string("error: ") + error.what();
  }
  return text.c_str();
}

// 1 if the library was built with kernels for CUDA.
DRPASS_EXPORT int drpass_has_cuda() {
#ifdef DRPASS_CUDA
  return 1;
#else
  return 0;
#endif
}

// Whether the calls of all sessions that begin from now on are measured; switching on forgets what was collected.
DRPASS_EXPORT void drpass_collect_stages(int on) { drpass::collect_stages(on != 0); }

// What was collected: a list of JSON, an object for every node (drpass/stages.py reads it). Empty where there is no
// memory for it.
DRPASS_EXPORT const char* drpass_stages() {
  static thread_local std::string text;
  try {
    text = drpass::collected_stages();
  } catch (const std::exception&) {
    text.clear();
  }
  return text.c_str();
}

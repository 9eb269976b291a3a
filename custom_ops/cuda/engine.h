// The operators on a CUDA device. Every function launches its kernels on the device's stream and returns: nothing waits,
// scratch memory depends on shapes alone, so that a call can be captured in a CUDA graph. Pointers are to the device's
// memory. Errors of CUDA are thrown as std::runtime_error.
#pragma once

#include <memory>

#include "core/depthwise.h"
#include "core/fully_connected.h"
#include "core/lrn.h"
#include "core/pool.h"
#include "core/tensors.h"
#include "core/upsample.h"
#include "cuda/device.h"

namespace drpass::cuda {

// The memo of a node (cuda/memo.h). None where the parameters allow none; it stays empty where there is no memory.
class Memo;
struct DeleteMemo {
  void operator()(Memo* memo) const;
};
std::unique_ptr<Memo, DeleteMemo> make_memo(const Parameters& parameters, Memory& memory);

// DeepReuseGemm: Y (and stats). The memo may be absent.
void compute(const Parameters& parameters, const Geometry& geometry, const Tensors& tensors, const Memo* memo,
             Device device);

// Tensors of float, or of float16 with `half`.
void pool(const PoolParameters& parameters, const PoolGeometry& geometry, bool half, const void* x, void* y, Device device);

void upsample(const UpsampleParameters& parameters, const UpsampleGeometry& geometry, bool half, const void* x, void* y,
              Device device);

// Tensors as for pool(); w and bias as in core/depthwise.h.
void depthwise(const Parameters& parameters, const DepthwiseGeometry& geometry, bool half, const void* x, const void* w,
               const void* bias, void* y, Device device);

// The same, as in core/fully_connected.h. No weights are left out.
void fully_connected(const FullyConnectedParameters& parameters, const FullyConnectedGeometry& geometry, bool half,
                     const void* x, const void* w, const void* bias, void* y, Device device);

// x and y as in core/lrn.h.
void local_response_normalization(const LrnParameters& parameters, int64_t images, int64_t channels, int64_t pixels,
                                  bool half, const void* x, void* y, Device device);

}  // namespace drpass::cuda

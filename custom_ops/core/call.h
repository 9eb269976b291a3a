// One call of DeepReuseGemm: what all its stages share.
#pragma once

#include "core/kernels/kernel_set.h"
#include "core/memo.h"
#include "core/resources.h"
#include "core/stages.h"
#include "core/tensors.h"

namespace drpass {

// What a node keeps from call to call.
struct Kept {
  const float* hyperplanes = nullptr;       // lsh: [hash_bits][L]
  const float* winograd_weights = nullptr;  // of keep_winograd_weights(); may be absent
  Memo* memo = nullptr;                     // results of the dense part; may be absent
  const float* tap_sums = nullptr;  // 16-bit tables: sum_tap_magnitudes() of the weights; absent where they are not constant
  bool finite_weights = false;  // constant and finite: the rows of a cluster of zeros are zero
};

// What all stages of one call share.
struct Call {
  const Parameters& parameters;
  const Geometry& geometry;
  const Tensors& tensors;
  const KernelSet& kernels;
  const Kept& kept;
  const float* tap_sums;  // 16-bit tables: sum_tap_magnitudes() of the weights, which may be kept
  Memory& memory;
  StageTimes* stages;  // where time goes; absent unless someone asks
};

// One scope instance: images [first_image, first_image + images), or some of them. Their pixels are numbered through.
struct Instance {
  int64_t first_image, images;
  const int32_t* chosen = nullptr;  // [images]; null: all from first_image on

  int64_t image(int64_t index) const { return chosen ? chosen[index] : first_image + index; }
};

}  // namespace drpass

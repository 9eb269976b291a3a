// The activations on one value. NaN passes through all of them.
#pragma once

#include <math.h>

#include "core/host_device.h"
#include "core/parameters.h"

namespace drpass {

// Static, because every instruction set must compile its own.
DRPASS_HOST_DEVICE static inline float unit(float value) { return value < 0.0f ? 0.0f : value > 1.0f ? 1.0f : value; }

DRPASS_HOST_DEVICE static inline float activate(float value, Activation activation, float a, float b) {
  switch (activation) {
    case Activation::none: return value;
    case Activation::relu: return value < 0.0f ? 0.0f : value;
    case Activation::leaky_relu: return value < 0.0f ? value * a : value;
    case Activation::clip: {
      // The upper limit wins where min > max, as in ONNX.
      const float raised = value < a ? a : value;
      return raised > b ? b : raised;
    }
    case Activation::hard_sigmoid: return unit(value * a + b);
    case Activation::hard_swish: return value * unit(value * (1.0f / 6.0f) + 0.5f);
    case Activation::sigmoid: return 1.0f / (1.0f + expf(-value));
    case Activation::silu: return value / (1.0f + expf(-value));
  }
  return value;
}

}  // namespace drpass

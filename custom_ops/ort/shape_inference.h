// Shapes of a node's outputs before any input is there.
#pragma once

#include "ort/api.h"

namespace drpass {

// Known sizes are computed, sizes that pass through keep their symbol, others stay unknown.
OrtStatus* infer_output_shapes(OrtShapeInferContext* context);

}  // namespace drpass

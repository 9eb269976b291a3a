// Shapes of a node's outputs before any input is there.
#pragma once

#include "ort/api.h"

namespace drpass {

// Known sizes are computed, sizes that pass through keep their symbol, others stay unknown.
OrtStatus* infer_output_shapes(OrtShapeInferContext* context);

OrtStatus* infer_pool_shape(OrtShapeInferContext* context);
OrtStatus* infer_depthwise_shape(OrtShapeInferContext* context);
OrtStatus* infer_fully_connected_shape(OrtShapeInferContext* context);
OrtStatus* infer_upsample_shape(OrtShapeInferContext* context);

// For operators whose output has the shape of their input.
OrtStatus* infer_same_shape(OrtShapeInferContext* context);

}  // namespace drpass

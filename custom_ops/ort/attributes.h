// Reads and checks the attributes of a node; ONNX Runtime itself does not check those of custom operators.
#pragma once

#include "core/fully_connected.h"
#include "core/lrn.h"
#include "core/parameters.h"
#include "core/pool.h"
#include "core/upsample.h"
#include "ort/api.h"

namespace drpass {

// Throws std::invalid_argument with a message of docs/operator.md.
Parameters read_parameters(const OrtKernelInfo* info);
// The tensor `name` of float, null where there is none. Throws as above.
Ort::Value read_tensor(const OrtKernelInfo* info, const char* name);
LrnParameters read_lrn_parameters(const OrtKernelInfo* info);
PoolParameters read_pool_parameters(const OrtKernelInfo* info);
// Of DepthwiseConv: the window, the activation, and C as output_channels.
Parameters read_depthwise_parameters(const OrtKernelInfo* info);
FullyConnectedParameters read_fully_connected_parameters(const OrtKernelInfo* info);
UpsampleParameters read_upsample_parameters(const OrtKernelInfo* info);

// The parameters that decide about shapes, during shape inference; the same checks.
Parameters read_shape_parameters(OrtShapeInferContext* context);
PoolParameters read_pool_shape_parameters(OrtShapeInferContext* context);
Parameters read_depthwise_shape_parameters(OrtShapeInferContext* context);
FullyConnectedParameters read_fully_connected_shape_parameters(OrtShapeInferContext* context);
UpsampleParameters read_upsample_shape_parameters(OrtShapeInferContext* context);

}  // namespace drpass

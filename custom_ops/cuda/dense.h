// The dense part on CUDA: an implicit matrix product of output pixels and packed weights.
#pragma once

#include "cuda/view.h"

namespace drpass::cuda {

// What clustering left of every scope instance and group; all null where everything is dense.
struct DenseChannels {
  const int* channels;  // [instance * groups + group][Cg]: the channels to be computed densely, ascending
  const int* counts;    // [instance * groups + group]: how many
  const int* reused;    // [instance * groups + group]: sub-vector groups that have clusters
};

// Writes all outputs. Where sub-vector groups have clusters the results go to the view's sums, bias, addend and activation
// are left to the reconstruction, and outputs without dense channels are not written.
void launch_dense(const View& view, const DenseChannels& dense, void* stream);

}  // namespace drpass::cuda

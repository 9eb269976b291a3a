#include "core/dense.h"

#include <algorithm>
#include <cstring>

namespace drpass {

DensePart make_dense_part(const Call& call, int64_t group, const Clusters* clusters) {
  const Geometry& g = call.geometry;
  const int64_t channels = g.group_channels(), taps = g.taps(), panels = g.panels();
  const float* weights = call.tensors.w + group * panels * taps * channels * kPanel;
  DensePart part;
  part.channels = Scratch<int32_t>(call.memory, channels);
  for (int64_t c = 0; c < channels; ++c)
    if (clusters[c / g.sub_vector_length].count < 0) part.channels[part.count++] = static_cast<int32_t>(c);
  part.panel_stride = taps * part.count * kPanel;
  part.weights = weights;
  if (part.count == 0 || part.count == channels) return part;

  const StageTimer timer(call.stages, Stage::gemm);
  part.packed = Scratch<float>(call.memory, panels * part.panel_stride);
  float* target = part.packed.data();
  for (int64_t row = 0; row < panels * taps; ++row)
    for (int64_t i = 0; i < part.count; ++i, target += kPanel)
      std::memcpy(target, weights + (row * channels + part.channels[i]) * kPanel, kPanel * sizeof(float));
  part.weights = part.packed.data();
  return part;
}

void dense_tile(const Call& call, const Instance& instance, const Tile& tile, int64_t group, const DensePart& part,
                int64_t first_panel, int64_t panels, float* acc, int64_t ld) {
  const auto patch = make_patch(call, instance, tile, group, part.channels.data(), part.count);
  multiply_patch(call, *patch, tile.count, part, first_panel, panels, acc, ld, nullptr);
}

void multiply_patch(const Call& call, Patch& patch, int64_t rows, const DensePart& part, int64_t first_panel,
                    int64_t panels, float* acc, int64_t ld, const Epilogue* finish) {
  const StageTimer timer(call.stages, Stage::gemm);
  const int64_t depth = call.geometry.taps() * part.count;
  if (depth == 0) return std::fill(acc, acc + rows * ld, 0.0f);
  for (int64_t begin = 0; begin < depth; begin += kDepth) {
    const int64_t end = begin + kDepth < depth ? begin + kDepth : depth;
    DenseBlock block;
    patch.bind(begin, end, block);
    block.weights = part.weights + first_panel * part.panel_stride + begin * kPanel;
    block.panel_stride = part.panel_stride;
    block.weight_row = kPanel;
    block.depth = end - begin;
    block.panels = panels;
    block.rows = rows;
    block.acc = acc;
    block.ld = ld;
    block.first = begin == 0;
    block.finish = end == depth ? finish : nullptr;
    call.kernels.dense(block);
  }
}

}  // namespace drpass

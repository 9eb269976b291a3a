// Pooling of tensors in blocks.

// A sum is one of sums of rows, so that the rounding of a large image stays small. Where NaN meets a number, max() takes
// the later, as the blocked pooling of ONNX Runtime does.
static void pool_row(const PoolRow& b) {
  for (int64_t i = 0; i < b.outputs; ++i) {
    const int64_t start = i * b.stride - b.pad, left = start > 0 ? start : 0;
    const int64_t right = start + b.kernel < b.width ? start + b.kernel : b.width;
    F result[kPanelVectors];
    DRPASS_UNROLL for (int v = 0; v < kPanelVectors; ++v) result[v] = set(b.average ? 0.0f : -INFINITY);
    for (int64_t y = 0; y < b.rows; ++y) {
      const float* x = b.x + y * b.row_stride + left * kPanel;
      F line[kPanelVectors];
      DRPASS_UNROLL for (int v = 0; v < kPanelVectors; ++v) line[v] = b.average ? set(0.0f) : result[v];
      for (int64_t j = left; j < right; ++j, x += kPanel)
        DRPASS_UNROLL for (int v = 0; v < kPanelVectors; ++v) {
          const F value = load(x + v * kLanes);
          line[v] = b.average ? add(line[v], value) : max(line[v], value);
        }
      DRPASS_UNROLL for (int v = 0; v < kPanelVectors; ++v) result[v] = b.average ? add(result[v], line[v]) : line[v];
    }
    const F count = set(static_cast<float>(b.count ? b.count : b.rows * (right - left)));
    DRPASS_UNROLL for (int v = 0; v < kPanelVectors; ++v)
      store(b.y + i * kPanel + v * kLanes, b.average ? div(result[v], count) : result[v]);
  }
}

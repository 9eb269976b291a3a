// Pooling of tensors in blocks.

// Outputs of a row that are computed together, so that they need not wait for each other's maxima or sums.
constexpr int kPoolOutputs = kRegisters == 32 ? 8 : 4;

// kOutputs neighbours from output i on, which read `columns` columns each, the first of them from column `left` on. A sum
// is one of sums of rows, so that the rounding of a large image stays small. Where NaN meets a number, max() takes the
// later, as the blocked pooling of ONNX Runtime does.
template <bool kAverage, int kOutputs>
static void pool_pixels(const PoolRow& b, int64_t i, int64_t left, int64_t columns, int64_t lane) {
  const float* x = b.x + left * kPanel + lane;
  const int64_t step = b.stride * kPanel;
  F result[kOutputs];
  DRPASS_UNROLL for (int o = 0; o < kOutputs; ++o) result[o] = set(kAverage ? 0.0f : -INFINITY);
  for (int64_t y = 0; y < b.rows; ++y, x += b.row_stride) {
    F line[kOutputs];
    DRPASS_UNROLL for (int o = 0; o < kOutputs; ++o) line[o] = kAverage ? set(0.0f) : result[o];
    for (int64_t j = 0; j < columns; ++j)
      DRPASS_UNROLL for (int o = 0; o < kOutputs; ++o) {
        const F value = load(x + o * step + j * kPanel);
        line[o] = kAverage ? add(line[o], value) : max(line[o], value);
      }
    DRPASS_UNROLL for (int o = 0; o < kOutputs; ++o) result[o] = kAverage ? add(result[o], line[o]) : line[o];
  }
  for (int64_t y = 0; y < b.ahead; ++y, x += b.row_stride)
    for (int64_t j = 0; j < kOutputs * step; j += kPanel) __builtin_prefetch(x + j, 0, 2);
  const F count = set(static_cast<float>(b.count ? b.count : b.rows * columns));
  DRPASS_UNROLL for (int o = 0; o < kOutputs; ++o)
    store(b.y + (i + o) * kPanel + lane, kAverage ? div(result[o], count) : result[o]);
}

template <bool kAverage>
static void pool_lanes(const PoolRow& b, int64_t lane) {
  for (int64_t i = 0; i < b.outputs;) {
    const int64_t start = i * b.stride - b.pad, left = start > 0 ? start : 0;
    const int64_t end = start + b.kernel, right = end < b.width ? end : b.width;
    const bool inside = start >= 0 && i + kPoolOutputs <= b.outputs && end + (kPoolOutputs - 1) * b.stride <= b.width;
    if (inside)
      pool_pixels<kAverage, kPoolOutputs>(b, i, left, b.kernel, lane);
    else
      pool_pixels<kAverage, 1>(b, i, left, right - left, lane);
    i += inside ? kPoolOutputs : 1;
  }
}

static void pool_row(const PoolRow& b) {
  const auto run = b.average ? pool_lanes<true> : pool_lanes<false>;
  for (int64_t lane = 0; lane < kPanel; lane += kLanes) run(b, lane);
}

// Depthwise convolution of tensors in blocks.

// Outputs of a row that are computed together: their sums, what they read of an input row, and its weights fill the
// registers.
constexpr int64_t kDepthwiseOutputs = kRegisters == 32 ? 8 : 4;

static inline F finish_depthwise(const DepthwiseRow& b, F sum, int64_t lane) {
  return activate_lanes(add(sum, load(b.bias + lane)), b.activation, set(b.params[0]), set(b.params[1]));
}

// kOutputs neighbours from output i on, whose taps all lie in the row. kKernel, kStride: 0 where they are not known here.
template <int kKernel, int kStride, int kOutputs>
static void depthwise_inside(const DepthwiseRow& b, int64_t i, int64_t lane) {
  const int64_t kernel = kKernel ? kKernel : b.kernel, stride = kStride ? kStride : b.stride;
  const int64_t dilation = kKernel ? 1 : b.dilation;
  const float* x = b.x + (i * stride - b.pad) * kPanel + lane;
  const float* w = b.w + lane;
  const int64_t ahead = kStride * b.width * kPanel;  // the next output row reads on from the last input rows of this one
  F sum[kOutputs];
  DRPASS_UNROLL for (int o = 0; o < kOutputs; ++o) sum[o] = set(0.0f);
  for (int64_t row = 0; row < b.rows; ++row, x += b.row_stride, w += kernel * kPanel) {
    if constexpr (kKernel > 0) {
      // What neighbours share is loaded once.
      constexpr int kRead = (kOutputs - 1) * kStride + kKernel;
      F values[kRead];
      DRPASS_UNROLL for (int k = 0; k < kRead; ++k) {
        values[k] = load(x + k * kPanel);
        if (row + kStride >= b.rows) __builtin_prefetch(x + ahead + k * kPanel, 0, 2);
      }
      DRPASS_UNROLL for (int k = 0; k < kKernel; ++k) {
        const F weight = load(w + k * kPanel);
        DRPASS_UNROLL for (int o = 0; o < kOutputs; ++o) sum[o] = mul_add(values[o * kStride + k], weight, sum[o]);
      }
    } else {
      for (int64_t k = 0; k < kernel; ++k) {
        const F weight = load(w + k * kPanel);
        DRPASS_UNROLL for (int o = 0; o < kOutputs; ++o)
          sum[o] = mul_add(load(x + (o * stride + k * dilation) * kPanel), weight, sum[o]);
      }
    }
  }
  DRPASS_UNROLL for (int o = 0; o < kOutputs; ++o)
    store(b.y + (i + o) * kPanel + lane, finish_depthwise(b, sum[o], lane));
}

// One output, of whose taps some lie beside the row.
static void depthwise_edge(const DepthwiseRow& b, int64_t i, int64_t lane) {
  F sum = set(0.0f);
  for (int64_t row = 0; row < b.rows; ++row)
    for (int64_t k = 0; k < b.kernel; ++k) {
      const int64_t x = i * b.stride - b.pad + k * b.dilation;
      if (x < 0 || x >= b.width) continue;
      sum = mul_add(load(b.x + row * b.row_stride + x * kPanel + lane), load(b.w + (row * b.kernel + k) * kPanel + lane),
                    sum);
    }
  store(b.y + i * kPanel + lane, finish_depthwise(b, sum, lane));
}

// Outputs [first, end), as many at a time as there are left.
template <int kKernel, int kStride, int kOutputs>
static void depthwise_part(const DepthwiseRow& b, int64_t first, int64_t end, int64_t lane) {
  for (; first + kOutputs <= end; first += kOutputs) depthwise_inside<kKernel, kStride, kOutputs>(b, first, lane);
  if constexpr (kOutputs > 1) depthwise_part<kKernel, kStride, kOutputs / 2>(b, first, end, lane);
}

static void depthwise_row(const DepthwiseRow& b) {
  constexpr int kMost = kDepthwiseOutputs;
  const bool dense = b.dilation == 1 && b.stride <= 2;
  const auto part = dense && b.kernel == 3   ? (b.stride == 1 ? depthwise_part<3, 1, kMost> : depthwise_part<3, 2, kMost>)
                    : dense && b.kernel == 5 ? (b.stride == 1 ? depthwise_part<5, 1, kMost> : depthwise_part<5, 2, kMost>)
                                             : depthwise_part<0, 0, kMost>;
  // All taps of outputs [first, end) lie in the row.
  const int64_t reach = (b.kernel - 1) * b.dilation, last = b.width - 1 - reach + b.pad;
  const int64_t left = b.pad > 0 ? (b.pad + b.stride - 1) / b.stride : 0;
  const int64_t first = left < b.outputs ? left : b.outputs;
  int64_t end = last < 0 ? 0 : last / b.stride + 1;
  end = end < first ? first : end < b.outputs ? end : b.outputs;
  for (int64_t lane = 0; lane < kPanel; lane += kLanes) {
    for (int64_t i = 0; i < first; ++i) depthwise_edge(b, i, lane);
    part(b, first, end, lane);
    for (int64_t i = end; i < b.outputs; ++i) depthwise_edge(b, i, lane);
  }
  if (is_curved(b.activation)) curve_rows(b.y, 1, 0, b.outputs * kPanel, b.activation);
}

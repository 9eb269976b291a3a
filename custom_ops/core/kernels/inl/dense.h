// The dense micro-kernel.

// Rows of the micro-kernel: with two panels of accumulators, their weights and one broadcast value, as many as the
// registers hold.
constexpr int kDensePanels = kRegisters == 32 ? 2 : 1;
constexpr int kDenseRows = kRegisters == 32 ? 12 : 6;

// Of the panel that begins with output `first`; zero past the last one.
static inline F load_bias(const Epilogue& e, int64_t first, int64_t lane) {
  if (first + kPanel <= e.outputs) return load(e.bias + first + lane);
  float padded[kPanel] = {};
  for (int64_t j = first; j < e.outputs; ++j) padded[j - first] = e.bias[j];
  return load(padded + lane);
}

// Weights are fetched so many steps ahead: they come from the last cache or from memory, once.
constexpr int64_t kWeightsAhead = 48;

// Bias, addend and activation of complete sums while they are in registers.
template <int kPanels, int kRows>
static inline void finish_rows(const Epilogue& e, const F (*sum)[kPanels * kPanelVectors], int64_t row, int64_t panel) {
  const F a = set(e.params[0]), b = set(e.params[1]);
  DRPASS_UNROLL for (int v = 0; v < kPanels * kPanelVectors; ++v) {
    const int64_t at = v % kPanelVectors * kLanes, here = panel + v / kPanelVectors;
    const F bias = e.bias ? load_bias(e, here * kPanel, at) : set(0.0f);
    float* y = e.y + here * e.y_panel + row * e.y_pixel + at;
    const float* addend = e.addend ? e.addend + (y - e.y) : nullptr;
    DRPASS_UNROLL for (int r = 0; r < kRows; ++r) {
      F value = add(sum[r][v], bias);
      if (addend) value = add(value, load(addend + r * e.y_pixel));
      store(y + r * e.y_pixel, activate_lanes(value, e.activation, a, b));
    }
  }
  for (int64_t p = panel; p < panel + kPanels; ++p) {
    float* y = e.y + p * e.y_panel + row * e.y_pixel;
    if (is_curved(e.activation)) curve_rows(y, kRows, e.y_pixel, kPanel, e.activation);
    const int64_t outputs = e.outputs - p * kPanel;
    for (int64_t r = 0; r < kRows && outputs < kPanel; ++r)
      for (int64_t j = outputs; j < kPanel; ++j) y[r * e.y_pixel + j] = 0.0f;
  }
}

// acc[kRows][panels of 16] over the whole depth; partial sums stay in registers.
template <bool kBlocked, int kPanels, int kRows>
static void dense_micro(const DenseBlock& b, int64_t row, int64_t panel) {
  constexpr int kVectors = kPanels * kPanelVectors;
  float* acc = b.acc + row * b.ld + panel * kPanel;
  F sum[kRows][kVectors];
  DRPASS_UNROLL for (int r = 0; r < kRows; ++r)
    DRPASS_UNROLL for (int v = 0; v < kVectors; ++v) sum[r][v] = b.first ? set(0.0f) : load(acc + r * b.ld + v * kLanes);
  const float* x = b.patch + row * (kBlocked ? kPanel : 1);
  const float* w = b.weights + panel * b.panel_stride;
  const auto step = [&](const float* values) {
    F weights[kVectors];
    DRPASS_UNROLL for (int v = 0; v < kVectors; ++v)
      weights[v] = load(w + v / kPanelVectors * b.panel_stride + v % kPanelVectors * kLanes);
    DRPASS_UNROLL for (int v = 0; v < kPanels; ++v) __builtin_prefetch(w + v * b.panel_stride + kWeightsAhead * b.weight_row);
    w += b.weight_row;
    DRPASS_UNROLL for (int r = 0; r < kRows; ++r) {
      const F value = set(values[r * (kBlocked ? kPanel : 1)]);
      DRPASS_UNROLL for (int v = 0; v < kVectors; ++v) sum[r][v] = mul_add(value, weights[v], sum[r][v]);
    }
  };
  if constexpr (kBlocked) {
    for (int64_t k = 0; k < b.depth; k += kPanel, x += b.patch_stride) {
      const int64_t end = b.depth - k < kPanel ? b.depth - k : kPanel;
      DRPASS_UNROLL for (int r = 0; r < kRows; ++r) __builtin_prefetch(x + (kRows + r) * kPanel);
      for (int64_t c = 0; c < end; ++c) step(x + c);
    }
  } else {
    // Lines the same distance apart in one loop, where that is what lets the compiler vectorise `step`.
    for (int64_t k = 0, end; k < b.depth; k = end) {
      const int64_t stride = k + 1 < b.depth ? b.lines[k + 1] - b.lines[k] : 0;
      for (end = k + 1; kPlainArrays && end < b.depth && b.lines[end] - b.lines[end - 1] == stride;) ++end;
      const float* values = x + b.lines[k];
      for (int64_t i = k; i < end; ++i, values += stride) step(values);
    }
  }
  if (b.finish) return finish_rows<kPanels, kRows>(*b.finish, sum, row, panel);
  DRPASS_UNROLL for (int r = 0; r < kRows; ++r)
    DRPASS_UNROLL for (int v = 0; v < kVectors; ++v) store(acc + r * b.ld + v * kLanes, sum[r][v]);
}

// The micro-kernels of 1 to kDenseRows rows.
using DenseMicro = void (*)(const DenseBlock&, int64_t row, int64_t panel);
template <bool kBlocked, int kPanels, int... kRows>
static DenseMicro dense_of_rows(int64_t rows, std::integer_sequence<int, kRows...>) {
  static constexpr DenseMicro kMicro[] = {dense_micro<kBlocked, kPanels, kRows + 1>...};
  return kMicro[rows - 1];
}

// Rows in parts of nearly the same size: a small rest would leave most of the multipliers idle.
template <bool kBlocked, int kPanels>
static void dense_panels(const DenseBlock& b, int64_t panel) {
  const auto sizes = std::make_integer_sequence<int, kDenseRows>();
  const int64_t parts = (b.rows + kDenseRows - 1) / kDenseRows;
  for (int64_t part = 0, row = 0; part < parts; ++part) {
    const int64_t rows = b.rows / parts + (part < b.rows % parts ? 1 : 0);
    dense_of_rows<kBlocked, kPanels>(rows, sizes)(b, row, panel);
    row += rows;
  }
}

static void dense(const DenseBlock& b) {
  for (int64_t panel = 0; panel < b.panels;) {
    const bool wide = panel + kDensePanels <= b.panels;
    if (!b.lines)
      (wide ? dense_panels<true, kDensePanels> : dense_panels<true, 1>)(b, panel);
    else
      (wide ? dense_panels<false, kDensePanels> : dense_panels<false, 1>)(b, panel);
    panel += wide ? kDensePanels : 1;
  }
}

// The dense micro-kernel.

// Rows of the dense micro-kernel: with two panels of accumulators, their weights and one broadcast value, as many as
// the registers hold.
constexpr int kDensePanels = kRegisters == 32 ? 2 : 1;
constexpr int kDenseRows = kRegisters == 32 ? 12 : 6;

// acc[rows][panels of 16] over the whole depth; partial sums stay in registers.
template <int kPanels>
static void dense_micro(const float* patch, const float* weights, int64_t panel_stride, int64_t depth, float* acc,
                        int64_t ld, bool first) {
  constexpr int kVectors = kPanels * kPanelVectors;
  F sum[kDenseRows][kVectors];
  DRPASS_UNROLL for (int r = 0; r < kDenseRows; ++r)
    DRPASS_UNROLL for (int v = 0; v < kVectors; ++v) sum[r][v] = first ? set(0.0f) : load(acc + r * ld + v * kLanes);
  for (int64_t k = 0; k < depth; ++k) {
    F w[kVectors];
    DRPASS_UNROLL for (int v = 0; v < kVectors; ++v)
      w[v] = load(weights + v / kPanelVectors * panel_stride + k * kPanel + v % kPanelVectors * kLanes);
    DRPASS_UNROLL for (int r = 0; r < kDenseRows; ++r) {
      const F x = set(patch[k * kTile + r]);
      DRPASS_UNROLL for (int v = 0; v < kVectors; ++v) sum[r][v] = mul_add(x, w[v], sum[r][v]);
    }
  }
  DRPASS_UNROLL for (int r = 0; r < kDenseRows; ++r)
    DRPASS_UNROLL for (int v = 0; v < kVectors; ++v) store(acc + r * ld + v * kLanes, sum[r][v]);
}

static void dense(const DenseBlock& b) {
  for (int64_t panel = 0; panel < b.panels;) {
    const bool wide = panel + kDensePanels <= b.panels;
    const auto micro = wide ? dense_micro<kDensePanels> : dense_micro<1>;
    for (int64_t row = 0; row < b.rows; row += kDenseRows)
      micro(b.patch + row, b.weights + panel * b.panel_stride, b.panel_stride, b.depth,
            b.acc + row * b.ld + panel * kPanel, b.ld, b.first);
    panel += wide ? kDensePanels : 1;
  }
}

// The direct product that skips zeros.

// Floats between what is listed and what is fetched: a few pixels in a block of channels, of which there are too many for
// the prefetchers of CPUs.
constexpr int64_t kListAhead = 8 * kPanel;

static int64_t list_nonzeros(const NonzeroWindow& window) {
  const NonzeroWindow w = window;  // a copy of its own, which no store can change
  const int64_t whole = w.channels / kPanel * kPanel, rest = w.channels - whole;
  const int32_t block = static_cast<int32_t>(kPanel) * w.row;
  const I lanes = offsets_of_lanes(w.row);
  float* values = w.values;
  int32_t* offsets = w.offsets;
  const auto keep = [&](const float* x, int32_t first) {
    DRPASS_UNROLL for (int v = 0; v < kPanelVectors; ++v) {
      const I own = add_offset(lanes, first + v * kLanes * w.row);
      const int64_t count = keep_nonzeros(load(x + v * kLanes), own, values, offsets);
      values += count;
      offsets += count;
    }
  };
  int32_t first = 0;  // of the tap
  for (int64_t tap = 0; tap < w.tap_count; ++tap, first += w.tap_rows) {
    if (w.taps[tap] < 0) continue;
    const float* x = w.x + w.taps[tap];
    int32_t offset = first;
    for (int64_t c = 0; c < whole; c += kPanel, x += w.x_block, offset += block) {
      __builtin_prefetch(x + kListAhead);
      keep(x, offset);
    }
    if (rest == 0) continue;
    float padded[kPanel] = {};
    std::memcpy(padded, x, static_cast<size_t>(rest) * sizeof(float));
    keep(padded, offset);
  }
  return values - w.values;
}

// The rows of one tap, panel by panel, so that no check waits for the one before.
template <int kPanels>
static F copy_rows_of(const WeightRows& r, int64_t tap) {
  constexpr int kVectors = kPanels * kPanelVectors;
  const float* w = r.w + tap * r.tap_stride;
  float* target = r.target + tap * r.tap_rows;
  F check[kVectors];  // NaN where a weight is not finite
  DRPASS_UNROLL for (int v = 0; v < kVectors; ++v) check[v] = set(0.0f);
  for (int64_t c = 0; c < r.channels; ++c, w += kPanel, target += r.row)
    DRPASS_UNROLL for (int v = 0; v < kVectors; ++v) {
      const F value = load(w + v / kPanelVectors * r.panel_stride + v % kPanelVectors * kLanes);
      check[v] = mul_add(value, set(0.0f), check[v]);
      store(target + v * kLanes, value);
    }
  DRPASS_UNROLL for (int v = 1; v < kVectors; ++v) check[0] = add(check[0], check[v]);
  return check[0];
}

static bool copy_weight_rows(const WeightRows& r) {
  static constexpr F (*kOfPanels[])(const WeightRows&, int64_t) = {copy_rows_of<1>, copy_rows_of<2>, copy_rows_of<3>,
                                                                   copy_rows_of<4>};
  static_assert(std::size(kOfPanels) == kSparsePanels, "one for every number of panels");
  bool finite = true;
  for (int64_t tap = 0; tap < r.taps; ++tap) finite &= all_inside(kOfPanels[r.panels - 1](r, tap), 1.0f);
  return finite;
}

// Few accumulators would wait for each other: those of several entries take turns then.
template <int kPanels>
static void add_nonzeros_of(const SparseBlock& b) {
  constexpr int kVectors = kPanels * kPanelVectors, kChains = kVectors < 8 ? 8 / kVectors : 1;
  for (int64_t pixel = 0; pixel < b.pixels; ++pixel) {
    float* acc = b.acc + pixel * b.ld;
    F sum[kChains][kVectors];
    DRPASS_UNROLL for (int v = 0; v < kVectors; ++v) {
      sum[0][v] = b.first ? set(0.0f) : load(acc + v * kLanes);
      DRPASS_UNROLL for (int chain = 1; chain < kChains; ++chain) sum[chain][v] = set(0.0f);
    }
    const auto take = [&](int32_t entry, F* total) {
      const F value = set(b.values[entry]);
      const float* row = b.weights + b.offsets[entry];
      DRPASS_UNROLL for (int v = 0; v < kVectors; ++v) total[v] = mul_add(value, load(row + v * kLanes), total[v]);
    };
    int32_t entry = b.ends[pixel];
    const int32_t end = b.ends[pixel + 1];
    for (; entry + kChains <= end; entry += kChains)
      DRPASS_UNROLL for (int chain = 0; chain < kChains; ++chain) take(entry + chain, sum[chain]);
    for (; entry < end; ++entry) take(entry, sum[0]);
    DRPASS_UNROLL for (int v = 0; v < kVectors; ++v) {
      DRPASS_UNROLL for (int chain = 1; chain < kChains; ++chain) sum[0][v] = add(sum[0][v], sum[chain][v]);
      store(acc + v * kLanes, sum[0][v]);
    }
  }
}

static void add_nonzeros(const SparseBlock& b) {
  static constexpr void (*kOfPanels[])(const SparseBlock&) = {add_nonzeros_of<1>, add_nonzeros_of<2>,
                                                              add_nonzeros_of<3>, add_nonzeros_of<4>};
  static_assert(std::size(kOfPanels) == kSparsePanels, "one for every number of panels");
  kOfPanels[b.panels - 1](b);
}

// Pieces of weights that are fetched before they are needed: as many as memory has on its way.
constexpr int64_t kPiecesAhead = 6;

// kVectors of the wide panel from `column` on, with their sums in registers.
template <int kVectors>
static void add_weight_columns(const WeightRowSums& s, int64_t column) {
  F sum[kVectors];
  DRPASS_UNROLL for (int v = 0; v < kVectors; ++v) sum[v] = load(s.acc + column + v * kLanes);
  for (int64_t i = 0; i < s.count; ++i) {
    if (i + kPiecesAhead < s.count) {
      const float* ahead = s.w + s.offsets[i + kPiecesAhead] + column;
      for (int64_t at = 0; at < kVectors * kLanes; at += kPanel) __builtin_prefetch(ahead + at);
    }
    const F value = set(s.values[i]);
    const float* row = s.w + s.offsets[i] + column;
    DRPASS_UNROLL for (int v = 0; v < kVectors; ++v) sum[v] = mul_add(value, load(row + v * kLanes), sum[v]);
  }
  DRPASS_UNROLL for (int v = 0; v < kVectors; ++v) store(s.acc + column + v * kLanes, sum[v]);
}

static void add_weight_rows(const WeightRowSums& s) {
  constexpr int kVectors = kRegisters / 2;
  for (int64_t column = 0; column < kWidePanel; column += kVectors * kLanes) add_weight_columns<kVectors>(s, column);
}

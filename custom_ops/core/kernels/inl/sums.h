// Output pixels as sums of table rows.

// Columns [column, column + kVectors * kLanes) of all pixels: accumulators in registers over all tables and taps.
template <int kVectors>
static void add_row_columns(const RowSums& s, int64_t column) {
  const int64_t row_stride = s.taps * s.width;
  for (int64_t pixel = 0; pixel < s.pixels; ++pixel) {
    float* acc = s.acc + pixel * s.width + column;
    F sum[kVectors];
    DRPASS_UNROLL for (int v = 0; v < kVectors; ++v) sum[v] = s.first ? set(0.0f) : load(acc + v * kLanes);
    for (int64_t k = 0; k < s.table_count; ++k) {
      const float* table = static_cast<const float*>(s.tables[k].table) + column;
      const int32_t* rows = s.tables[k].rows + s.base[pixel];
      for (int64_t tap = 0; tap < s.taps; ++tap, table += s.width) {
        const float* row = table + rows[s.tap_delta[tap]] * row_stride;
        DRPASS_UNROLL for (int v = 0; v < kVectors; ++v) sum[v] = add(sum[v], load(row + v * kLanes));
      }
    }
    DRPASS_UNROLL for (int v = 0; v < kVectors; ++v) store(acc + v * kLanes, sum[v]);
  }
}

// The same with 16-bit tables: the rows of `span` tables are added in 16 bits, those sums in 32.
template <int kVectors>
static void add_narrow_columns(const RowSums& s, int64_t column) {
  const int64_t row_stride = s.taps * s.width;
  for (int64_t pixel = 0; pixel < s.pixels; ++pixel) {
    I total[2 * kVectors];
    DRPASS_UNROLL for (int v = 0; v < 2 * kVectors; ++v) total[v] = zero_bits();
    for (int64_t begin = 0; begin < s.table_count; begin += s.span) {
      const int64_t end = begin + s.span < s.table_count ? begin + s.span : s.table_count;
      S sum[kVectors];
      DRPASS_UNROLL for (int v = 0; v < kVectors; ++v) sum[v] = zero_narrow();
      for (int64_t k = begin; k < end; ++k) {
        const int16_t* table = static_cast<const int16_t*>(s.tables[k].table) + column;
        const int32_t* rows = s.tables[k].rows + s.base[pixel];
        for (int64_t tap = 0; tap < s.taps; ++tap, table += s.width) {
          const int16_t* row = table + rows[s.tap_delta[tap]] * row_stride;
          DRPASS_UNROLL for (int v = 0; v < kVectors; ++v) sum[v] = add_narrow(sum[v], load_narrow(row + v * 2 * kLanes));
        }
      }
      DRPASS_UNROLL for (int v = 0; v < kVectors; ++v) widen_add(sum[v], total[2 * v], total[2 * v + 1]);
    }
    float* acc = s.acc + pixel * s.width + column;
    DRPASS_UNROLL for (int v = 0; v < 2 * kVectors; ++v) {
      const F before = s.first ? set(0.0f) : load(acc + v * kLanes);
      store(acc + v * kLanes, mul_add(to_float(total[v]), load(s.scale + column + v * kLanes), before));
    }
  }
}

static void add_rows(const RowSums& s) {
  constexpr int kPairVectors = kPanelVectors;  // vectors of 16-bit lanes in two panels
  int64_t column = 0;
  if (s.scale) {
    for (; column + 4 * kPanel <= s.width; column += 4 * kPanel) add_narrow_columns<2 * kPairVectors>(s, column);
    for (; column < s.width; column += 2 * kPanel) add_narrow_columns<kPairVectors>(s, column);
    return;
  }
  for (; column + 4 * kPanel <= s.width; column += 4 * kPanel) add_row_columns<4 * kPanelVectors>(s, column);
  for (; column + 2 * kPanel <= s.width; column += 2 * kPanel) add_row_columns<2 * kPanelVectors>(s, column);
  for (; column < s.width; column += kPanel) add_row_columns<kPanelVectors>(s, column);
}

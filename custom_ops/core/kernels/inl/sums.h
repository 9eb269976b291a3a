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

// The rows of all taps of an output pixel; returns how many there are. Every list is copied to its full stride, the next
// one over what was too much: no branch depends on what is zero.
static inline int64_t list_rows(const ListedRowSums& s, int64_t pixel) {
  const RowLists lists = s.lists;
  const int32_t *delta = s.tap_delta, base = s.base[pixel];
  const int64_t taps = s.taps;
  int32_t* target = s.rows;
  for (int64_t tap = 0; tap < taps; ++tap) {
    const int64_t place = base + delta[tap];
    const int32_t* rows = lists.rows + place * lists.stride;
    for (int64_t i = 0; i < lists.stride; i += kLanes)
      store_bits(target + i, add_offset(load_bits(rows + i), static_cast<int32_t>(tap)));
    target += lists.counts[place];
  }
  return target - s.rows;
}

template <int kVectors>
static void add_listed_floats(const ListedRowSums& s, int64_t count, int64_t column, float* acc) {
  const float* table = static_cast<const float*>(s.tables) + column;
  const int32_t* rows = s.rows;
  const int64_t width = s.width;
  F sum[kVectors];
  DRPASS_UNROLL for (int v = 0; v < kVectors; ++v) sum[v] = s.first ? set(0.0f) : load(acc + v * kLanes);
  for (int64_t i = 0; i < count; ++i) {
    const float* row = table + rows[i] * width;
    DRPASS_UNROLL for (int v = 0; v < kVectors; ++v) sum[v] = add(sum[v], load(row + v * kLanes));
  }
  DRPASS_UNROLL for (int v = 0; v < kVectors; ++v) store(acc + v * kLanes, sum[v]);
}

// Rows of 16 bits are widened one by one: a list does not end where a sum in 16 bits has to.
template <int kVectors>
static void add_listed_narrow(const ListedRowSums& s, int64_t count, int64_t column, float* acc) {
  const int16_t* table = static_cast<const int16_t*>(s.tables) + column;
  const int32_t* rows = s.rows;
  const int64_t width = s.width;
  I total[kVectors];
  DRPASS_UNROLL for (int v = 0; v < kVectors; ++v) total[v] = zero_bits();
  for (int64_t i = 0; i < count; ++i) {
    const int16_t* row = table + rows[i] * width;
    DRPASS_UNROLL for (int v = 0; v < kVectors; ++v) total[v] = add_widened(total[v], row + v * kLanes);
  }
  DRPASS_UNROLL for (int v = 0; v < kVectors; ++v) {
    const F before = s.first ? set(0.0f) : load(acc + v * kLanes);
    store(acc + v * kLanes, mul_add(to_float(total[v]), load(s.scale + column + v * kLanes), before));
  }
}

template <int kVectors>
static inline void add_listed_columns(const ListedRowSums& s, int64_t count, int64_t column, float* acc) {
  s.scale ? add_listed_narrow<kVectors>(s, count, column, acc + column)
          : add_listed_floats<kVectors>(s, count, column, acc + column);
}

static void add_listed_rows(const ListedRowSums& s) {
  for (int64_t pixel = 0; pixel < s.pixels; ++pixel) {
    const int64_t count = list_rows(s, pixel);
    float* acc = s.acc + pixel * s.width;
    int64_t column = 0;
    for (; column + 4 * kPanel <= s.width; column += 4 * kPanel) add_listed_columns<4 * kPanelVectors>(s, count, column, acc);
    for (; column + 2 * kPanel <= s.width; column += 2 * kPanel) add_listed_columns<2 * kPanelVectors>(s, count, column, acc);
    for (; column < s.width; column += kPanel) add_listed_columns<kPanelVectors>(s, count, column, acc);
  }
}

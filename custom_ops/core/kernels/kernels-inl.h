// The one description of the kernels. A file per instruction set includes its simd_*.h, opens its namespace and
// includes this; everything here is static so that no two sets share a function.

// Loops over registers must vanish for the arrays to live in registers.
#define DRPASS_UNROLL _Pragma("GCC unroll 16")

constexpr int kPanelVectors = static_cast<int>(kPanel) / kLanes;

static void moments(const float* x, int64_t count, int64_t stride, double* sums) {
  int64_t i = 0;
  if (stride == 1)
    for (; i + 8 <= count; i += 8)
      for (int lane = 0; lane < 8; ++lane) {
        const double value = x[i + lane];
        sums[lane] += value;
        sums[8 + lane] += value * value;  // exact in double, so contraction could not change it
      }
  for (; i < count; ++i) {
    const double value = x[i * stride];
    sums[i % 8] += value;
    sums[8 + i % 8] += value * value;
  }
}

// Calls body(i) for i in steps of kLanes; the last step overlaps the one before it, or runs past `count` where there
// is only one (planes and halves have room for that).
template <typename Body>
static void for_lanes(int64_t count, const Body& body) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) body(i);
  if (i < count) body(count < kLanes ? 0 : count - kLanes);
}

// Two channels at a time: one 32-bit half of the signature.
static bool grid_half(const float* low, const float* high, int64_t count, float inverse, uint32_t* half) {
  const F scale = set(inverse);
  bool inside = true;
  for_lanes(count, [&](int64_t i) {
    const F a = mul(load(low + i), scale);
    const F b = high ? mul(load(high + i), scale) : set(0.0f);
    inside &= all_inside(a, kCellLimit) && all_inside(b, kCellLimit);
    store_bits(half + i, pack_cells(a, b));
  });
  return inside;
}

static bool grid_signature(const float* const* planes, int64_t length, int64_t count, float inverse,
                           uint32_t* halves) {
  bool inside = true;
  for (int64_t l = 0; l < length; l += 2)
    inside &= grid_half(planes[l], l + 1 < length ? planes[l + 1] : nullptr, count, inverse, halves + l / 2 * kBlock);
  return inside;
}

static void lsh_lanes(const float* const* planes, int64_t length, int64_t i, const float* hyperplanes, int64_t stride,
                      int64_t first_bit, int64_t bits, uint32_t* half) {
  I signature = zero_bits();
  for (int64_t bit = 0; bit < bits; ++bit) {
    const float* v = hyperplanes + (first_bit + bit) * stride;
    F dot = set(0.0f);
    for (int64_t l = 0; l < length; ++l) dot = fused(load(planes[l] + i), set(v[l]), dot);
    signature = or_if_positive(signature, dot, 1u << bit);
  }
  store_bits(half + i, signature);
}

static void lsh_signature(const float* const* planes, int64_t length, int64_t count, const float* hyperplanes,
                          int64_t stride, int64_t bits, uint32_t* halves) {
  for (int64_t h = 0; h < 2; ++h) {
    const int64_t first_bit = 32 * h, here = bits - first_bit < 32 ? bits - first_bit : 32;
    for_lanes(count, [&](int64_t i) {
      lsh_lanes(planes, length, i, hyperplanes, stride, first_bit, here < 0 ? 0 : here, halves + h * kBlock);
    });
  }
}

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

// One tap and panel: the weights of kChannels channels stay in registers while the clusters stream by.
template <int kChannels>
static void table_column(const float* centroids, int64_t length, int64_t clusters, const float* weights, float* column,
                         int64_t cluster_stride, bool first) {
  F w[kChannels][kPanelVectors];
  DRPASS_UNROLL for (int l = 0; l < kChannels; ++l)
    DRPASS_UNROLL for (int v = 0; v < kPanelVectors; ++v) w[l][v] = load(weights + l * kPanel + v * kLanes);
  for (int64_t cluster = 0; cluster < clusters; ++cluster) {
    float* row = column + cluster * cluster_stride;
    DRPASS_UNROLL for (int v = 0; v < kPanelVectors; ++v) {
      F sum = first ? set(0.0f) : load(row + v * kLanes);
      DRPASS_UNROLL for (int l = 0; l < kChannels; ++l)
        sum = mul_add(set(centroids[cluster * length + l]), w[l][v], sum);
      store(row + v * kLanes, sum);
    }
  }
}

// One tap and panel of all clusters, in float.
static void table_panel(const TableBlock& b, const float* weights, float* column, int64_t cluster_stride) {
  for (int64_t l = 0; l < b.length;) {
    const int64_t left = b.length - l, step = left >= 4 ? 4 : left >= 2 ? 2 : 1;
    const auto kernel = step == 4 ? table_column<4> : step == 2 ? table_column<2> : table_column<1>;
    kernel(b.centroids + l, b.length, b.clusters, weights + l * kPanel, column, cluster_stride, l == 0);
    l += step;
  }
}

static void narrow_column(const float* values, int64_t clusters, const float* inverse_scale, int16_t* column,
                          int64_t cluster_stride) {
  for (int64_t cluster = 0; cluster < clusters; ++cluster)
    DRPASS_UNROLL for (int v = 0; v < kPanelVectors; ++v)
      store_narrow(column + cluster * cluster_stride + v * kLanes,
                   mul(load(values + cluster * kPanel + v * kLanes), load(inverse_scale + v * kLanes)));
}

static void build_table(const TableBlock& b) {
  const int64_t cluster_stride = b.taps * b.width;
  float values[kTableChunk * kPanel];
  for (int64_t tap = 0; tap < b.taps; ++tap)
    for (int64_t panel = 0; panel < b.panels; ++panel) {
      const float* weights = b.weights + panel * b.panel_stride + tap * b.tap_stride;
      const int64_t offset = tap * b.width + panel * kPanel;
      if (b.inverse_scale) {
        table_panel(b, weights, values, kPanel);
        narrow_column(values, b.clusters, b.inverse_scale + panel * kPanel, static_cast<int16_t*>(b.table) + offset,
                      cluster_stride);
      } else {
        table_panel(b, weights, static_cast<float*>(b.table) + offset, cluster_stride);
      }
    }
}

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

static F activate_lanes(F x, Activation activation, F a, F b) {
  switch (activation) {
    case Activation::relu: return max(set(0.0f), x);
    case Activation::leaky_relu: return where_negative(x, mul(x, a), x);
    case Activation::clip: return min(b, max(a, x));
    default: return x;
  }
}

// One output channel of a tile, contiguous in Y.
static void epilogue_channel(const Epilogue& e, int64_t m) {
  float line[kTile];
  const float* addend = e.addend ? e.addend + m * e.addend_channel : nullptr;
  const float bias = e.bias ? e.bias[m] : 0.0f;
  for (int64_t i = 0; i < e.pixels; ++i) line[i] = e.acc[i * e.ld + m];
  if (e.bias)
    for (int64_t i = 0; i < e.pixels; ++i) line[i] += bias;
  if (addend)
    for (int64_t i = 0; i < e.pixels; ++i) line[i] += addend[e.addend_pixel[i]];
  if (e.activation == Activation::sigmoid) {
    for (int64_t i = 0; i < e.pixels; ++i) line[i] = activate(line[i], e.activation, e.params[0], e.params[1]);
  } else if (e.activation != Activation::none) {
    const F a = set(e.params[0]), b = set(e.params[1]);
    // Whole vectors of the line: what lies past `pixels` is initialised below and not written out.
    for (int64_t i = e.pixels; i % kLanes; ++i) line[i] = 0.0f;
    for (int64_t i = 0; i < e.pixels; i += kLanes) store(line + i, activate_lanes(load(line + i), e.activation, a, b));
  }
  float* y = e.y + m * e.y_channel;
  if (e.y_pixel == 1)
    for (int64_t i = 0; i < e.pixels; ++i) y[i] = line[i];
  else
    for (int64_t i = 0; i < e.pixels; ++i) y[i * e.y_pixel] = line[i];
}

static void epilogue(const Epilogue& e) {
  for (int64_t m = 0; m < e.outputs; ++m) epilogue_channel(e, m);
}

// t^beta; the exponents of published networks without a call a lane.
static F lrn_power(F t, float beta) {
  if (beta == 0.75f) {
    const F root = sqrt(t);
    return mul(root, sqrt(root));
  }
  if (beta == 0.5f) return sqrt(t);
  if (beta == 1.0f) return t;
  float lanes[kLanes];
  store(lanes, t);
  for (int lane = 0; lane < kLanes; ++lane) lanes[lane] = powf(lanes[lane], beta);
  return load(lanes);
}

// All channels of kLanes neighbouring pixels of which the first `count` exist.
static void lrn_lanes(const LrnBlock& b, int64_t pixel, int64_t count) {
  float room[kLanes] = {};
  const auto read = [&](int64_t channel) {
    const float* x = b.x + channel * b.channel_stride + pixel;
    if (count == kLanes) return load(x);
    for (int64_t lane = 0; lane < count; ++lane) room[lane] = x[lane];
    return load(room);
  };
  for (int64_t c = 0; c < b.channels; ++c) {
    const int64_t first = c < b.before ? 0 : c - b.before;
    const int64_t last = c + b.after < b.channels ? c + b.after : b.channels - 1;
    F squares = set(0.0f);
    for (int64_t i = first; i <= last; ++i) {
      const F x = read(i);
      squares = mul_add(x, x, squares);
    }
    const F result = div(read(c), lrn_power(mul_add(squares, set(b.scale), set(b.bias)), b.beta));
    float* y = b.y + c * b.channel_stride + pixel;
    if (count == kLanes) {
      store(y, result);
      continue;
    }
    store(room, result);
    for (int64_t lane = 0; lane < count; ++lane) y[lane] = room[lane];
  }
}

static void lrn(const LrnBlock& b) {
  for (int64_t i = 0; i < b.pixels; i += kLanes) lrn_lanes(b, i, b.pixels - i < kLanes ? b.pixels - i : kLanes);
}

#undef DRPASS_UNROLL

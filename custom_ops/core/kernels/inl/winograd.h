// Winograd's minimal filtering (Lavin & Gray, 2016; Toom-Cook construction): a window of n x n inputs gives 4 x 4
// outputs of an (n - 3) x (n - 3) kernel with n^2 products. The polynomials are evaluated at 0, infinity and pairs of
// points +-p, so that every transform splits into an even and an odd half.

// The constants of all transforms for kPairs pairs of points, n = 2 * kPairs + 2. The points were chosen for the least
// error in float. Tables, because only these are sure to be compile-time constants in unrolled loops.
template <int kPairs>
struct Constants {
  float point[kPairs] = {};
  float all[kPairs + 1] = {};         // coefficients of the product over all pairs of (x - p^2)
  float but[kPairs][kPairs] = {};     // the same without one pair
  float zero_norm = 0;                // of the weights at 0: 1 / product of the distances from the other points
  float weight[kPairs][5] = {};       // of the weights at p: p^k / product of the distances
  float power[kPairs][4] = {};        // p^i

  constexpr Constants() {
    const double at[3] = {kPairs == 2 ? 0.75 : 0.5, kPairs == 2 ? 1.5 : 1.0, 2.0};
    double product = 1.0;
    for (int pair = 0; pair < kPairs; ++pair) {
      const double p = at[pair], square = p * p;
      double norm = 2.0 * square, factor = 1.0;
      for (int other = 0; other < kPairs; ++other)
        if (other != pair) norm *= square - at[other] * at[other];
      product *= -square;
      point[pair] = static_cast<float>(p);
      for (int k = 0; k < 5; ++k, factor *= p) {
        weight[pair][k] = static_cast<float>(factor / norm);
        if (k < 4) power[pair][k] = static_cast<float>(factor);
      }
      expand(at, pair, but[pair]);
    }
    zero_norm = static_cast<float>(1.0 / product);
    expand(at, -1, all);
  }

  // Coefficients, lowest power first, of the product over all pairs except `without` of (x - p^2).
  static constexpr void expand(const double* at, int without, float* result) {
    double c[kPairs + 1] = {1.0};
    int degree = 0;
    for (int pair = 0; pair < kPairs; ++pair) {
      if (pair == without) continue;
      ++degree;
      for (int i = degree; i >= 0; --i)
        c[i] = (i > 0 ? c[i - 1] : 0.0) - at[pair] * at[pair] * (i < degree ? c[i] : 0.0);
    }
    for (int i = 0; i <= degree; ++i) result[i] = static_cast<float>(c[i]);
  }
};
template <int kPairs>
static constexpr Constants<kPairs> kConstants{};

static inline F times(float factor, F x) { return factor == 1.0f ? x : mul(set(factor), x); }
static inline F add_times(float factor, F x, F sum) {
  if (factor == 1.0f || factor == -1.0f) return factor > 0 ? add(sum, x) : sub(sum, x);
  return mul_add(set(factor), x, sum);
}

// n values of one row or column of the window. The halves of a pair of points are added and subtracted rather than
// multiplied by +-p: many CPUs add beside their multipliers.
template <int kPairs>
static inline void transform_input(const F* d, F* out) {
  constexpr const Constants<kPairs>& table = kConstants<kPairs>;
  constexpr int n = 2 * kPairs + 2;
  F zero = d[2 * kPairs], infinity = d[2 * kPairs + 1];
  DRPASS_UNROLL for (int k = kPairs - 1; k >= 0; --k) {
    zero = add_times(table.all[k], d[2 * k], zero);
    infinity = add_times(table.all[k], d[2 * k + 1], infinity);
  }
  out[0] = zero;
  out[n - 1] = infinity;
  DRPASS_UNROLL for (int pair = 0; pair < kPairs; ++pair) {
    const float p = table.point[pair];
    F even = d[2 * kPairs], odd = times(p, d[2 * kPairs - 1]);
    DRPASS_UNROLL for (int k = 0; k + 1 < kPairs; ++k) {
      even = add_times(table.but[pair][k], d[2 * k + 2], even);
      odd = add_times(p * table.but[pair][k], d[2 * k + 1], odd);
    }
    out[1 + 2 * pair] = add(even, odd);
    out[2 + 2 * pair] = sub(even, odd);
  }
}

// kTaps weights of one row or column become n values.
template <int kPairs, int kTaps>
static inline void transform_weights(const F* g, F* out) {
  constexpr const Constants<kPairs>& table = kConstants<kPairs>;
  constexpr int n = 2 * kPairs + 2;
  out[0] = times(table.zero_norm, g[0]);
  out[n - 1] = g[kTaps - 1];
  DRPASS_UNROLL for (int pair = 0; pair < kPairs; ++pair) {
    F even = times(table.weight[pair][0], g[0]), odd = times(table.weight[pair][1], g[1]);
    DRPASS_UNROLL for (int k = 2; k < kTaps; ++k) {
      F& sum = k % 2 ? odd : even;
      sum = add_times(table.weight[pair][k], g[k], sum);
    }
    out[1 + 2 * pair] = add(even, odd);
    out[2 + 2 * pair] = sub(even, odd);
  }
}

// n products of one row or column become m outputs.
template <int kPairs, int m>
static inline void transform_output(const F* x, F* y) {
  constexpr const Constants<kPairs>& table = kConstants<kPairs>;
  F sum[kPairs], difference[kPairs];
  DRPASS_UNROLL for (int pair = 0; pair < kPairs; ++pair) {
    sum[pair] = add(x[1 + 2 * pair], x[2 + 2 * pair]);
    difference[pair] = sub(x[1 + 2 * pair], x[2 + 2 * pair]);
  }
  DRPASS_UNROLL for (int i = 0; i < m; ++i) {
    const F* half = i % 2 ? difference : sum;
    F value = times(table.power[0][i], half[0]);
    DRPASS_UNROLL for (int pair = 1; pair < kPairs; ++pair) value = add_times(table.power[pair][i], half[pair], value);
    if (i == 0) value = add(value, x[0]);
    if (i == m - 1) value = add(value, x[2 * kPairs + 1]);
    y[i] = value;
  }
}

// The windows of neighbouring tiles overlap, and so the columns of a strip are transformed once. rows[i] is row i; only
// columns [left, right) are in the image: the others are zero, and so is what they become.
template <int kPairs>
static void winograd_strip(const float* const* rows, int64_t tiles, int64_t left, int64_t right, float* v,
                           int64_t point_stride) {
  constexpr int n = 2 * kPairs + 2, step = 4;
  F columns[n][n + step * (kStripTiles - 1)];
  for (int64_t j = 0; j < n + step * (tiles - 1); ++j) {
    F x[n], out[n];
    if (j >= left && j < right) {
      // What the next strip reads of this block, while the other blocks are transformed.
      DRPASS_UNROLL for (int i = 0; i < n; ++i) __builtin_prefetch(rows[i] + (j + step * tiles) * kPanel, 0, 2);
      DRPASS_UNROLL for (int i = 0; i < n; ++i) x[i] = load(rows[i] + j * kPanel);
      transform_input<kPairs>(x, out);
    } else {
      DRPASS_UNROLL for (int i = 0; i < n; ++i) out[i] = set(0.0f);
    }
    DRPASS_UNROLL for (int i = 0; i < n; ++i) columns[i][j] = out[i];
  }
  for (int64_t i = 0; i < n; ++i)
    for (int64_t tile = 0; tile < tiles; ++tile) {
      F out[n];
      transform_input<kPairs>(columns[i] + step * tile, out);
      DRPASS_UNROLL for (int j = 0; j < n; ++j) store(v + (i * n + j) * point_stride + tile * kPanel, out[j]);
    }
}

template <int kPairs>
static void winograd_input_of(const WinogradInput& b) {
  constexpr int n = 2 * kPairs + 2;
  static const float zeros[(n + 4 * (kStripTiles - 1)) * kPanel] = {};
  for (int64_t block = 0; block < b.blocks; ++block)
    for (int64_t lane = 0; lane < kPanel; lane += kLanes) {
      const float* rows[n];
      for (int64_t i = 0; i < n; ++i)
        rows[i] = i >= b.top && i < b.bottom ? b.x + block * b.x_block + i * b.row_stride + lane : zeros;
      winograd_strip<kPairs>(rows, b.tiles, b.left, b.right, b.v + block * b.v_block + lane, b.point_stride);
    }
}

static void winograd_input(const WinogradInput& b) {
  b.window == 6 ? winograd_input_of<2>(b) : winograd_input_of<3>(b);
}

// Every lane hashes its own channel, twice with different factors: 64 bits that a change of one value must leave alike.
static Hash128 winograd_hash(const WinogradInput& b) {
  I first[kPanelVectors], second[kPanelVectors];
  for (int v = 0; v < kPanelVectors; ++v) first[v] = second[v] = zero_bits();
  for (int64_t block = 0; block < b.blocks; ++block)
    for (int64_t i = b.top; i < b.bottom; ++i) {
      const float* x = b.x + block * b.x_block + i * b.row_stride;
      for (int64_t k = b.left * kPanel; k < b.right * kPanel; k += kPanel)
        DRPASS_UNROLL for (int v = 0; v < kPanelVectors; ++v) {
          const I value = load_bits(x + k + v * kLanes);
          first[v] = mix_bits(first[v], value, 0x9E3779B1u);
          second[v] = mix_bits(second[v], value, 0x85EBCA77u);
        }
    }
  uint32_t lanes[2][kPanel];
  for (int v = 0; v < kPanelVectors; ++v) {
    store_bits(lanes[0] + v * kLanes, first[v]);
    store_bits(lanes[1] + v * kLanes, second[v]);
  }
  const uint64_t place = static_cast<uint64_t>(((b.top * 16 + b.bottom) * 16 + b.left) * 16 + b.right);
  uint64_t hash[2] = {place, ~place};
  for (int half = 0; half < 2; ++half)
    for (int lane = 0; lane < kPanel; ++lane) {
      hash[half] = (hash[half] ^ lanes[half][lane]) * 0x9E3779B97F4A7C15u;
      hash[half] ^= hash[half] >> 29;
    }
  return {hash[0], hash[1]};
}

template <int kPairs, int kTaps>
static void winograd_weights_of(const WinogradWeights& b) {
  constexpr int n = 2 * kPairs + 2;
  for (int64_t at = 0; at < b.channels * kPanel; at += kLanes) {
    float* u = b.u + at / kPanel * b.channel_stride + at % kPanel;
    F rows[kTaps][n];
    DRPASS_UNROLL for (int i = 0; i < kTaps; ++i) {
      F g[kTaps];
      DRPASS_UNROLL for (int j = 0; j < kTaps; ++j) g[j] = load(b.w + (i * kTaps + j) * b.tap_stride + at);
      transform_weights<kPairs, kTaps>(g, rows[i]);
    }
    DRPASS_UNROLL for (int j = 0; j < n; ++j) {
      F column[kTaps], out[n];
      DRPASS_UNROLL for (int i = 0; i < kTaps; ++i) column[i] = rows[i][j];
      transform_weights<kPairs, kTaps>(column, out);
      DRPASS_UNROLL for (int i = 0; i < n; ++i) store(u + (i * n + j) * b.point_stride, out[i]);
    }
  }
}

static void winograd_weights(const WinogradWeights& b) {
  b.window == 6 ? winograd_weights_of<2, 3>(b) : winograd_weights_of<3, 5>(b);
}

// Whether a vector holds no NaN and no infinity: x * 0 is zero then.
static inline bool all_finite(F checked) { return all_inside(checked, 1.0f); }

template <int kPairs, int m>
static bool winograd_output_of(const WinogradOutput& b) {
  constexpr int n = 2 * kPairs + 2;
  const F low = set(b.params[0]), high = set(b.params[1]), zero = set(0.0f);
  F checked = zero;
  for (int v = 0; v < kPanelVectors; ++v) {
    const int64_t lane = v * kLanes;
    F rows[m][n];
    DRPASS_UNROLL for (int j = 0; j < n; ++j) {
      F column[n], out[m];
      DRPASS_UNROLL for (int i = 0; i < n; ++i) column[i] = load(b.products + (i * n + j) * b.point_stride + lane);
      transform_output<kPairs, m>(column, out);
      DRPASS_UNROLL for (int i = 0; i < m; ++i) rows[i][j] = out[i];
    }
    const F bias = b.bias ? load(b.bias + lane) : zero;
    DRPASS_UNROLL for (int i = 0; i < m; ++i) {
      if (i >= b.rows) break;
      F out[m];
      transform_output<kPairs, m>(rows[i], out);
      DRPASS_UNROLL for (int j = 0; j < m; ++j) {
        if (j >= b.columns) break;
        checked = mul_add(out[j], zero, checked);
        F value = add(out[j], bias);
        const int64_t at = i * b.row_stride + j * kPanel + lane;
        if (b.addend) value = add(value, load(b.addend + at));
        store(b.y + at, activate_lanes(value, b.activation, low, high));
        __builtin_prefetch(b.y + at + m * kPanel, 1);  // where the next tile goes
      }
    }
  }
  if (is_curved(b.activation))
    for (int64_t i = 0; i < b.rows; ++i) curve_rows(b.y + i * b.row_stride, 1, 0, b.columns * kPanel, b.activation);
  return all_finite(checked);
}

static bool winograd_output(const WinogradOutput& b) {
  return b.window == 6 ? winograd_output_of<2, 4>(b) : winograd_output_of<3, 4>(b);
}

// Signatures: moments for the cell edge, grid cells, hyperplanes.

constexpr int kDoubles = kLanes / 2;  // lanes of double in a register

// One pixel into what is in memory: for what is left over.
static inline void add_moments(double value, int64_t pixel, double* sums) {
  sums[pixel % 8] += value;
  sums[8 + pixel % 8] += value * value;  // exact in double, so contraction could not change it
}

// kDoubles neighbouring channels of a pixel to a register.
static void moments_by_channels(const Moments& m, int64_t channel) {
  const float* x = m.x + channel;
  D sum[8], squares[8];
  DRPASS_UNROLL for (int p = 0; p < 8; ++p) sum[p] = squares[p] = zero_double();
  int64_t pixel = 0;
  for (; pixel + 8 <= m.pixels; pixel += 8)
    DRPASS_UNROLL for (int p = 0; p < 8; ++p) {
      const D value = widen(x + (pixel + p) * m.pixel_stride);
      sum[p] = add(sum[p], value);
      squares[p] = add_square(squares[p], value);
    }
  double lanes[2 * kDoubles];
  for (int p = 0; p < 8; ++p) {
    store(lanes, sum[p]);
    store(lanes + kDoubles, squares[p]);
    for (int c = 0; c < kDoubles; ++c) {
      m.sums[(channel + c) * 16 + p] += lanes[c];
      m.sums[(channel + c) * 16 + 8 + p] += lanes[kDoubles + c];
    }
  }
  for (; pixel < m.pixels; ++pixel)
    for (int c = 0; c < kDoubles; ++c) add_moments(x[pixel * m.pixel_stride + c], pixel, m.sums + (channel + c) * 16);
}

// Eight neighbouring pixels of each of kChannels channels at a time.
template <int kChannels>
static void moments_by_pixels(const Moments& m, int64_t channel) {
  constexpr int kParts = 8 / kDoubles;
  const float* x = m.x + channel * m.channel_stride;
  double* sums = m.sums + channel * 16;
  D sum[kChannels][kParts], squares[kChannels][kParts];
  DRPASS_UNROLL for (int c = 0; c < kChannels; ++c)
    DRPASS_UNROLL for (int part = 0; part < kParts; ++part) sum[c][part] = squares[c][part] = zero_double();
  int64_t pixel = 0;
  for (; pixel + 8 <= m.pixels; pixel += 8)
    DRPASS_UNROLL for (int c = 0; c < kChannels; ++c)
      DRPASS_UNROLL for (int part = 0; part < kParts; ++part) {
        const D value = widen(x + c * m.channel_stride + pixel + part * kDoubles);
        sum[c][part] = add(sum[c][part], value);
        squares[c][part] = add_square(squares[c][part], value);
      }
  DRPASS_UNROLL for (int c = 0; c < kChannels; ++c)
    DRPASS_UNROLL for (int part = 0; part < kParts; ++part) {
      double* at = sums + c * 16 + part * kDoubles;
      store(at, add(load(at), sum[c][part]));
      store(at + 8, add(load(at + 8), squares[c][part]));
    }
  for (; pixel < m.pixels; ++pixel)
    for (int c = 0; c < kChannels; ++c) add_moments(x[c * m.channel_stride + pixel], pixel, sums + c * 16);
}

static void moments(const Moments& m) {
  int64_t channel = 0;
  if (m.pixel_stride == 1) {
    for (; channel + 4 <= m.channels; channel += 4) moments_by_pixels<4>(m, channel);
    for (; channel < m.channels; ++channel) moments_by_pixels<1>(m, channel);
    return;
  }
  for (; channel + kDoubles <= m.channels; channel += kDoubles) moments_by_channels(m, channel);
  for (; channel < m.channels; ++channel)
    for (int64_t pixel = 0; pixel < m.pixels; ++pixel)
      add_moments(m.x[pixel * m.pixel_stride + channel], pixel, m.sums + channel * 16);
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

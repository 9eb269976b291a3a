// Signatures: moments for the cell edge, grid cells, hyperplanes.

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

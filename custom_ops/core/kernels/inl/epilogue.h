// Bias, addend and activation.

// e^x to two units in the last place, infinite from 89 on: x = n ln 2 + r, with the polynomial of Moshier's Cephes
// library for e^r.
static inline F exponential(F x) {
  constexpr float kRounder = 12582912.0f;  // 1.5 * 2^23: what is added to it keeps no fraction
  constexpr float kCoefficients[] = {1.9875691500e-4f, 1.3981999507e-3f, 8.3334519073e-3f,
                                     4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f};
  x = min(set(89.0f), max(set(-87.0f), x));
  const F n = sub(mul_add(x, set(1.44269504f), set(kRounder)), set(kRounder));
  const F r = mul_add(n, set(2.12194440e-4f), mul_add(n, set(-0.693359375f), x));
  F sum = set(kCoefficients[0]);
  DRPASS_UNROLL for (int i = 1; i < 6; ++i) sum = mul_add(sum, r, set(kCoefficients[i]));
  return mul(add(mul_add(sum, mul(r, r), r), set(1.0f)), power_of_two(n));
}

// The activations that take a function of their own: too long to be repeated for every register of a tile.
static inline bool is_curved(Activation activation) {
  return activation == Activation::sigmoid || activation == Activation::silu;
}
static inline F curve(F x, Activation activation) {
  const F gate = reciprocal(add(set(1.0f), exponential(sub(set(0.0f), x))));
  return activation == Activation::silu ? mul(x, gate) : gate;
}

static inline F unit_lanes(F x) { return min(set(1.0f), max(set(0.0f), x)); }

// The other activations; curved ones leave x as it is.
static inline F activate_lanes(F x, Activation activation, F a, F b) {
  switch (activation) {
    case Activation::none: return x;
    case Activation::relu: return max(set(0.0f), x);
    case Activation::leaky_relu: return where_negative(x, mul(x, a), x);
    case Activation::clip: return min(b, max(a, x));
    case Activation::hard_sigmoid: return unit_lanes(add(mul(x, a), b));
    case Activation::hard_swish: return mul(x, unit_lanes(add(mul(x, set(1.0f / 6.0f)), set(0.5f))));
    case Activation::sigmoid:
    case Activation::silu: break;
  }
  return x;
}

static F finish_lanes(F x, Activation activation, F a, F b) {
  return is_curved(activation) ? curve(x, activation) : activate_lanes(x, activation, a, b);
}

// The curved activations of rows of `width` values, in place.
static void curve_rows(float* y, int64_t rows, int64_t stride, int64_t width, Activation activation) {
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t i = 0; i < width; i += kLanes)
      store(y + row * stride + i, curve(load(y + row * stride + i), activation));
}

// One panel of outputs where the outputs of a pixel are neighbours in Y (blocks, or rows of a matrix).
static void epilogue_rows(const Epilogue& e, int64_t panel) {
  const int64_t first = panel * kPanel, count = e.outputs - first < kPanel ? e.outputs - first : kPanel;
  const F a = set(e.params[0]), b = set(e.params[1]);
  float bias[kPanel] = {}, line[kPanel] = {};
  for (int64_t j = 0; e.bias && j < count; ++j) bias[j] = e.bias[first + j];
  for (int64_t i = 0; i < e.pixels; ++i) {
    const float* acc = e.acc + i * e.ld + first;
    float* y = e.y + panel * e.y_panel + i * e.y_pixel;
    const float* addend = e.addend ? e.addend + panel * e.addend_panel + e.addend_pixel[i] : nullptr;
    const bool direct = count == kPanel && (!addend || e.addend_channel == 1);
    if (addend && !direct)
      for (int64_t j = 0; j < count; ++j) line[j] = addend[j * e.addend_channel];
    DRPASS_UNROLL for (int v = 0; v < kPanelVectors; ++v) {
      const int64_t at = v * kLanes;
      F x = add(load(acc + at), load(bias + at));
      if (addend) x = add(x, load(direct ? addend + at : line + at));
      x = finish_lanes(x, e.activation, a, b);
      store(direct ? y + at : line + at, x);
    }
    if (direct) continue;
    for (int64_t j = 0; j < count; ++j) y[j] = line[j];
    if (e.y_padded)
      for (int64_t j = count; j < kPanel; ++j) y[j] = 0.0f;
  }
}

// Outputs [first, first + kSquare) of a panel where the pixels of an output are neighbours in Y.
static void epilogue_planes(const Epilogue& e, int64_t first) {
  constexpr int64_t kLine = kTile + kMinimumPlane;
  alignas(64) float lines[kSquare][kLine];
  const int64_t count = e.outputs - first < kSquare ? e.outputs - first : kSquare;
  // So many short pieces of Y are too many for the prefetchers of CPUs.
  for (int64_t j = 0; j < count; ++j)
    for (int64_t k = 0; k < e.pixels; k += kPanel) __builtin_prefetch(e.y + (first + j) * e.y_channel + k, 1);
  int64_t i = cover_pixels(e.pixels, [&](int64_t at) {
    transpose(e.acc + at * e.ld + first, e.ld, &lines[0][at], kLine);
  });
  for (; i < e.pixels; ++i)
    for (int64_t j = 0; j < count; ++j) lines[j][i] = e.acc[i * e.ld + first + j];
  const F a = set(e.params[0]), b = set(e.params[1]);
  for (int64_t j = 0; j < count; ++j) {
    float* line = lines[j];
    const int64_t m = first + j;
    const F bias = set(e.bias ? e.bias[m] : 0.0f);
    // Whole vectors of the line: what lies past `pixels` is initialised here and not written out.
    for (int64_t k = e.pixels; k % kLanes; ++k) line[k] = 0.0f;
    const float* addend = e.addend ? e.addend + m / kPanel * e.addend_panel + m % kPanel * e.addend_channel : nullptr;
    if (addend) {
      for (int64_t k = 0; k < e.pixels; k += kLanes) store(line + k, add(load(line + k), bias));
      for (int64_t k = 0; k < e.pixels; ++k) line[k] += addend[e.addend_pixel[k]];
    }
    const auto finished = [&](int64_t k) {
      const F x = load(line + k);
      return finish_lanes(addend ? x : add(x, bias), e.activation, a, b);
    };
    float* y = e.y + m * e.y_channel;
    int64_t k = 0;
    for (; k + kLanes <= e.pixels; k += kLanes) store(y + k, finished(k));
    if (k < e.pixels) store(line + k, finished(k));
    for (; k < e.pixels; ++k) y[k] = line[k];
  }
}

static void epilogue(const Epilogue& e) {
  if (!e.y_rows)
    for (int64_t m = 0; m < e.outputs; m += kSquare) epilogue_planes(e, m);
  else
    for (int64_t panel = 0; panel * kPanel < e.outputs; ++panel) epilogue_rows(e, panel);
}

// Local response normalisation.

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

// Up to kLrnPixels pixels of a tensor in blocks. All squares are stored before any is loaded again: a load that takes
// parts of two recent stores waits for both.
static void lrn_pixels(const LrnBlock& b, int64_t pixel, int64_t count) {
  const int64_t blocks = (b.channels + kPanel - 1) / kPanel, line = lrn_line(b);
  const float* x = b.x + pixel * kPanel;
  float* y = b.y + pixel * kPanel;
  for (int64_t i = 0; i < count; ++i)
    for (int64_t block = 0; block < blocks; ++block)
      DRPASS_UNROLL for (int v = 0; v < kPanelVectors; ++v) {
        const F value = load(x + block * b.channel_stride + i * kPanel + v * kLanes);
        store(b.squares + i * line + b.before + block * kPanel + v * kLanes, mul(value, value));
      }
  const F scale = set(b.scale), bias = set(b.bias);
  for (int64_t i = 0; i < count; ++i)
    for (int64_t block = 0; block < blocks; ++block)
      DRPASS_UNROLL for (int v = 0; v < kPanelVectors; ++v) {
        const float* first = b.squares + i * line + block * kPanel + v * kLanes;
        F sum = load(first);
        for (int64_t j = 1; j <= b.before + b.after; ++j) sum = add(sum, load(first + j));
        const int64_t at = block * b.channel_stride + i * kPanel + v * kLanes;
        store(y + at, div(load(x + at), lrn_power(mul_add(sum, scale, bias), b.beta)));
      }
}

static void lrn(const LrnBlock& b) {
  const int64_t step = b.blocked ? kLrnPixels : kLanes;
  for (int64_t i = 0; i < b.pixels; i += step)
    (b.blocked ? lrn_pixels : lrn_lanes)(b, i, b.pixels - i < step ? b.pixels - i : step);
}

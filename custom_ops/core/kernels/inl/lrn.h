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

// One pixel of a tensor in blocks: its channels side by side. `squares` has zeros before and behind those of the pixel.
static void lrn_pixel(const LrnBlock& b, const float* x, float* y, int64_t blocks, float* squares) {
  const F scale = set(b.scale), bias = set(b.bias);
  for (int64_t block = 0; block < blocks; ++block)
    DRPASS_UNROLL for (int v = 0; v < kPanelVectors; ++v) {
      const F value = load(x + block * b.channel_stride + v * kLanes);
      store(squares + block * kPanel + v * kLanes, mul(value, value));
    }
  for (int64_t block = 0; block < blocks; ++block)
    DRPASS_UNROLL for (int v = 0; v < kPanelVectors; ++v) {
      const float* first = squares + block * kPanel + v * kLanes - b.before;
      F sum = set(0.0f);
      for (int64_t i = 0; i <= b.before + b.after; ++i) sum = add(sum, load(first + i));
      const int64_t at = block * b.channel_stride + v * kLanes;
      store(y + at, div(load(x + at), lrn_power(mul_add(sum, scale, bias), b.beta)));
    }
}

static void lrn(const LrnBlock& b) {
  if (b.blocked) {
    const int64_t blocks = (b.channels + kPanel - 1) / kPanel;
    for (int64_t i = 0; i < b.pixels; ++i)
      lrn_pixel(b, b.x + i * kPanel, b.y + i * kPanel, blocks, b.squares + b.before);
    return;
  }
  for (int64_t i = 0; i < b.pixels; i += kLanes) lrn_lanes(b, i, b.pixels - i < kLanes ? b.pixels - i : kLanes);
}

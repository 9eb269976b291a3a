// Bias, addend and activation.

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

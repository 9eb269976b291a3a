// Bias, addend and activation.

static F activate_lanes(F x, Activation activation, F a, F b) {
  switch (activation) {
    case Activation::none: return x;
    case Activation::relu: return max(set(0.0f), x);
    case Activation::leaky_relu: return where_negative(x, mul(x, a), x);
    case Activation::clip: return min(b, max(a, x));
    case Activation::sigmoid: break;
  }
  float lanes[kLanes];
  store(lanes, x);
  for (int lane = 0; lane < kLanes; ++lane) lanes[lane] = activate(lanes[lane], activation, 0.0f, 0.0f);
  return load(lanes);
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
      x = activate_lanes(x, e.activation, a, b);
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
      return activate_lanes(addend ? x : add(x, bias), e.activation, a, b);
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

// Between planes of pixels and blocks of 16 channels.

// Calls square(i) for pixels [i, i + kSquare) until all are covered; squares may overlap at the end. Returns the number
// of pixels that are covered: none where there are fewer.
template <typename Square>
static inline int64_t cover_pixels(int64_t pixels, const Square& square) {
  if (pixels < kSquare) return 0;
  int64_t i = 0;
  for (; i + kSquare <= pixels; i += kSquare) square(i);
  if (i < pixels) square(pixels - kSquare);
  return pixels;
}

static void to_planes(const float* blocks, int64_t pixels, int64_t channels, float* planes, int64_t plane_stride) {
  int64_t i = channels < kPanel ? 0 : cover_pixels(pixels, [&](int64_t at) {
    for (int64_t c = 0; c < kPanel; c += kSquare)
      transpose(blocks + at * kPanel + c, kPanel, planes + c * plane_stride + at, plane_stride);
  });
  for (; i < pixels; ++i)
    for (int64_t c = 0; c < channels; ++c) planes[c * plane_stride + i] = blocks[i * kPanel + c];
}

static void to_blocks(const float* planes, int64_t plane_stride, int64_t pixels, int64_t channels, float* blocks) {
  int64_t i = channels < kPanel ? 0 : cover_pixels(pixels, [&](int64_t at) {
    for (int64_t c = 0; c < kPanel; c += kSquare)
      transpose(planes + c * plane_stride + at, plane_stride, blocks + at * kPanel + c, kPanel);
  });
  for (; i < pixels; ++i)
    for (int64_t c = 0; c < kPanel; ++c) blocks[i * kPanel + c] = c < channels ? planes[c * plane_stride + i] : 0.0f;
}

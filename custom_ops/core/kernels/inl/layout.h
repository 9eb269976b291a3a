// Between planes of pixels and blocks of 16 channels.

static void to_planes(const float* blocks, int64_t pixels, int64_t channels, float* planes, int64_t plane_stride) {
  int64_t i = 0;
  for (; channels == kPanel && i + 8 <= pixels; i += 8)
    for (int64_t c = 0; c < kPanel; c += 8)
      transpose8(blocks + i * kPanel + c, kPanel, planes + c * plane_stride + i, plane_stride);
  for (; i < pixels; ++i)
    for (int64_t c = 0; c < channels; ++c) planes[c * plane_stride + i] = blocks[i * kPanel + c];
}

static void to_blocks(const float* planes, int64_t plane_stride, int64_t pixels, int64_t channels, float* blocks) {
  int64_t i = 0;
  for (; channels == kPanel && i + 8 <= pixels; i += 8)
    for (int64_t c = 0; c < kPanel; c += 8)
      transpose8(planes + c * plane_stride + i, plane_stride, blocks + i * kPanel + c, kPanel);
  for (; i < pixels; ++i)
    for (int64_t c = 0; c < kPanel; ++c) blocks[i * kPanel + c] = c < channels ? planes[c * plane_stride + i] : 0.0f;
}

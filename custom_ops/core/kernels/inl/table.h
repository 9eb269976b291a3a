// Tables of cluster results.

// One tap and panel: the weights of kChannels channels stay in registers while the clusters stream by.
template <int kChannels>
static void table_column(const float* centroids, int64_t length, int64_t clusters, const float* weights, float* column,
                         int64_t cluster_stride, bool first) {
  F w[kChannels][kPanelVectors];
  DRPASS_UNROLL for (int l = 0; l < kChannels; ++l)
    DRPASS_UNROLL for (int v = 0; v < kPanelVectors; ++v) w[l][v] = load(weights + l * kPanel + v * kLanes);
  for (int64_t cluster = 0; cluster < clusters; ++cluster) {
    float* row = column + cluster * cluster_stride;
    DRPASS_UNROLL for (int v = 0; v < kPanelVectors; ++v) {
      F sum = first ? set(0.0f) : load(row + v * kLanes);
      DRPASS_UNROLL for (int l = 0; l < kChannels; ++l)
        sum = mul_add(set(centroids[cluster * length + l]), w[l][v], sum);
      store(row + v * kLanes, sum);
    }
  }
}

// One tap and panel of all clusters, in float. The weights of the next sub-vector lie behind these, and are wanted after all
// other taps and panels: the CPU would not fetch them by itself.
static void table_panel(const TableBlock& b, const float* weights, float* column, int64_t cluster_stride) {
  for (int64_t l = 0; l < b.length; ++l) __builtin_prefetch(weights + (b.length + l) * kPanel);
  for (int64_t l = 0; l < b.length;) {
    const int64_t left = b.length - l, step = left >= 4 ? 4 : left >= 2 ? 2 : 1;
    const auto kernel = step == 4 ? table_column<4> : step == 2 ? table_column<2> : table_column<1>;
    kernel(b.centroids + l, b.length, b.clusters, weights + l * kPanel, column, cluster_stride, l == 0);
    l += step;
  }
}

static void narrow_column(const float* values, int64_t clusters, const float* inverse_scale, int16_t* column,
                          int64_t cluster_stride) {
  for (int64_t cluster = 0; cluster < clusters; ++cluster)
    DRPASS_UNROLL for (int v = 0; v < kPanelVectors; ++v)
      store_narrow(column + cluster * cluster_stride + v * kLanes,
                   mul(load(values + cluster * kPanel + v * kLanes), load(inverse_scale + v * kLanes)));
}

static void build_table(const TableBlock& b) {
  const int64_t cluster_stride = b.taps * b.width;
  float values[kTableChunk * kPanel];
  for (int64_t tap = 0; tap < b.taps; ++tap)
    for (int64_t panel = 0; panel < b.panels; ++panel) {
      const float* weights = b.weights + panel * b.panel_stride + tap * b.tap_stride;
      const int64_t offset = tap * b.width + panel * kPanel;
      if (b.inverse_scale) {
        table_panel(b, weights, values, kPanel);
        narrow_column(values, b.clusters, b.inverse_scale + panel * kPanel, static_cast<int16_t*>(b.table) + offset,
                      cluster_stride);
      } else {
        table_panel(b, weights, static_cast<float*>(b.table) + offset, cluster_stride);
      }
    }
}

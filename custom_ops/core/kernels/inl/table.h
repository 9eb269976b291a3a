// Tables of cluster results.

// Sums of one panel of some clusters, where they are kept from step to step.
struct PanelSums {
  float* values;
  int64_t stride;  // between clusters

  void operator()(int64_t cluster, int v, F sum) const { store(values + cluster * stride + v * kLanes, sum); }
};

// One tap and panel: the weights of kChannels channels stay in registers while the clusters stream by. Calls
// finish(cluster, vector, sum).
template <int kChannels, typename Finish>
static inline void table_column(const TableBlock& b, int64_t l, const float* weights, const PanelSums& sums,
                                const Finish& finish) {
  const float* centroid = b.centroids + l;
  const int64_t length = b.length, clusters = b.clusters;  // stores of vectors might change those of b
  F w[kChannels][kPanelVectors];
  DRPASS_UNROLL for (int c = 0; c < kChannels; ++c)
    DRPASS_UNROLL for (int v = 0; v < kPanelVectors; ++v) w[c][v] = load(weights + (l + c) * kPanel + v * kLanes);
  for (int64_t cluster = 0; cluster < clusters; ++cluster, centroid += length)
    DRPASS_UNROLL for (int v = 0; v < kPanelVectors; ++v) {
      F sum = l == 0 ? set(0.0f) : load(sums.values + cluster * sums.stride + v * kLanes);
      DRPASS_UNROLL for (int c = 0; c < kChannels; ++c)
        sum = mul_add(set(centroid[c]), w[c][v], sum);
      finish(cluster, v, sum);
    }
}

template <typename Finish>
static inline void table_step(const TableBlock& b, int64_t l, int64_t step, const float* weights, const PanelSums& sums,
                              const Finish& finish) {
  if (step == 4) return table_column<4>(b, l, weights, sums, finish);
  if (step == 2) return table_column<2>(b, l, weights, sums, finish);
  table_column<1>(b, l, weights, sums, finish);
}

// One tap and panel of all clusters. finish() is called for the complete sums.
template <typename Finish>
static inline void table_panel(const TableBlock& b, const float* weights, const PanelSums& sums, const Finish& finish) {
  // The weights of the next sub-vector lie behind these, and are wanted after all other taps and panels: the CPU would not
  // fetch them by itself.
  for (int64_t l = 0; l < b.length; ++l) __builtin_prefetch(weights + (b.length + l) * kPanel);
  for (int64_t l = 0; l < b.length;) {
    const int64_t left = b.length - l, step = left >= 4 ? 4 : left >= 2 ? 2 : 1;
    step == left ? table_step(b, l, step, weights, sums, finish) : table_step(b, l, step, weights, sums, sums);
    l += step;
  }
}

static void float_panel(const TableBlock& b, const float* weights, int64_t offset) {
  const PanelSums sums{static_cast<float*>(b.table) + offset, b.taps * b.width};
  table_panel(b, weights, sums, sums);
}

static void narrow_panel(const TableBlock& b, const float* weights, int64_t offset, const float* inverse_scale) {
  float values[kTableChunk * kPanel];
  int16_t* target = static_cast<int16_t*>(b.table) + offset;
  const int64_t stride = b.taps * b.width;
  F scale[kPanelVectors];
  DRPASS_UNROLL for (int v = 0; v < kPanelVectors; ++v) scale[v] = load(inverse_scale + v * kLanes);
  table_panel(b, weights, {values, kPanel}, [&](int64_t cluster, int v, F sum) {
    store_narrow(target + cluster * stride + v * kLanes, mul(sum, scale[v]));
  });
}

static void build_table(const TableBlock& b) {
  for (int64_t tap = 0; tap < b.taps; ++tap)
    for (int64_t panel = 0; panel < b.panels; ++panel) {
      const float* weights = b.weights + panel * b.panel_stride + tap * b.tap_stride;
      const int64_t offset = tap * b.width + panel * kPanel;
      if (b.inverse_scale)
        narrow_panel(b, weights, offset, b.inverse_scale + panel * kPanel);
      else
        float_panel(b, weights, offset);
    }
}

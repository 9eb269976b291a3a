// Units of 16-bit tables, as core/table_scale.cpp computes them.
#include "cuda/launch.h"
#include "cuda/reconstruct.h"

namespace drpass::cuda {
namespace {

constexpr int kThreads = 256;

__global__ __launch_bounds__(kThreads) void tap_sums_kernel(View v, float* sums) {
  const int64_t row = static_cast<int64_t>(v.group_channels) * kPanel;
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= v.groups * v.panels * row) return;
  const int64_t first = i / row * v.taps * row + i % row;
  float sum = 0;
  for (int tap = 0; tap < v.taps; ++tap) sum += fabsf(v.load(v.w, first + tap * row));
  sums[i] = sum;
}

// The largest bound of a span of sub-vector groups that have clusters, for one output. Not finite if a bound is not.
__device__ float unit_of(const View& v, const ClusterView& c, const UnitView& u, int64_t area, int m) {
  const int span = v.taps < 16 ? 16 / v.taps : 1;
  const float rows = 32767.0f - 0.5f * static_cast<float>(span * v.taps);
  const int64_t group = area % v.groups, panel = group * v.panels + m / kPanel;
  const float* sums = u.tap_sums + panel * v.group_channels * kPanel + m % kPanel;
  const unsigned* magnitudes = c.magnitudes + area * v.group_channels;
  float unit = 0, bound = 0, poison = 0;  // a maximum would forget NaN
  int in_span = 0;
  for (int k = 0; k < c.sub_groups; ++k) {
    if (c.dense[area * c.sub_groups + k]) continue;
    for (int l = 0; l < c.vector_size(v, k); ++l) {
      const int64_t channel = static_cast<int64_t>(k) * c.length + l;
      bound += __uint_as_float(magnitudes[channel]) * sums[channel * kPanel];
    }
    poison += 0.0f * bound;
    if (++in_span < span) continue;
    unit = fmaxf(unit, bound / rows);
    bound = 0;
    in_span = 0;
  }
  return fmaxf(unit, bound / rows) + poison;
}

// One block an area.
__global__ __launch_bounds__(kThreads) void units_kernel(View v, ClusterView c, UnitView u) {
  const int64_t area = blockIdx.x;
  const int width = v.panels * kPanel;
  bool finite = true;
  for (int m = threadIdx.x; m < width; m += kThreads) {
    const float unit = unit_of(v, c, u, area, m);
    finite &= isfinite(unit);
    u.units[area * width + m] = unit;
    const unsigned exponent = __float_as_uint(unit) >> 23;
    u.inverses[area * width + m] = exponent != 0 && exponent != 0xFF ? 1.0f / unit : 0.0f;
  }
  finite = __syncthreads_and(finite);
  if (threadIdx.x == 0) u.narrow[area] = finite;
}

}  // namespace

void launch_units(const View& v, const ClusterView& c, const UnitView& u, void* stream) {
  const int64_t sums = static_cast<int64_t>(v.groups) * v.panels * v.group_channels * kPanel;
  launch("tap sums", tap_sums_kernel, divide_up(sums, kThreads), kThreads, stream, v, u.tap_sums);
  launch("units", units_kernel, static_cast<int64_t>(v.scopes) * v.groups, kThreads, stream, v, c, u);
}

}  // namespace drpass::cuda

// The unit of 16-bit tables: fine enough that it does not show, coarse enough that no sum of rows leaves 16 bits.
#pragma once

#include <vector>

#include "core/geometry.h"

namespace drpass {

// [group][panel][channel of the group][16]: the sum over the taps of |w|. Empty where w_shape is not one of packed weights,
// or holds none.
std::vector<float> sum_tap_magnitudes(const std::vector<int64_t>& w_shape, const float* w);

// Whether tables may have 16 bits, so that those sums are wanted.
inline bool needs_tap_sums(const Parameters& p) {
  return p.method != Method::exact && p.table_type == TableType::int16;
}

// Sub-vector groups whose rows are added in 16 bits before their sum is widened: about 16 rows.
inline int64_t narrow_span(const Geometry& geometry) { return geometry.taps() < 16 ? 16 / geometry.taps() : 1; }

// scale[16 * panels] for a group: for every span of the sub-vector groups in `reuse`, the sum over its channels of
// magnitude times tap sum bounds what can be added up; the largest such bound is 32767 units, less the rounding of the
// rows. magnitudes[k] are the largest |centroid| of each channel of sub-vector group k. Empty if a bound is not finite:
// the tables are then of float.
std::vector<float> narrow_scales(const Geometry& geometry, const float* tap_sums, int64_t group,
                                 const std::vector<int64_t>& reuse, const std::vector<const float*>& magnitudes);

// What values are multiplied with to be in units of `scale`; 0 where nothing but zeros can be stored.
float inverse_scale(float scale);

}  // namespace drpass

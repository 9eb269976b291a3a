// Eight floats in a 256-bit register.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace drpass {
namespace avx2 {

constexpr const char* kName = "avx2";
constexpr int kLanes = 8;
constexpr int kRegisters = 16;
constexpr bool kPlainArrays = false;
using F = __m256;
using I = __m256i;

inline F load(const float* p) { return _mm256_loadu_ps(p); }
inline void store(float* p, F a) { _mm256_storeu_ps(p, a); }
inline F set(float value) { return _mm256_set1_ps(value); }
inline F add(F a, F b) { return _mm256_add_ps(a, b); }
inline F sub(F a, F b) { return _mm256_sub_ps(a, b); }
inline F div(F a, F b) { return _mm256_div_ps(a, b); }
inline F sqrt(F a) { return _mm256_sqrt_ps(a); }
inline F mul(F a, F b) { return _mm256_mul_ps(a, b); }
inline F fused(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
inline F mul_add(F a, F b, F c) { return fused(a, b, c); }
inline F max(F a, F b) { return _mm256_max_ps(a, b); }
inline F min(F a, F b) { return _mm256_min_ps(a, b); }
inline F where_negative(F condition, F yes, F no) {
  return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(condition, _mm256_setzero_ps(), _CMP_LT_OQ));
}
inline bool all_inside(F a, float limit) {
  const F magnitude = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a);
  return _mm256_movemask_ps(_mm256_cmp_ps(magnitude, set(limit), _CMP_LT_OQ)) == 0xFF;
}
inline I pack_cells(F low, F high) {
  const I l = _mm256_and_si256(_mm256_cvtps_epi32(low), _mm256_set1_epi32(0xFFFF));
  return _mm256_or_si256(l, _mm256_slli_epi32(_mm256_cvtps_epi32(high), 16));
}
inline I zero_bits() { return _mm256_setzero_si256(); }
inline I or_if_positive(I bits, F a, uint32_t bit) {
  const I positive = _mm256_castps_si256(_mm256_cmp_ps(a, _mm256_setzero_ps(), _CMP_GT_OQ));
  return _mm256_or_si256(bits, _mm256_and_si256(positive, _mm256_set1_epi32(static_cast<int32_t>(bit))));
}
// 1 / a to a unit or two in the last place, for a of 1 to infinity; NaN stays.
inline F reciprocal(F a) { return div(set(1.0f), a); }
// 2^n for n of -126 to 128, the last of which is infinite.
inline F power_of_two(F n) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
}
inline F to_float(I a) { return _mm256_cvtepi32_ps(a); }

using D = __m256d;  // four lanes of double
inline D widen(const float* p) { return _mm256_cvtps_pd(_mm_loadu_ps(p)); }
inline D load(const double* p) { return _mm256_loadu_pd(p); }
inline void store(double* p, D a) { _mm256_storeu_pd(p, a); }
inline D zero_double() { return _mm256_setzero_pd(); }
inline D add(D a, D b) { return _mm256_add_pd(a, b); }
inline D add_square(D sum, D a) { return _mm256_fmadd_pd(a, a, sum); }

using S = __m256i;  // sixteen lanes of 16 bits
inline S zero_narrow() { return _mm256_setzero_si256(); }
inline S load_narrow(const int16_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
inline S add_narrow(S a, S b) { return _mm256_add_epi16(a, b); }
inline void widen_add(S a, I& low, I& high) {
  low = _mm256_add_epi32(low, _mm256_cvtepi16_epi32(_mm256_castsi256_si128(a)));
  high = _mm256_add_epi32(high, _mm256_cvtepi16_epi32(_mm256_extracti128_si256(a, 1)));
}
inline I add_widened(I sum, const int16_t* p) {
  return _mm256_add_epi32(sum, _mm256_cvtepi16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}
inline void store_narrow(int16_t* p, F a) {
  const I wide = _mm256_cvtps_epi32(a);
  const I packed = _mm256_permute4x64_epi64(_mm256_packs_epi32(wide, wide), 0x08);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(packed));
}
inline I load_bits(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
inline I mix_bits(I state, I value, uint32_t factor) {
  const I product = _mm256_mullo_epi32(_mm256_add_epi32(state, value), _mm256_set1_epi32(static_cast<int32_t>(factor)));
  return _mm256_xor_si256(product, _mm256_srli_epi32(product, 15));
}
inline void store_bits(void* p, I a) { _mm256_storeu_si256(static_cast<__m256i*>(p), a); }

// For every set of lanes, their numbers in order, four bits each.
struct LaneLists {
  uint32_t lanes[256] = {};
  constexpr LaneLists() {
    for (uint32_t set = 0; set < 256; ++set)
      for (uint32_t lane = 8; lane-- > 0;)
        if (set >> lane & 1) lanes[set] = lanes[set] << 4 | lane;
  }
};
inline constexpr LaneLists kLaneLists{};

// lane * step, and any offsets with `more` added.
inline I offsets_of_lanes(int32_t step) {
  const I lanes = _mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0);
  return _mm256_mullo_epi32(lanes, _mm256_set1_epi32(step));
}
inline I add_offset(I offsets, int32_t more) { return _mm256_add_epi32(offsets, _mm256_set1_epi32(more)); }
// The lanes of x that are not zero (NaN is not), side by side, and of `offsets` the same lanes. Writes kLanes of both;
// returns how many there are.
inline int64_t keep_nonzeros(F x, I offsets, float* values, int32_t* kept_offsets) {
  const int kept = _mm256_movemask_ps(_mm256_cmp_ps(x, _mm256_setzero_ps(), _CMP_NEQ_UQ));
  const I list = _mm256_set1_epi32(static_cast<int32_t>(kLaneLists.lanes[kept]));
  const I lanes = _mm256_srlv_epi32(list, _mm256_set_epi32(28, 24, 20, 16, 12, 8, 4, 0));  // three bits of each count
  _mm256_storeu_ps(values, _mm256_permutevar8x32_ps(x, lanes));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(kept_offsets), _mm256_permutevar8x32_epi32(offsets, lanes));
  return __builtin_popcount(static_cast<unsigned>(kept));
}

// target[j * target_ld + i] = source[i * source_ld + j] for kSquare x kSquare values.
constexpr int kSquare = 8;
inline void transpose(const float* source, int64_t source_ld, float* target, int64_t target_ld) {
  __m256 r[8], t[8];
  for (int i = 0; i < 8; ++i) r[i] = _mm256_loadu_ps(source + i * source_ld);
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
    t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
  }
  for (int i = 0; i < 8; i += 4) {
    r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
    r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xEE);
    r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
    r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xEE);
  }
  for (int i = 0; i < 4; ++i) {
    _mm256_storeu_ps(target + i * target_ld, _mm256_permute2f128_ps(r[i], r[i + 4], 0x20));
    _mm256_storeu_ps(target + (i + 4) * target_ld, _mm256_permute2f128_ps(r[i], r[i + 4], 0x31));
  }
}

}  // namespace avx2
}  // namespace drpass

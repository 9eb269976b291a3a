// Sixteen floats in a 512-bit register.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace drpass {
namespace avx512 {

constexpr const char* kName = "avx512";
constexpr int kLanes = 16;
constexpr int kRegisters = 32;
constexpr bool kPlainArrays = false;
using F = __m512;
using I = __m512i;

inline F load(const float* p) { return _mm512_loadu_ps(p); }
inline void store(float* p, F a) { _mm512_storeu_ps(p, a); }
inline F set(float value) { return _mm512_set1_ps(value); }
inline F add(F a, F b) { return _mm512_add_ps(a, b); }
inline F sub(F a, F b) { return _mm512_sub_ps(a, b); }
inline F div(F a, F b) { return _mm512_div_ps(a, b); }
inline F sqrt(F a) { return _mm512_sqrt_ps(a); }
inline F mul(F a, F b) { return _mm512_mul_ps(a, b); }
inline F fused(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
inline F mul_add(F a, F b, F c) { return fused(a, b, c); }
inline F max(F a, F b) { return _mm512_max_ps(a, b); }
inline F min(F a, F b) { return _mm512_min_ps(a, b); }
inline F where_negative(F condition, F yes, F no) {
  return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(condition, _mm512_setzero_ps(), _CMP_LT_OQ), no, yes);
}
inline bool all_inside(F a, float limit) {
  return _mm512_cmp_ps_mask(_mm512_abs_ps(a), set(limit), _CMP_LT_OQ) == 0xFFFF;
}
inline I pack_cells(F low, F high) {
  const I l = _mm512_and_si512(_mm512_cvtps_epi32(low), _mm512_set1_epi32(0xFFFF));
  return _mm512_or_si512(l, _mm512_slli_epi32(_mm512_cvtps_epi32(high), 16));
}
inline I zero_bits() { return _mm512_setzero_si512(); }
inline I or_if_positive(I bits, F a, uint32_t bit) {
  const __mmask16 positive = _mm512_cmp_ps_mask(a, _mm512_setzero_ps(), _CMP_GT_OQ);
  return _mm512_mask_or_epi32(bits, positive, bits, _mm512_set1_epi32(static_cast<int32_t>(bit)));
}
// 1 / a to a unit or two in the last place, for a of 1 to infinity; NaN stays.
inline F reciprocal(F a) {
  const F guess = _mm512_rcp14_ps(a);
  const __mmask16 finite = _mm512_cmp_ps_mask(a, set(__builtin_inff()), _CMP_NEQ_UQ);
  return _mm512_mask_mul_ps(guess, finite, guess, _mm512_fnmadd_ps(a, guess, set(2.0f)));
}
// 2^n for n of -126 to 128, the last of which is infinite.
inline F power_of_two(F n) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127)), 23));
}
inline F to_float(I a) { return _mm512_cvtepi32_ps(a); }

using D = __m512d;  // eight lanes of double
inline D widen(const float* p) { return _mm512_cvtps_pd(_mm256_loadu_ps(p)); }
inline D load(const double* p) { return _mm512_loadu_pd(p); }
inline void store(double* p, D a) { _mm512_storeu_pd(p, a); }
inline D zero_double() { return _mm512_setzero_pd(); }
inline D add(D a, D b) { return _mm512_add_pd(a, b); }
inline D add_square(D sum, D a) { return _mm512_fmadd_pd(a, a, sum); }

using S = __m512i;  // thirty-two lanes of 16 bits
inline S zero_narrow() { return _mm512_setzero_si512(); }
inline S load_narrow(const int16_t* p) { return _mm512_loadu_si512(p); }
inline S add_narrow(S a, S b) { return _mm512_add_epi16(a, b); }
inline void widen_add(S a, I& low, I& high) {
  low = _mm512_add_epi32(low, _mm512_cvtepi16_epi32(_mm512_castsi512_si256(a)));
  high = _mm512_add_epi32(high, _mm512_cvtepi16_epi32(_mm512_extracti64x4_epi64(a, 1)));
}
inline I add_widened(I sum, const int16_t* p) {
  return _mm512_add_epi32(sum, _mm512_cvtepi16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))));
}
inline void store_narrow(int16_t* p, F a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtsepi32_epi16(_mm512_cvtps_epi32(a)));
}
inline I load_bits(const void* p) { return _mm512_loadu_si512(p); }
inline I mix_bits(I state, I value, uint32_t factor) {
  const I product = _mm512_mullo_epi32(_mm512_add_epi32(state, value), _mm512_set1_epi32(static_cast<int32_t>(factor)));
  return _mm512_xor_si512(product, _mm512_srli_epi32(product, 15));
}
inline void store_bits(void* p, I a) { _mm512_storeu_si512(p, a); }

// lane * step, and any offsets with `more` added.
inline I offsets_of_lanes(int32_t step) {
  const I lanes = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
  return _mm512_mullo_epi32(lanes, _mm512_set1_epi32(step));
}
inline I add_offset(I offsets, int32_t more) { return _mm512_add_epi32(offsets, _mm512_set1_epi32(more)); }
// The lanes of x that are not zero (NaN is not), side by side, and of `offsets` the same lanes. Writes up to kLanes of
// both; returns how many there are.
inline int64_t keep_nonzeros(F x, I offsets, float* values, int32_t* kept_offsets) {
  const __mmask16 kept = _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_NEQ_UQ);
  const F packed = _mm512_maskz_compress_ps(kept, x);
  const I packed_offsets = _mm512_maskz_compress_epi32(kept, offsets);
  const int count = __builtin_popcount(kept);
  _mm512_storeu_ps(values, packed);
  _mm512_storeu_si512(kept_offsets, packed_offsets);
  return count;
}

// target[j * target_ld + i] = source[i * source_ld + j] for kSquare x kSquare values.
constexpr int kSquare = 16;
inline void transpose(const float* source, int64_t source_ld, float* target, int64_t target_ld) {
  __m512 r[16], t[16];
  for (int i = 0; i < 16; ++i) r[i] = load(source + i * source_ld);
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
  }
  for (int i = 0; i < 16; i += 4)  // lane l of r[i + c] is column 4 * l + c of rows i to i + 3
    for (int c = 0; c < 4; ++c) {
      const __m512d first = _mm512_castps_pd(t[i + c / 2]), second = _mm512_castps_pd(t[i + 2 + c / 2]);
      r[i + c] = _mm512_castpd_ps(c % 2 ? _mm512_unpackhi_pd(first, second) : _mm512_unpacklo_pd(first, second));
    }
  for (int c = 0; c < 4; ++c) {
    const __m512 even_low = _mm512_shuffle_f32x4(r[c], r[4 + c], 0x88);
    const __m512 odd_low = _mm512_shuffle_f32x4(r[c], r[4 + c], 0xDD);
    const __m512 even_high = _mm512_shuffle_f32x4(r[8 + c], r[12 + c], 0x88);
    const __m512 odd_high = _mm512_shuffle_f32x4(r[8 + c], r[12 + c], 0xDD);
    store(target + c * target_ld, _mm512_shuffle_f32x4(even_low, even_high, 0x88));
    store(target + (4 + c) * target_ld, _mm512_shuffle_f32x4(odd_low, odd_high, 0x88));
    store(target + (8 + c) * target_ld, _mm512_shuffle_f32x4(even_low, even_high, 0xDD));
    store(target + (12 + c) * target_ld, _mm512_shuffle_f32x4(odd_low, odd_high, 0xDD));
  }
}

}  // namespace avx512
}  // namespace drpass

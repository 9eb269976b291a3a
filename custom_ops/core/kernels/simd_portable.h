// Eight floats in a plain array: for CPUs without a vector path of their own; the compiler may vectorise the loops.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace drpass {
namespace portable {

constexpr const char* kName = "portable";
constexpr int kLanes = 8;
constexpr int kRegisters = 16;
constexpr bool kPlainArrays = true;
struct F {
  float v[kLanes];
};
struct I {
  uint32_t v[kLanes];
};

template <typename Result, typename Make>
inline Result each(const Make& make) {
  Result result;
  for (int lane = 0; lane < kLanes; ++lane) result.v[lane] = make(lane);
  return result;
}

inline F load(const float* p) { return each<F>([&](int i) { return p[i]; }); }
inline void store(float* p, F a) { std::memcpy(p, a.v, sizeof a.v); }
inline F set(float value) { return each<F>([&](int) { return value; }); }
inline F add(F a, F b) { return each<F>([&](int i) { return a.v[i] + b.v[i]; }); }
inline F sub(F a, F b) { return each<F>([&](int i) { return a.v[i] - b.v[i]; }); }
inline F div(F a, F b) { return each<F>([&](int i) { return a.v[i] / b.v[i]; }); }
inline F sqrt(F a) { return each<F>([&](int i) { return std::sqrt(a.v[i]); }); }
inline F mul(F a, F b) { return each<F>([&](int i) { return a.v[i] * b.v[i]; }); }
// Fused everywhere (in software on x86-64 without FMA): the hash must round alike on every machine.
inline F fused(F a, F b, F c) { return each<F>([&](int i) { return std::fma(a.v[i], b.v[i], c.v[i]); }); }
// Fused only where that is fast: outputs may differ by rounding among kernel sets.
inline F mul_add(F a, F b, F c) {
#ifdef FP_FAST_FMAF
  return fused(a, b, c);
#else
  return each<F>([&](int i) { return a.v[i] * b.v[i] + c.v[i]; });
#endif
}
// The second operand where either is NaN, as on x86.
inline F max(F a, F b) { return each<F>([&](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; }); }
inline F min(F a, F b) { return each<F>([&](int i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; }); }
inline F where_negative(F condition, F yes, F no) {
  return each<F>([&](int i) { return condition.v[i] < 0 ? yes.v[i] : no.v[i]; });
}
inline bool all_inside(F a, float limit) {
  bool inside = true;
  for (int i = 0; i < kLanes; ++i) inside &= std::fabs(a.v[i]) < limit;
  return inside;
}
// Round to nearest even, then the low 16 bits of `low` and of `high` side by side. |a| < 32767.
inline I pack_cells(F low, F high) {
  return each<I>([&](int i) {
    const auto cell = [](float value) { return static_cast<uint32_t>(static_cast<int32_t>(std::nearbyint(value))); };
    return (cell(low.v[i]) & 0xFFFFu) | cell(high.v[i]) << 16;
  });
}
inline I zero_bits() { return each<I>([](int) { return 0u; }); }
inline I or_if_positive(I bits, F a, uint32_t bit) {
  return each<I>([&](int i) { return a.v[i] > 0 ? bits.v[i] | bit : bits.v[i]; });
}
// 1 / a to a unit or two in the last place, for a of 1 to infinity; NaN stays.
inline F reciprocal(F a) { return div(set(1.0f), a); }
// 2^n for n of -126 to 128, the last of which is infinite.
inline F power_of_two(F n) {
  return each<F>([&](int i) {
    const float rounded = n.v[i] + 12582912.0f;  // 1.5 * 2^23: its lowest bits are n, whatever n is
    uint32_t bits;
    std::memcpy(&bits, &rounded, sizeof bits);
    bits = (bits + 127) << 23;
    float power;
    std::memcpy(&power, &bits, sizeof power);
    return power;
  });
}
inline F to_float(I a) { return each<F>([&](int i) { return static_cast<float>(static_cast<int32_t>(a.v[i])); }); }

// Half as many lanes of double.
struct D {
  double v[kLanes / 2];
};
template <typename Make>
inline D each_double(const Make& make) {
  D result;
  for (int lane = 0; lane < kLanes / 2; ++lane) result.v[lane] = make(lane);
  return result;
}
inline D widen(const float* p) { return each_double([&](int i) { return p[i]; }); }
inline D load(const double* p) { return each_double([&](int i) { return p[i]; }); }
inline void store(double* p, D a) { std::memcpy(p, a.v, sizeof a.v); }
inline D zero_double() { return D{}; }
inline D add(D a, D b) { return each_double([&](int i) { return a.v[i] + b.v[i]; }); }
// Squares of floats are exact in double, so it does not matter whether this is fused.
inline D add_square(D sum, D a) { return each_double([&](int i) { return sum.v[i] + a.v[i] * a.v[i]; }); }

// Twice as many lanes of 16 bits.
struct S {
  int16_t v[2 * kLanes];
};
inline S zero_narrow() { return S{}; }
inline S load_narrow(const int16_t* p) {
  S result;
  std::memcpy(result.v, p, sizeof result.v);
  return result;
}
inline S add_narrow(S a, S b) {
  for (int i = 0; i < 2 * kLanes; ++i) a.v[i] = static_cast<int16_t>(a.v[i] + b.v[i]);
  return a;
}
// low and high += the halves of a.
inline void widen_add(S a, I& low, I& high) {
  for (int i = 0; i < kLanes; ++i) {
    low.v[i] += static_cast<uint32_t>(static_cast<int32_t>(a.v[i]));
    high.v[i] += static_cast<uint32_t>(static_cast<int32_t>(a.v[kLanes + i]));
  }
}
// sum + as many values of 16 bits.
inline I add_widened(I sum, const int16_t* p) {
  return each<I>([&](int i) { return sum.v[i] + static_cast<uint32_t>(static_cast<int32_t>(p[i])); });
}
// Rounds to nearest even; |a| fits in 16 bits.
inline void store_narrow(int16_t* p, F a) {
  for (int i = 0; i < kLanes; ++i) p[i] = static_cast<int16_t>(std::nearbyint(a.v[i]));
}
inline I load_bits(const void* p) {
  I result;
  std::memcpy(result.v, p, sizeof result.v);
  return result;
}
// One step of a hash of every lane: (state + value) * factor, with the high bits brought down.
inline I mix_bits(I state, I value, uint32_t factor) {
  return each<I>([&](int i) {
    const uint32_t product = (state.v[i] + value.v[i]) * factor;
    return product ^ product >> 15;
  });
}
inline void store_bits(void* p, I a) { std::memcpy(p, a.v, sizeof a.v); }

// lane * step, and any offsets with `more` added.
inline I offsets_of_lanes(int32_t step) {
  return each<I>([&](int i) { return static_cast<uint32_t>(i * step); });
}
inline I add_offset(I offsets, int32_t more) {
  return each<I>([&](int i) { return offsets.v[i] + static_cast<uint32_t>(more); });
}
// The lanes of x that are not zero (NaN is not), side by side, and of `offsets` the same lanes. Writes up to kLanes of
// both; returns how many there are.
inline int64_t keep_nonzeros(F x, I offsets, float* values, int32_t* kept_offsets) {
  int64_t count = 0;
  for (int i = 0; i < kLanes; ++i) {  // no branch: what comes next overwrites a zero
    values[count] = x.v[i];
    kept_offsets[count] = static_cast<int32_t>(offsets.v[i]);
    count += x.v[i] != 0;
  }
  return count;
}

// target[j * target_ld + i] = source[i * source_ld + j] for kSquare x kSquare values.
constexpr int kSquare = 8;
inline void transpose(const float* source, int64_t source_ld, float* target, int64_t target_ld) {
  for (int i = 0; i < kSquare; ++i)
    for (int j = 0; j < kSquare; ++j) target[j * target_ld + i] = source[i * source_ld + j];
}

}  // namespace portable
}  // namespace drpass

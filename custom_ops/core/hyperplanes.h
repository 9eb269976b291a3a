// The hyperplanes of `lsh`, equal on every machine: integer arithmetic only.
#pragma once

#include <cstdint>
#include <vector>

namespace drpass {

// [bits][length], one plane for every hash bit of a sub-vector. Each coordinate is a sum of twelve uniform numbers,
// centred (variance 1, near-Gaussian), times 2^-16: exact in float.
inline std::vector<float> make_hyperplanes(uint64_t seed, int64_t bits, int64_t length) {
  uint64_t state = seed;
  const auto next = [&state] {  // splitmix64 (Steele, Lea, Flood 2014)
    uint64_t z = (state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  };
  std::vector<float> planes(static_cast<size_t>(bits * length));
  for (float& coordinate : planes) {
    int32_t sum = 0;
    for (int word = 0; word < 3; ++word)
      for (uint64_t z = next(), part = 0; part < 4; ++part, z >>= 16) sum += static_cast<int32_t>(z & 0xFFFF);
    coordinate = static_cast<float>(sum - 6 * 65536) / 65536.0f;
  }
  return planes;
}

}  // namespace drpass

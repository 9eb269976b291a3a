// The hyperplanes of `lsh`, equal on every machine: integer arithmetic only.
#pragma once

#include <cstdint>
#include <vector>

#include "core/host_device.h"

namespace drpass {

// Number `index` of the integers that splitmix64 (Steele, Lea, Flood 2014) draws from a seed.
DRPASS_HOST_DEVICE inline uint64_t splitmix64(uint64_t seed, uint64_t index) {
  uint64_t z = seed + (index + 1) * 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

// Coordinate number `index` of all planes: a sum of twelve uniform numbers, centred (variance 1, near-Gaussian), times
// 2^-16: exact in float.
DRPASS_HOST_DEVICE inline float hyperplane_coordinate(uint64_t seed, uint64_t index) {
  int32_t sum = 0;
  for (uint64_t word = 0; word < 3; ++word) {
    uint64_t z = splitmix64(seed, 3 * index + word);
    for (int part = 0; part < 4; ++part, z >>= 16) sum += static_cast<int32_t>(z & 0xFFFF);
  }
  return static_cast<float>(sum - 6 * 65536) / 65536.0f;
}

// [bits][length], one plane for every hash bit of a sub-vector.
inline std::vector<float> make_hyperplanes(uint64_t seed, int64_t bits, int64_t length) {
  std::vector<float> planes(static_cast<size_t>(bits * length));
  for (size_t index = 0; index < planes.size(); ++index) planes[index] = hyperplane_coordinate(seed, index);
  return planes;
}

}  // namespace drpass

// A tile: up to kTile neighbouring output pixels of a scope instance, numbered through its images.
#pragma once

#include <optional>

#include "core/cluster.h"

namespace drpass {

struct Tile {
  int64_t first, count;
};

inline int64_t tile_count(const Geometry& g, const Instance& instance) {
  return (instance.images * g.output_pixels() + kTile - 1) / kTile;
}

inline Tile tile_at(const Geometry& g, const Instance& instance, int64_t index) {
  const int64_t left = instance.images * g.output_pixels() - index * kTile;
  return {index * kTile, left < kTile ? left : kTile};
}

// Walks over the output pixels of a tile without dividing at every step.
class PixelWalk {
 public:
  PixelWalk(const Geometry& g, int64_t first) : g_(g), image(first / g.output_pixels()) {
    int64_t rest = first % g.output_pixels();
    for (int slot = 2; slot >= 0; rest /= g.out[slot], --slot) at[slot] = rest % g.out[slot];
  }
  void next() {
    for (int slot = 2; slot >= 0; --slot) {
      if (++at[slot] < g_.out[slot]) return;
      at[slot] = 0;
    }
    ++image;
  }

 private:
  const Geometry& g_;

 public:
  int64_t image;  // within the scope instance
  std::array<int64_t, 3> at;
};

// What lets the dense micro-kernel finish a tile itself; nothing where only finish_tile can.
std::optional<Epilogue> direct_epilogue(const Call& call, const Instance& instance, const Tile& tile, int64_t group,
                                        int64_t first_output, int64_t outputs);

// Bias, addend and activation of the outputs [first_output, first_output + outputs) of a group; writes Y.
void finish_tile(const Call& call, const Instance& instance, const Tile& tile, int64_t group, int64_t first_output,
                 int64_t outputs, const float* acc, int64_t ld);

}  // namespace drpass

// A tile: up to kTile neighbouring output pixels of a scope instance, numbered through its images.
#pragma once

#include <optional>

#include "core/call.h"

namespace drpass {

struct Tile {
  int64_t first, count;
};

// Images with fewer output pixels share tiles: so few would not repay the reading of weights.
constexpr int64_t kPixelsToShare = kTile / 2;

// The tiles of one of the parts that a scope instance is cut into: its images, or all of them together. Those of a part
// are of nearly the same size.
struct TileCut {
  int64_t parts, pixels, tiles;  // pixels and tiles of a part
};

inline TileCut cut_into_tiles(const Geometry& g, const Instance& instance) {
  const bool alone = g.output_pixels() >= kPixelsToShare;
  const int64_t pixels = alone ? g.output_pixels() : instance.images * g.output_pixels();
  return {alone ? instance.images : 1, pixels, divide_up(pixels, kTile)};
}

inline int64_t tile_count(const Geometry& g, const Instance& instance) {
  const TileCut cut = cut_into_tiles(g, instance);
  return cut.parts * cut.tiles;
}

inline Tile tile_at(const Geometry& g, const Instance& instance, int64_t index) {
  const TileCut cut = cut_into_tiles(g, instance);
  const int64_t part = index / cut.tiles, within = index % cut.tiles;
  const int64_t first = within * cut.pixels / cut.tiles, end = (within + 1) * cut.pixels / cut.tiles;
  return {part * cut.pixels + first, end - first};
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

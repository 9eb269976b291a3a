// The direct product of planes of few channels, as first layers have them: without a gathered patch.
//
// A strip is some output rows of an image. The input rows below it are copied once, with their padding, and with a stride
// of s as s lines each: columns 0, s, 2s, ..., then 1, s + 1, ... What neighbouring output pixels read at a tap and
// channel are then neighbours in a line, so that the micro-kernel reads them where they lie.
#pragma once

#include <optional>

#include "core/dense.h"

namespace drpass {

// Sizes of all strips of a group. A copy is [channels][rows][lines][line] floats.
struct Strips {
  int64_t columns;  // output columns of a strip: a whole row, unless it is very long
  int64_t outputs;  // output rows
  int64_t rows, lines, line;
};

// Nothing where gathering serves better: other layouts, windows that do not overlap, very short rows, too many
// channels for the caches.
std::optional<Strips> cut_strips(const Geometry& geometry);

// All outputs of a group; `dense` has all channels.
void run_strips(const Call& call, const Instance& instance, int64_t group, const DensePart& dense, const Strips& strips,
                Executor& executor);

}  // namespace drpass

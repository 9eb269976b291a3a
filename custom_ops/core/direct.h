// The direct product of a group that is dense as a whole: cut into tasks, finished and written to Y.
#pragma once

#include "core/dense.h"

namespace drpass {

// Multiply-adds of a task, at least: less would not pay for handing it out and its memory.
constexpr int64_t kTaskWork = 1000 * 1000;
// With as many tasks every thread finds work until the end.
constexpr int64_t kTasks = 16;

// All outputs of a group. They depend neither on tasks nor on where inputs are read: every sum is in the order of depth.
void run_direct(const Call& call, const Instance& instance, int64_t group, const DensePart& dense, Executor& executor);

// The outputs of a tile for the panels [first_panel, first_panel + panels), from its patch.
// acc: [kTile][16 * panels], for scratch
void direct_tile(const Call& call, const Instance& instance, const Tile& tile, int64_t group, const DensePart& dense,
                 Patch& patch, int64_t first_panel, int64_t panels, float* acc);

}  // namespace drpass

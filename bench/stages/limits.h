// What this machine can do at most, measured by loops that do nothing else, on one thread.
#pragma once

#include <cstddef>

namespace drpass {
namespace stages {

// FLOP/s of independent multiply-adds of the widest vectors that the chosen kernel set uses.
double peak_flops();

// Bytes/s of reading a buffer of this size again and again: the limit of whatever cache it fits.
double read_bandwidth(size_t footprint);

}  // namespace stages
}  // namespace drpass

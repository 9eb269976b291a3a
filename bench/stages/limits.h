// What this machine can do at most, measured by loops that do nothing else, on one thread or between two.
#pragma once

#include <cstddef>

namespace drpass {
namespace stages {

// FLOP/s of independent multiply-adds of the widest vectors that the chosen kernel set uses.
double peak_flops();

// Bytes/s of reading a buffer of this size again and again: the limit of whatever cache it fits.
double read_bandwidth(size_t footprint);

// Seconds in which a cache line goes to another core and back, at best; 0 where there is only one core.
// Cores that share a cache take less than 0.1 us. The host of a virtual machine may move its cores at any time.
double round_trip();

// Bytes/s at which a core reads 2 MiB that another one has just written, at best; 0 where there is only one core.
double handed_over_bandwidth();

}  // namespace stages
}  // namespace drpass

// 128 bits that stand for everything that was hashed.
#pragma once

#include <cstdint>

namespace drpass {

struct Hash128 {
  uint64_t high, low;
};

}  // namespace drpass

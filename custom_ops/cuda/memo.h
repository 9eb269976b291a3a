// Reuse across calls on CUDA: outputs of tiles whose input windows were met before in this session. An entry is a pure
// function of its key, and one call at a time uses the memo, so results depend neither on what came before nor on who calls.
#pragma once

#include "core/memo.h"
#include "cuda/dense.h"
#include "cuda/device.h"

namespace drpass::cuda {

// A set-associative store in memory of the device; all of it begins with zeros, claims with ones.
struct MemoStore {
  static constexpr int kWays = 8;

  int sets;           // 0: there is no room
  int width;          // channels of a result
  unsigned* owned;    // 1: a call has the memo
  unsigned* clock;    // calls that had it
  ulonglong2* keys;   // [set][way]
  unsigned* used;     // [set][way]: the clock at the last use; 0: empty
  unsigned* claims;   // [set][kWays]: the lowest tile of the call that wants to be kept; ~0: none
  float* results;     // [set][way][kTilePixels * width]
};

// The memo of a node.
class Memo {
 public:
  // Takes memory once, at most `bytes`, and waits until it is cleared. Where there is too little, or all memos on devices
  // would have more than kTakenBytes, it stays empty.
  Memo(const Parameters& parameters, int64_t bytes, Memory& memory);
  ~Memo();
  Memo(const Memo&) = delete;
  Memo& operator=(const Memo&) = delete;

  const MemoStore& store() const { return store_; }

 private:
  int64_t taken_ = 0;
  Scratch<char> block_;
  MemoStore store_{};
};

// Whether a memo can serve a node, if W and B are constant and there is no addend: a convolution over two axes or three, of
// one group, without clusters, by multiply-adds of float, whose results do not depend on where a tile lies in a block.
bool may_keep_tiles(const Parameters& parameters);

// Writes all outputs of one scope instance with all images, which has no addend. False, and nothing is launched, where
// sizes leave what a memo can do.
bool launch_remembered(const View& view, const Memo& memo, Device device);

}  // namespace drpass::cuda

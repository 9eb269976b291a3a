#include "cuda/memo.h"

#include <algorithm>
#include <atomic>
#include <limits>

#include "core/hyperplanes.h"
#include "cuda/cluster_scratch.h"
#include "cuda/launch.h"
#include "cuda/scan.h"

namespace drpass::cuda {
namespace {

constexpr int kThreads = kScanThreads;
constexpr int kWarps = kThreads / 32;  // a block finds as many tiles
constexpr int kWays = MemoStore::kWays;
constexpr int kMostWindow = 256;  // pixels

// What a call knows of its tiles.
struct CallView {
  TileGrid grid;
  int tiles;
  unsigned* turn;      // the clock of the memo in this call; 0: another call has it
  ulonglong2* keys;    // [tile]
  int* slots;          // [tile]: where its outputs are kept; -1: nowhere; -2 - where they are to be kept
  int* chunk_misses;   // [chunk of kThreads tiles]
  int* missing;        // [tile]: the first *missing_count: tiles that are to be computed
  int* missing_count;
};

// One call at a time has the memo; one that comes in between computes everything.
__global__ void take_kernel(MemoStore m, CallView c) {
  unsigned turn = 0;
  if (atomicCAS(m.owned, 0, 1) == 0) {
    turn = max(*m.clock + 1, 1u);
    *m.clock = turn;
  }
  *c.turn = turn;
  __threadfence();
}

__global__ void give_back_kernel(MemoStore m, CallView c) {
  __threadfence();
  if (*c.turn) atomicExch(m.owned, 0);
}

// The inputs that the outputs of a tile read, those between them included.
struct Window {
  int size[3], begin[3];  // begin: in the image, may lie in the padding
  int image, cut;         // cut: a number for how many rows and columns of outputs there are

  __device__ Window(const View& v, const TileGrid& grid, int tile) {
    const int column = tile % grid.columns * kTileEdge;
    tile /= grid.columns;
    const int row = tile % grid.rows * kTileEdge;
    tile /= grid.rows;
    const int first[3] = {tile % v.out[0], row, column};
    image = tile / v.out[0];
    const int outputs[3] = {1, min(kTileEdge, v.out[1] - row), min(kTileEdge, v.out[2] - column)};
    cut = outputs[1] * (kTileEdge + 1) + outputs[2];
#pragma unroll
    for (int slot = 0; slot < 3; ++slot) {
      size[slot] = (outputs[slot] - 1) * v.stride[slot] + (v.kernel[slot] - 1) * v.dilation[slot] + 1;
      begin[slot] = first[slot] * v.stride[slot] - v.pad[slot];
    }
  }
  __device__ int pixels() const { return size[0] * size[1] * size[2]; }

  // The pixel of the image that is pixel `i` of the window; -1 in the padding.
  __device__ int pixel(const View& v, int i) const {
    int result = 0, place[3];
#pragma unroll
    for (int slot = 2; slot >= 0; --slot) {
      place[slot] = begin[slot] + i % size[slot];
      i /= size[slot];
    }
    bool inside = true;
#pragma unroll
    for (int slot = 0; slot < 3; ++slot) {
      inside &= static_cast<unsigned>(place[slot]) < static_cast<unsigned>(v.in[slot]);
      result = result * v.in[slot] + place[slot];
    }
    return inside ? result : -1;
  }
};

// The sum over the warp.
__device__ unsigned long long add_up(unsigned long long value) {
  for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(~0u, value, step);
  return value;
}

// 128 bits for everything that the outputs depend on: the values of the window, zeros for the padding, and how many outputs
// there are. Both halves change with every single value, whatever the others are. One warp; neighbouring lanes read
// neighbours in memory, which are pixels of a plane or channels of a pixel. `pixels`: room for those of the window.
__device__ ulonglong2 hash(const View& v, const Window& window, int* pixels) {
  const int lane = threadIdx.x % 32, count = window.pixels();
  for (int i = lane; i < count; i += 32) pixels[i] = window.pixel(v, i);
  __syncwarp();
  unsigned long long low = 0, high = 0;
  const int fast = v.x_pixel == 1 ? count : v.channels, slow = v.x_pixel == 1 ? v.channels : count;
  int f = lane, s = 0;
  for (uint64_t i = lane;; i += 32) {
    for (; f >= fast && s < slow; ++s) f -= fast;
    if (s >= slow) break;
    const int pixel = pixels[v.x_pixel == 1 ? f : s], channel = v.x_pixel == 1 ? s : f;
    const int64_t place = window.image * v.x_image + v.x_offset(channel) + pixel * v.x_pixel;
    const uint64_t bits = __float_as_uint(pixel < 0 ? 0.0f : v.load(v.x, place));
    low += splitmix64(bits, i);
    high += splitmix64(bits | uint64_t{1} << 63, i);
    f += 32;
  }
  const uint64_t cut = splitmix64(window.cut, ~uint64_t{0});
  return {add_up(low) + cut, add_up(high) + cut};
}

__device__ int set_of(const MemoStore& m, ulonglong2 key) { return static_cast<int>(key.x % m.sets); }

// The slot of a key, or -1. One warp.
__device__ int find(const MemoStore& m, ulonglong2 key) {
  const int first = set_of(m, key) * kWays, way = threadIdx.x % kWays;
  // Other warps may just note that they use it; that it is not empty stays true.
  const bool kept = *static_cast<const volatile unsigned*>(m.used + first + way) != 0;
  const ulonglong2 held = m.keys[first + way];
  const unsigned vote = __ballot_sync(~0u, kept && held.x == key.x && held.y == key.y);
  return vote ? first + (__ffs(static_cast<int>(vote)) - 1) % kWays : -1;
}

// One tile a warp: is it kept? Of those that are not, one for each of kWays kinds of keys may be kept in a set: the first,
// so that what recurs within a call is kept once, and it does not matter which warp comes first.
__global__ __launch_bounds__(kThreads) void find_kernel(View v, MemoStore m, CallView c) {
  __shared__ int pixels[kWarps][kMostWindow];
  const int tile = static_cast<int>(blockIdx.x * kWarps + threadIdx.x / 32);
  if (tile >= c.tiles) return;
  const unsigned turn = *c.turn;
  int slot = -1;
  ulonglong2 key{0, 0};
  if (turn) {
    key = hash(v, Window(v, c.grid, tile), pixels[threadIdx.x / 32]);
    slot = find(m, key);
  }
  if (threadIdx.x % 32 != 0) return;
  c.slots[tile] = slot;
  if (slot >= 0) {
    atomicExch(m.used + slot, turn);
    return;
  }
  atomicAdd(c.chunk_misses + tile / kThreads, 1);
  if (!turn) return;
  c.keys[tile] = key;
  atomicMin(m.claims + set_of(m, key) * kWays + key.y % kWays, static_cast<unsigned>(tile));
}

// Lists the missing tiles in their order; a chunk a block.
__global__ __launch_bounds__(kThreads) void list_missing_kernel(CallView c) {
  const int chunk = static_cast<int>(blockIdx.x), tile = chunk * kThreads + static_cast<int>(threadIdx.x);
  int before = 0, earlier, total;
  for (int i = threadIdx.x; i < chunk; i += kThreads) before += c.chunk_misses[i];
  scan(before, &total);
  earlier = total;
  const bool misses = tile < c.tiles && c.slots[tile] < 0;
  const int place = earlier + scan(misses, &total);
  if (misses) c.missing[place] = tile;
  if (blockIdx.x == gridDim.x - 1 && threadIdx.x == 0) *c.missing_count = earlier + total;
}

// Makes room for what claims it, a set a thread: of entries that this call does not use those go that were not used for
// longest.
__global__ __launch_bounds__(kThreads) void make_room_kernel(MemoStore m, CallView c) {
  const int set = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
  const unsigned turn = *c.turn;
  if (!turn || set >= m.sets) return;
  for (int claim = set * kWays; claim < (set + 1) * kWays; ++claim) {
    const unsigned tile = m.claims[claim];
    if (tile == ~0u) continue;
    m.claims[claim] = ~0u;
    int slot = -1;
    for (int way = set * kWays; way < (set + 1) * kWays; ++way)
      if (m.used[way] != turn && (slot < 0 || m.used[way] < m.used[slot])) slot = way;
    if (slot < 0) continue;
    m.used[slot] = turn;
    m.keys[slot] = c.keys[tile];
    c.slots[tile] = -2 - slot;
  }
}

// Between the memo and Y, a tile a warp: outputs that are kept to Y, outputs that are to be kept from there.
__global__ __launch_bounds__(kThreads) void copy_kernel(View v, MemoStore m, CallView c) {
  const int tile = static_cast<int>(blockIdx.x * kWarps + threadIdx.x / 32);
  if (tile >= c.tiles || c.slots[tile] == -1) return;
  const bool kept = c.slots[tile] >= 0;
  const int64_t slot = kept ? c.slots[tile] : -2 - c.slots[tile];
  float* result = m.results + slot * kTilePixels * m.width;
  for (int i = threadIdx.x % 32; i < kTilePixels * m.width; i += 32) {
    // Neighbouring lanes have neighbours in Y.
    const int channel = v.y_pixel == 1 ? i / kTilePixels : i % m.width;
    const int pixel = c.grid.pixel(v, tile, v.y_pixel == 1 ? i % kTilePixels : i / m.width);
    if (pixel < 0) continue;
    const int64_t place = v.y_at(pixel / v.output_pixels, channel, pixel % v.output_pixels);
    if (kept)
      v.store(place, result[i]);
    else
      result[i] = v.load(v.y, place);
  }
}

// What is left of kTakenBytes on devices.
std::atomic<int64_t> left{kTakenBytes};

constexpr int64_t kHeader = 256;

}  // namespace

bool may_keep_tiles(const Parameters& p) {
  return p.method == Method::exact && p.kernel_shape.size() > 1 && p.group == 1 && !p.allow_tf32;
}

Memo::Memo(const Parameters& p, int64_t bytes, Memory& memory) {
  const bool blocked = p.y_layout == Layout::blocked;
  const int64_t width = blocked ? divide_up(p.output_channels, kPanel) * kPanel : p.output_channels;
  const int64_t result = checked_product({kTilePixels, width, static_cast<int64_t>(sizeof(float))});
  const int64_t slot = result + static_cast<int64_t>(sizeof(ulonglong2) + 2 * sizeof(unsigned));
  const int64_t most = std::numeric_limits<int32_t>::max() / kWays;
  const int64_t sets = std::min((bytes - kHeader) / kWays / slot, most), slots = sets * kWays;
  if (sets <= 0 || width > std::numeric_limits<int32_t>::max() / kTilePixels) return;
  const int64_t size = kHeader + slots * slot;
  if (left.fetch_sub(size) < size) {
    left += size;
    return;
  }
  taken_ = size;
  try {
    block_ = Scratch<char>(memory, static_cast<size_t>(size));
  } catch (const std::exception&) {
    return;  // no memory: no memo
  }
  char* at = block_.data();
  store_.owned = reinterpret_cast<unsigned*>(at);
  store_.clock = store_.owned + 1;
  store_.keys = reinterpret_cast<ulonglong2*>(at += kHeader);
  store_.results = reinterpret_cast<float*>(at += slots * static_cast<int64_t>(sizeof(ulonglong2)));
  store_.used = reinterpret_cast<unsigned*>(at += slots * result);
  store_.claims = store_.used + slots;
  store_.width = static_cast<int>(width);
  const auto bytes_of = [slots](int64_t size_of_one) { return static_cast<size_t>(slots * size_of_one); };
  check(cudaMemset(block_.data(), 0, static_cast<size_t>(kHeader) + bytes_of(sizeof(ulonglong2))), "cudaMemset");
  check(cudaMemset(store_.used, 0, bytes_of(sizeof(unsigned))), "cudaMemset");
  check(cudaMemset(store_.claims, 0xFF, bytes_of(sizeof(unsigned))), "cudaMemset");
  check(cudaStreamSynchronize(nullptr), "cudaStreamSynchronize");  // no call knows of this stream
  store_.sets = static_cast<int>(sets);
}

Memo::~Memo() { left += taken_; }

bool launch_remembered(const View& v, const Memo& memo, Device device) {
  const MemoStore& m = memo.store();
  CallView c{};
  c.grid = {static_cast<int>(divide_up(v.out[1], kTileEdge)), static_cast<int>(divide_up(v.out[2], kTileEdge))};
  const int64_t tiles = static_cast<int64_t>(v.images) * v.out[0] * c.grid.rows * c.grid.columns;
  int64_t window = 1;
  for (int slot = 0; slot < 3; ++slot) {
    const int64_t outputs = slot == 0 ? 1 : std::min(kTileEdge, v.out[slot]);
    const int64_t size = (outputs - 1) * v.stride[slot] + static_cast<int64_t>(v.kernel[slot] - 1) * v.dilation[slot] + 1;
    if (size > kMostWindow) return false;
    window *= size;
  }
  if (m.sets == 0 || window > kMostWindow || tiles * kTilePixels > std::numeric_limits<int32_t>::max()) return false;
  c.tiles = static_cast<int>(tiles);
  const int64_t chunks = divide_up(tiles, kThreads);
  auto keys = make_scratch<ulonglong2>(device.memory, {tiles});
  auto numbers = make_scratch<int>(device.memory, {2 * tiles + chunks + 2});
  c.keys = keys.data();
  c.slots = numbers.data();
  c.missing = c.slots + tiles;
  c.chunk_misses = c.missing + tiles;
  c.missing_count = c.chunk_misses + chunks;
  c.turn = reinterpret_cast<unsigned*>(c.missing_count + 1);
  void* stream = device.stream;
  fill(c.chunk_misses, 0, chunks * static_cast<int64_t>(sizeof(int)), stream);
  launch("memo take", take_kernel, 1, 1, stream, m, c);
  launch("memo find", find_kernel, divide_up(tiles, kWarps), kThreads, stream, v, m, c);
  launch("memo list", list_missing_kernel, chunks, kThreads, stream, c);
  launch("memo make room", make_room_kernel, divide_up(m.sets, kThreads), kThreads, stream, m, c);
  launch_dense_tiles(v, {c.grid, c.missing, c.missing_count}, tiles, stream);
  launch("memo copy", copy_kernel, divide_up(tiles, kWarps), kThreads, stream, v, m, c);
  launch("memo give back", give_back_kernel, 1, 1, stream, m, c);
  return true;
}

}  // namespace drpass::cuda

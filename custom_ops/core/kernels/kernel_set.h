// The vectorised stages of the operator, one table of functions per instruction set, and the choice among them.
#pragma once

#include <cstdint>

#include "core/parameters.h"

namespace drpass {

// Output pixels are worked on in tiles of this many; a multiple of every kernel set's `rows`.
constexpr int64_t kTile = 96;
// Clusters whose table rows are computed at a time.
constexpr int64_t kTableChunk = 128;
// Pixels are hashed in blocks of this many.
constexpr int64_t kBlock = 256;
// The widest vector of any kernel set: planes given to the hash are readable for at least this many values.
constexpr int64_t kMinimumPlane = 16;
// `grid` cells are 16-bit: |x * inverse| must be smaller than this.
constexpr float kCellLimit = 32767.0f;

// Dense stage: acc[row][16 * panels] += patch[k][row] * weights[panel][k][16], k in order, for kTile rows.
struct DenseBlock {
  const float* patch;       // [depth][kTile]
  const float* weights;     // panel 0; [depth][16]
  int64_t panel_stride;     // floats between panels
  int64_t depth, panels;
  int64_t rows;             // rows that matter; those up to the next multiple of KernelSet::rows are scratch
  float* acc;               // [kTile][ld]
  int64_t ld;
  bool first;               // start from zero instead of from acc
};

// Table stage: table[cluster][tap][16 * panels] = centroids[cluster][l] * weights[panel][tap][l][16], either in float
// or, where inverse_scale is given, as round_to_nearest_even(value * inverse_scale[column]) in 16 bits.
struct TableBlock {
  const float* centroids;  // [clusters][length]
  int64_t clusters, length;  // clusters <= kTableChunk
  const float* weights;    // panel 0, tap 0, first channel of the sub-vector; rows of 16
  int64_t panel_stride, tap_stride;
  int64_t taps, panels, width;  // width: elements of a row, at least 16 * panels
  const float* inverse_scale;   // [16 * panels] or null
  void* table;
};

// The table of one sub-vector group and the rows that the input pixels use, in a grid that includes the padding.
struct TableView {
  const void* table;  // [rows][taps][width]; row 0 is zero and serves the padding
  const int32_t* rows;
};

// Reconstruction stage: acc[pixel][width] += the rows of all tables (in order) and taps (in order).
struct RowSums {
  const TableView* tables;
  int64_t table_count;
  const int32_t* base;       // [pixels]: grid index of the first tap
  const int32_t* tap_delta;  // [taps]: from there to the others
  int64_t taps, pixels, width;  // width is a multiple of 16, with 16-bit tables of 32
  const float* scale;           // [width]: unit of 16-bit tables; null for tables of float
  int64_t span;                 // tables whose 16-bit rows are added before the sum is widened
  float* acc;                   // [pixels][width]
  bool first;
};

// Last stage, for pixels of one image:
// y[m * y_channel + i * y_pixel] = activation(acc[i][m] + bias[m] + addend[m * addend_channel + addend_pixel[i]])
struct Epilogue {
  const float* acc;  // [pixels][ld]
  int64_t ld, pixels, outputs;
  const float* bias;    // or null
  const float* addend;  // or null; the image's first element for output 0
  int64_t addend_channel;
  const int64_t* addend_pixel;  // [pixels]
  Activation activation;
  float params[2];
  float* y;
  int64_t y_channel, y_pixel;
};

// Local response normalisation of some pixels of one image, as ONNX LRN defines it:
// y[c] = x[c] / (bias + scale * sum of x^2 over channels [c - before, c + after])^beta
struct LrnBlock {
  const float* x;  // channel 0 of the first pixel; pixels are neighbours
  float* y;
  int64_t channels, channel_stride, pixels;
  int64_t before, after;
  float scale, bias, beta;
};

struct KernelSet {
  const char* name;
  int64_t rows;  // output pixels per dense micro-kernel; divides kTile
  // sums[0..7] += x, sums[8..15] += x * x, value i into lane i % 8.
  void (*moments)(const float* x, int64_t count, int64_t stride, double* sums);
  // The hashes read planes[length][max(count, kMinimumPlane)], count <= kBlock, and write halves[...][kBlock].
  // grid: (length + 1) / 2 halves of two 16-bit cells; false if some |x * inverse| is not below kCellLimit.
  bool (*grid_signature)(const float* const* planes, int64_t length, int64_t count, float inverse, uint32_t* halves);
  // lsh: two halves; hyperplanes are [bits][stride].
  void (*lsh_signature)(const float* const* planes, int64_t length, int64_t count, const float* hyperplanes,
                        int64_t stride, int64_t bits, uint32_t* halves);
  void (*dense)(const DenseBlock& block);
  void (*build_table)(const TableBlock& block);
  void (*add_rows)(const RowSums& sums);
  void (*epilogue)(const Epilogue& epilogue);
  void (*lrn)(const LrnBlock& block);
};

// Name of the environment variable that forces a kernel set: reference, portable, avx2 or avx512.
constexpr const char* kKernelVariable = "DRPASS_KERNELS";

// The kernel set to use now: the one that the environment variable names, else the best that this CPU can run; null
// stands for the scalar reference. Throws std::invalid_argument where the named one is unknown or can't run here.
const KernelSet* choose_kernels();

}  // namespace drpass

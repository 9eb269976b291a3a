// The vectorised stages of the operator, one table of functions per instruction set, and the choice among them.
#pragma once

#include <cstdint>
#include <utility>

#include "core/hash128.h"
#include "core/parameters.h"

namespace drpass {

// Output pixels are worked on in tiles of this many.
constexpr int64_t kTile = 112;
// Clusters whose table rows are computed at a time.
constexpr int64_t kTableChunk = 128;
// Pixels are hashed in blocks of this many.
constexpr int64_t kBlock = 256;
// The widest vector of any kernel set: planes given to the hash are readable for at least this many values, and lists
// of rows for so many past their end.
constexpr int64_t kMinimumPlane = 16;
// `grid` cells are 16-bit: |x * inverse| must be smaller than this.
constexpr float kCellLimit = 32767.0f;

// Sums for the cell edge: sums[c][p % 8] += x, sums[c][8 + p % 8] += x * x for the pixels p of every channel c.
struct Moments {
  const float* x;
  int64_t channels, channel_stride, pixels, pixel_stride;  // one of the strides is 1
  double* sums;  // [channels][16]
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

// Lists of table rows for tap 0, without those that are zero, in a grid that includes the padding: those of a place are
// rows[place * stride + i] for i < counts[place].
struct RowLists {
  const int32_t *rows, *counts;
  int64_t stride;
};

// The same stage by lists: acc[pixel][width] += the listed rows of all taps (in order).
struct ListedRowSums {
  const void* tables;  // [rows][width]: those of a cluster lie side by side, one for each tap
  RowLists lists;
  const int32_t* base;       // [pixels]: grid index of the first tap
  const int32_t* tap_delta;  // [taps]: from there to the others
  int64_t taps, pixels, width;
  const float* scale;  // as above
  float* acc;          // [pixels][width]
  bool first;
  int32_t* rows;  // scratch: taps * stride + kMinimumPlane
};

// Last stage, for pixels of one image: activation(acc[i][m] + bias[m] + addend(m, i)) goes to y[m * y_channel + i], or
// with y_rows to y[m / 16 * y_panel + m % 16 + i * y_pixel]. The addend lies at
// addend[m / 16 * addend_panel + m % 16 * addend_channel + addend_pixel[i]].
struct Epilogue {
  const float* acc;  // [pixels][ld]
  int64_t ld, pixels, outputs;
  const float* bias;    // or null
  const float* addend;  // or null; the image's first element for output 0
  int64_t addend_panel, addend_channel;
  const int64_t* addend_pixel;  // [pixels]
  Activation activation;
  float params[2];
  float* y;
  bool y_rows, y_padded;  // y_padded: lanes of the last panel past `outputs` are set to zero
  int64_t y_channel, y_panel, y_pixel;
};

// Dense stage: acc[row][16 * panels] += patch[k][row] * weights[panel][k][16], k in order. Value (k, row) of the patch is
// patch[lines[k] + row], or in blocks patch[k / 16 * patch_stride + row * 16 + k % 16].
struct DenseBlock {
  const float* patch;
  const int32_t* lines;  // [depth]; null: in blocks
  int64_t patch_stride;
  const float* weights;     // panel 0; [depth][16]
  int64_t panel_stride;     // floats between panels
  int64_t weight_row;       // floats between the weights of neighbouring k
  int64_t depth, panels;
  int64_t rows;
  float* acc;               // [rows][ld]
  int64_t ld;
  bool first;               // start from zero instead of from acc
  // Not null: the sums are complete and go to Y through this instead of to acc. Rows of whole panels, or in blocks, where
  // lanes past the outputs become zero; an addend lies as Y does.
  const Epilogue* finish;
};

// Lists of what is not zero: the values of one pixel's window, and where the weights of each of them lie.
struct NonzeroWindow {
  const float* x;
  const int64_t* taps;  // [tap_count]: where in x the first channel of a tap lies; -1: in the padding
  int64_t tap_count, x_block;  // x_block: between blocks of 16 channels
  int64_t channels;
  int32_t row;       // floats between the weights of neighbouring channels
  int32_t tap_rows;  // floats between those of neighbouring taps
  float* values;     // room for all of the window and kPanel more
  int32_t* offsets;  // as many
};

// Panels of outputs that the product of lists computes at a time.
constexpr int64_t kSparsePanels = 4;

// acc[pixel][16 * panels] += values[e] * weights[offsets[e]], for e in [ends[pixel], ends[pixel + 1]).
struct SparseBlock {
  const float* weights;
  const float* values;
  const int32_t* offsets;
  const int32_t* ends;     // [pixels + 1]
  int64_t pixels, panels;  // panels <= kSparsePanels
  float* acc;              // [pixels][ld]
  int64_t ld;
  bool first;  // start from zero instead of from acc
};

// Outputs of fully connected layers are packed in wide panels of this many: pieces of weights that are read on their own
// are long enough for the memory.
constexpr int64_t kWidePanel = 256;

// acc[j] += values[i] * w[offsets[i] + j] for j < kWidePanel, i in order.
struct WeightRowSums {
  const float* w;
  const float* values;
  const int32_t* offsets;
  int64_t count;
  float* acc;  // [kWidePanel]
};

// The weights of some channels of some panels, row by row: target[tap][channel][row].
struct WeightRows {
  const float* w;  // panel 0, tap 0, first channel
  int64_t panel_stride, tap_stride;
  int64_t taps, channels, panels;
  int64_t row, tap_rows;  // floats between channels and between taps of target
  float* target;
};

// Tiles side by side whose windows are transformed together, at most.
constexpr int64_t kStripTiles = 4;

// Winograd, input stage: the n x n windows of tiles side by side (4 pixels apart), for all blocks of 16 channels; point
// (i, j) of block k of tile t goes to v[(i * n + j) * point_stride + k * v_block + t * 16], 16 values.
struct WinogradInput {
  int64_t window;  // n: 6 for kernels of 3 x 3, 8 for 5 x 5
  int64_t tiles;   // <= kStripTiles
  const float* x;  // pixel (0, 0) of the first window, which may lie outside of the image
  int64_t row_stride, x_block, blocks;
  int64_t top, bottom, left, right;  // the part of all windows together that lies in the image; the rest is zero
  float* v;
  int64_t point_stride, v_block;
};

// Weight stage, for one panel: u[(i * n + j) * point_stride + c * 16] from w[tap * tap_stride + c * 16].
struct WinogradWeights {
  int64_t window;
  const float* w;
  int64_t tap_stride, channels;
  float* u;
  int64_t point_stride, channel_stride;  // of u
};

// Output stage, for one tile and panel: the rows x columns first of the 4 x 4 outputs, with bias, addend and
// activation. Returns false if an output was not finite before those.
struct WinogradOutput {
  int64_t window;
  const float* products;  // point (i, j) at (i * n + j) * point_stride, 16 values
  int64_t point_stride;
  int64_t rows, columns;
  const float* bias;    // [16] or null
  const float* addend;  // as y, or null
  Activation activation;
  float params[2];
  float* y;  // 16 values a pixel
  int64_t row_stride;
};

// Pooling: one output row of a block of 16 channels, from `rows` input rows.
struct PoolRow {
  bool average;
  const float* x;  // the first of those rows
  int64_t row_stride, rows, width;
  int64_t ahead;  // rows behind those, which the next output row reads, too
  int64_t outputs, kernel, stride, pad;  // along the row
  int64_t count;  // divisor of an average; 0: the values that are there
  float* y;
};

// Depthwise convolution: one output row of a block of 16 channels.
struct DepthwiseRow {
  const float* x;  // the first input row that a tap reads
  int64_t row_stride, rows, width;  // between the rows that taps read; how many of these lie in the image
  int64_t outputs, kernel, stride, dilation, pad;  // along the row
  const float* w;     // [rows][kernel][16]
  const float* bias;  // [16]
  Activation activation;
  float params[2];
  float* y;
};

// Local response normalisation of some pixels of one image, as ONNX LRN defines it:
// y[c] = x[c] / (bias + scale * sum of x^2 over channels [c - before, c + after])^beta
struct LrnBlock {
  const float* x;  // channel 0 of the first pixel; pixels are neighbours
  float* y;
  int64_t channels, channel_stride, pixels;  // in blocks: channel_stride is between blocks
  bool blocked;
  int64_t before, after;
  float scale, bias, beta;
  float* squares;  // in blocks: [kLrnPixels][lrn_line()] zeros, for scratch
};

// Pixels whose squares are held at a time, and the values of one of them: zeros stand before and behind its channels.
constexpr int64_t kLrnPixels = 8;
// Static, because every instruction set must compile its own.
static inline int64_t lrn_line(const LrnBlock& b) {
  return b.before + (b.channels + kPanel - 1) / kPanel * kPanel + b.after;
}

struct KernelSet {
  const char* name;
  void (*moments)(const Moments& channels);
  // The hashes read planes[length][max(count, kMinimumPlane)], count <= kBlock, and write halves[...][kBlock].
  // grid: (length + 1) / 2 halves of two 16-bit cells; false if some |x * inverse| is not below kCellLimit.
  bool (*grid_signature)(const float* const* planes, int64_t length, int64_t count, float inverse, uint32_t* halves);
  // lsh: two halves; hyperplanes are [bits][stride].
  void (*lsh_signature)(const float* const* planes, int64_t length, int64_t count, const float* hyperplanes,
                        int64_t stride, int64_t bits, uint32_t* halves);
  void (*dense)(const DenseBlock& block);
  int64_t (*list_nonzeros)(const NonzeroWindow& window);  // how many there are
  bool (*copy_weight_rows)(const WeightRows& rows);       // are all of them finite
  void (*add_nonzeros)(const SparseBlock& block);
  void (*add_weight_rows)(const WeightRowSums& sums);
  void (*build_table)(const TableBlock& block);
  void (*add_rows)(const RowSums& sums);
  void (*add_listed_rows)(const ListedRowSums& sums);
  void (*epilogue)(const Epilogue& epilogue);
  void (*winograd_input)(const WinogradInput& tile);
  // Of the part of the window that lies in the image, and of where that part is; v is not used.
  Hash128 (*winograd_hash)(const WinogradInput& tile);
  void (*winograd_weights)(const WinogradWeights& panel);
  bool (*winograd_output)(const WinogradOutput& tile);
  // planes[c * plane_stride + i] = blocks[i * 16 + c] for c < channels, and back (lanes from `channels` on become zero).
  void (*to_planes)(const float* blocks, int64_t pixels, int64_t channels, float* planes, int64_t plane_stride);
  void (*to_blocks)(const float* planes, int64_t plane_stride, int64_t pixels, int64_t channels, float* blocks);
  void (*pool_row)(const PoolRow& row);
  void (*depthwise_row)(const DepthwiseRow& row);
  void (*lrn)(const LrnBlock& block);
};

// Name of the environment variable that forces a kernel set: reference, portable, avx2 or avx512.
constexpr const char* kKernelVariable = "DRPASS_KERNELS";

// The kernel set to use now: the one that the environment variable names, else the best that this CPU can run; null
// stands for the scalar reference. Throws std::invalid_argument where the named one is unknown or can't run here.
const KernelSet* choose_kernels();

}  // namespace drpass

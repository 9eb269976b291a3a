// How a block multiplies the tiles of X and W that are in shared memory. A product is a class with
//   kXPad, kWPad                    floats behind the rows of the tiles, so that what is read together lies in different banks
//   static float factor(float)      what of an element of X or W goes into shared memory
//   void add(x, w)                  adds the products of x[kDepth][pixel] and w[kDepth][output]
//   void put(first, count, rows)    writes outputs [first, first + count) to rows[output - first][pixel]
#pragma once

#include "cuda/tensor_cores.h"

namespace drpass::cuda {

constexpr int kDenseThreads = 256;
constexpr int kDepth = 16;  // rows of the product that are in shared memory at a time

// Fused multiply-adds of float. A thread has kQuads times 4 neighbouring pixels of 4 neighbouring outputs. A warp has
// 32 * kQuads pixels of 16 outputs, so that it reads each value in shared memory once and writes whole lines of planes.
template <int kPixels, int kOutputs>
class FusedProduct {
  static constexpr int kColumns = kOutputs / 16, kQuads = kPixels * kColumns / kDenseThreads;

 public:
  static constexpr int kXPad = 4, kWPad = 0;

  __device__ FusedProduct() {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    pixel_ = warp / kColumns * 32 * kQuads + lane % 8 * 4;
    output_ = warp % kColumns * 16 + lane / 8 * 4;
  }

  __device__ static float factor(float value) { return value; }

  __device__ void add(const float (*x)[kPixels + kXPad], const float (*w)[kOutputs + kWPad]) {
#pragma unroll
    for (int depth = 0; depth < kDepth; ++depth) {
      const float4 column = *reinterpret_cast<const float4*>(&w[depth][output_]);
#pragma unroll
      for (int q = 0; q < kQuads; ++q) {
        const float4 row = *reinterpret_cast<const float4*>(&x[depth][pixel_ + 32 * q]);
        const float xs[4] = {row.x, row.y, row.z, row.w}, ws[4] = {column.x, column.y, column.z, column.w};
#pragma unroll
        for (int i = 0; i < 4; ++i)
#pragma unroll
          for (int j = 0; j < 4; ++j) sum_[q][i][j] = fmaf(xs[i], ws[j], sum_[q][i][j]);
      }
    }
  }

  __device__ void put(int first, int count, float (*rows)[kPixels + kXPad]) const {
    if (output_ / count * count != first) return;
#pragma unroll
    for (int q = 0; q < kQuads; ++q)
#pragma unroll
      for (int j = 0; j < 4; ++j)
        *reinterpret_cast<float4*>(&rows[output_ - first + j][pixel_ + 32 * q]) =
            make_float4(sum_[q][0][j], sum_[q][1][j], sum_[q][2][j], sum_[q][3][j]);
  }

 private:
  int pixel_, output_;
  float sum_[kQuads][4][4] = {};
};

// Tensor cores: factors rounded to TF32, which every float16 is already, sums in float. A warp has kHeight pixels of
// kWidth outputs, in tiles of 16 times 8.
template <int kPixels, int kOutputs, int kHeight = 32>
class TensorProduct {
  static constexpr int kWidth = kPixels * kOutputs / kHeight / (kDenseThreads / 32), kColumns = kOutputs / kWidth;
  static constexpr int kTilesX = kHeight / 16, kTilesW = kWidth / 8;

 public:
  static constexpr int kXPad = 8, kWPad = 8;

  __device__ TensorProduct() {
    const int warp = threadIdx.x / 32;
    pixel_ = warp / kColumns * kHeight;
    output_ = warp % kColumns * kWidth;
  }

  __device__ static float factor(float value) { return to_tf32(value); }

  // Of the first `count` rows, rounded up to 8.
  __device__ void add(const float (*x)[kPixels + kXPad], const float (*w)[kOutputs + kWPad], int count = kDepth) {
    const int row = threadIdx.x % 32 / 4, column = threadIdx.x % 4;
#pragma unroll
    for (int depth = 0; depth < kDepth; depth += 8) {
      if (depth >= count) break;
      float xs[kTilesX][4], ws[kTilesW][2];
#pragma unroll
      for (int i = 0; i < kTilesX; ++i)
#pragma unroll
        for (int e = 0; e < 4; ++e) xs[i][e] = x[depth + column + e / 2 * 4][pixel_ + 16 * i + row + e % 2 * 8];
#pragma unroll
      for (int j = 0; j < kTilesW; ++j)
#pragma unroll
        for (int e = 0; e < 2; ++e) ws[j][e] = w[depth + column + 4 * e][output_ + 8 * j + row];
#pragma unroll
      for (int i = 0; i < kTilesX; ++i)
#pragma unroll
        for (int j = 0; j < kTilesW; ++j) multiply_tiles(xs[i], ws[j], sum_[i][j]);
    }
  }

  // Calls body(pixel, output, sums of this output and the next).
  template <typename Body>
  __device__ void for_each(const Body& body) const {
    const int row = threadIdx.x % 32 / 4, column = threadIdx.x % 4 * 2;
#pragma unroll
    for (int i = 0; i < kTilesX; ++i)
#pragma unroll
      for (int j = 0; j < kTilesW; ++j)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const float sums[2] = {sum_[i][j][2 * half], sum_[i][j][2 * half + 1]};
          body(pixel_ + 16 * i + row + half * 8, output_ + 8 * j + column, sums);
        }
  }

  __device__ void put(int first, int count, float (*rows)[kPixels + kXPad]) const {
    if (output_ / count * count != first) return;
    for_each([&](int pixel, int output, const float (&sums)[2]) {
      rows[output - first][pixel] = sums[0];
      rows[output - first + 1][pixel] = sums[1];
    });
  }

 private:
  int pixel_, output_;
  float sum_[kTilesX][kTilesW][4] = {};
};

}  // namespace drpass::cuda

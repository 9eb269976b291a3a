// The attributes of a DeepReuseGemm node (docs/operator.md), as plain data. CPU and CUDA read the same struct.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace drpass {

enum class Method { exact, lsh, grid };
enum class Scope { image, batch };
enum class TableType { float32, int16 };
enum class AutoPad { notset, valid, same_upper, same_lower };
// How a tensor lies in memory: planes of pixels, or blocks of 16 channels as [N, ceil(C/16), spatial, 16].
enum class Layout { planes, blocked };
enum class Activation { none, relu, leaky_relu, clip, hard_sigmoid, hard_swish, sigmoid, silu };

// Outputs are packed and computed in panels of this many channels, whatever the instruction set.
constexpr int64_t kPanel = 16;

struct Parameters {
  int64_t output_channels = 0;
  std::vector<int64_t> kernel_shape;  // empty: matrix form
  std::vector<int64_t> strides, dilations, pads;
  AutoPad auto_pad = AutoPad::notset;
  int64_t group = 1;
  bool trans_a = false;
  Layout x_layout = Layout::planes, y_layout = Layout::planes;

  Method method = Method::exact;
  Scope scope = Scope::image;
  int64_t sub_vector_length = 4;
  float step = 0.03f;
  int64_t hash_bits = 16;
  uint64_t seed = 0;
  float max_remaining_ratio = 0.5f;
  TableType table_type = TableType::float32;
  bool winograd = true;
  bool skip_zeros = true;
  bool allow_tf32 = false;  // only CUDA has it
  int64_t memo_bytes = 0;

  Activation activation = Activation::none;
  std::array<float, 2> activation_params{};
};

}  // namespace drpass

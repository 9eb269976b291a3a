#include "core/tile.h"

#include <algorithm>

namespace drpass {

void finish_tile(const Call& call, const Instance& instance, const Tile& tile, int64_t group, int64_t first_output,
                 int64_t outputs, const float* acc, int64_t ld) {
  const Geometry& g = call.geometry;
  const Tensors& t = call.tensors;
  const int64_t channel = group * g.group_outputs() + first_output;
  const bool blocked = g.y_layout == Layout::blocked;
  // In blocks the addend has the shape of Y.
  const int64_t addend_channel = blocked ? 1 : t.addend.channel_stride;
  const int64_t addend_panel = blocked ? g.y_channel : kPanel * t.addend.channel_stride;
  int64_t addend_pixel[kTile];
  for (int64_t begin = 0, end; begin < tile.count; begin = end) {  // one image after the other
    const int64_t image = (tile.first + begin) / g.output_pixels(), pixel = (tile.first + begin) % g.output_pixels();
    end = std::min(tile.count, begin + g.output_pixels() - pixel);
    if (t.addend.data)
      for (int64_t i = begin; i < end; ++i)
        addend_pixel[i - begin] = t.addend.offset(g, instance.first_image + image, 0, pixel + i - begin);
    Epilogue e;
    e.acc = acc + begin * ld;
    e.ld = ld;
    e.pixels = end - begin;
    e.outputs = outputs;
    e.bias = t.bias ? t.bias + channel : nullptr;
    e.addend = t.addend.data ? t.addend.data + channel / kPanel * addend_panel + channel % kPanel * addend_channel : nullptr;
    e.addend_panel = addend_panel;
    e.addend_channel = addend_channel;
    e.addend_pixel = addend_pixel;
    e.activation = call.parameters.activation;
    e.params[0] = call.parameters.activation_params[0];
    e.params[1] = call.parameters.activation_params[1];
    e.y = t.y + (instance.first_image + image) * g.y_image + g.y_offset(channel) + pixel * g.y_pixel;
    e.y_rows = blocked || !g.convolution;
    e.y_padded = blocked;
    e.y_channel = g.y_channel;
    e.y_panel = blocked ? g.y_channel : kPanel;
    e.y_pixel = g.y_pixel;
    call.kernels.epilogue(e);
  }
}

}  // namespace drpass

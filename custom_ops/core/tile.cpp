#include "core/tile.h"

#include <algorithm>

namespace drpass {

namespace {

// All of the epilogue but the sums and the addend, for pixels of one image from `pixel` on.
Epilogue make_epilogue(const Call& call, int64_t image, int64_t pixel, int64_t pixels, int64_t channel,
                       int64_t outputs) {
  const Geometry& g = call.geometry;
  const bool blocked = g.y_layout == Layout::blocked;
  Epilogue e{};
  e.pixels = pixels;
  e.outputs = outputs;
  e.bias = call.tensors.bias ? call.tensors.bias + channel : nullptr;
  e.activation = call.parameters.activation;
  e.params[0] = call.parameters.activation_params[0];
  e.params[1] = call.parameters.activation_params[1];
  e.y = call.tensors.y + image * g.y_image + g.y_offset(channel) + pixel * g.y_pixel;
  e.y_rows = blocked || !g.convolution;
  e.y_padded = blocked;
  e.y_channel = g.y_channel;
  e.y_panel = blocked ? g.y_channel : kPanel;
  e.y_pixel = g.y_pixel;
  return e;
}

}  // namespace

std::optional<Epilogue> direct_epilogue(const Call& call, const Instance& instance, const Tile& tile, int64_t group,
                                        int64_t first_output, int64_t outputs) {
  const Geometry& g = call.geometry;
  const int64_t image = tile.first / g.output_pixels(), last = (tile.first + tile.count - 1) / g.output_pixels();
  const bool rows = g.y_layout == Layout::blocked || !g.convolution;
  const float* addend = call.tensors.addend.data;
  const bool alike = !addend || g.y_layout == Layout::blocked;  // an addend in blocks lies as Y does
  const bool whole = outputs % kPanel == 0 || g.y_layout == Layout::blocked;  // else it would write past the outputs
  if (!rows || !alike || !whole || image != last) return std::nullopt;
  Epilogue e = make_epilogue(call, instance.image(image), tile.first % g.output_pixels(), tile.count,
                             group * g.group_outputs() + first_output, outputs);
  if (addend) e.addend = addend + (e.y - call.tensors.y);
  return e;
}

void finish_tile(const Call& call, const Instance& instance, const Tile& tile, int64_t group, int64_t first_output,
                 int64_t outputs, const float* acc, int64_t ld) {
  const Geometry& g = call.geometry;
  const StageTimer timer(call.stages, Stage::epilogue);
  const Addend& addend = call.tensors.addend;
  const int64_t channel = group * g.group_outputs() + first_output;
  const bool blocked = g.y_layout == Layout::blocked;  // the addend has the shape of Y then
  int64_t addend_pixel[kTile];
  for (int64_t begin = 0, end; begin < tile.count; begin = end) {  // one image after the other
    const int64_t image = instance.image((tile.first + begin) / g.output_pixels());
    const int64_t pixel = (tile.first + begin) % g.output_pixels();
    end = std::min(tile.count, begin + g.output_pixels() - pixel);
    Epilogue e = make_epilogue(call, image, pixel, end - begin, channel, outputs);
    e.acc = acc + begin * ld;
    e.ld = ld;
    if (addend.data) {
      for (int64_t i = 0; i < end - begin; ++i) addend_pixel[i] = addend.offset(g, image, 0, pixel + i);
      e.addend_channel = blocked ? 1 : addend.channel_stride;
      e.addend_panel = blocked ? g.y_channel : kPanel * addend.channel_stride;
      e.addend = addend.data + channel / kPanel * e.addend_panel + channel % kPanel * e.addend_channel;
      e.addend_pixel = addend_pixel;
    }
    call.kernels.epilogue(e);
  }
}

}  // namespace drpass

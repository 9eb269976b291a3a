#include "cuda/view.h"

#include <stdexcept>

#include "core/geometry.h"
#include "core/tensors.h"
#include "cuda/launch.h"

namespace drpass::cuda {
namespace {

AddendView make_addend_view(const Addend& addend) {
  AddendView view{};
  view.data = addend.data;
  view.channel_stride = addend.channel_stride;
  for (int slot = 0; slot < 3; ++slot) view.pixel_stride[slot] = addend.pixel_stride[slot];
  for (size_t axis = 0; axis < addend.image_size.size(); ++axis) {
    const int64_t size = addend.image_size[axis], stride = addend.image_stride[axis];
    if (size == 1) continue;
    const int last = view.axes - 1;
    if (last >= 0 && view.stride[last] == stride * size) {  // also where both broadcast: 0 == 0
      view.size[last] *= size;
      view.stride[last] = stride;
      continue;
    }
    if (view.axes == kAddendAxes)
      throw std::invalid_argument("A broadcasts along too many separate axes for CUDA; the limit is " +
                                  std::to_string(kAddendAxes));
    view.size[view.axes] = size;
    view.stride[view.axes++] = stride;
  }
  return view;
}

}  // namespace

View make_view(const Parameters& p, const Geometry& g, const Tensors& t, int64_t instance_images) {
  View v{};
  v.images = narrow(g.images);
  v.channels = narrow(g.channels);
  v.groups = narrow(g.groups);
  v.group_channels = narrow(g.group_channels());
  v.group_outputs = narrow(g.group_outputs());
  v.panels = narrow(g.panels());
  v.taps = narrow(g.taps());
  narrow(checked_product({g.taps(), g.group_channels()}));  // rows of the packed weights of a panel
  for (int slot = 0; slot < 3; ++slot) {
    v.in[slot] = narrow(g.in[slot]);
    v.out[slot] = narrow(g.out[slot]);
    v.kernel[slot] = narrow(g.kernel[slot]);
    v.stride[slot] = narrow(g.stride[slot]);
    v.dilation[slot] = narrow(g.dilation[slot]);
    v.pad[slot] = narrow(g.pad[slot]);
    // Positions in the padded input are computed in 32 bits.
    narrow((g.out[slot] - 1) * g.stride[slot] + (g.kernel[slot] - 1) * g.dilation[slot]);
  }
  v.pixels = narrow(g.pixels());
  v.output_pixels = narrow(g.output_pixels());
  narrow(checked_product({g.images, g.output_pixels()}));
  v.instance_images = narrow(instance_images);
  v.scopes = instance_images == 0 ? 0 : narrow(g.images / instance_images);
  v.x_image = g.x_image;
  v.x_channel = g.x_channel;
  v.x_pixel = g.x_pixel;
  v.y_image = g.y_image;
  v.y_channel = g.y_channel;
  v.y_pixel = g.y_pixel;
  v.x_blocked = g.x_layout == Layout::blocked;
  v.y_blocked = g.y_layout == Layout::blocked;
  v.half = t.half;
  v.tf32 = p.allow_tf32;
  v.x = t.x;
  v.w = t.w;
  v.bias = t.bias;
  v.y = t.y;
  v.sums = t.half ? nullptr : t.y;
  v.addend = make_addend_view(t.addend);
  v.activation = p.activation;
  for (int i = 0; i < 2; ++i) v.activation_params[i] = p.activation_params[i];
  return v;
}

}  // namespace drpass::cuda

#include <algorithm>
#include <cmath>

#include "core/cluster.h"

namespace drpass {
namespace {

// The most channels whose sums are taken together. Few planes are enough to hide the latency of their sums; a line of
// blocks should be read once.
constexpr int64_t kMostChannels = kPanel, kPlanes = 4;

double add_up(const double* s) { return ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7])); }

// Sums over the scope's pixels of the squared distances from the channels' means, divided by the number of pixels.
void channel_variances(const Call& call, const Instance& instance, int64_t channel, int64_t count, double* variances) {
  const Geometry& g = call.geometry;
  const int64_t next = g.x_layout == Layout::blocked ? 1 : g.x_channel;
  double sum[kMostChannels] = {}, squares[kMostChannels] = {};
  for (int64_t i = 0; i < instance.images; ++i) {
    const int64_t image = instance.image(i);
    double s[kMostChannels * 16] = {};
    call.kernels.moments({call.tensors.x + image * g.x_image + g.x_offset(channel), count, next, g.pixels(), g.x_pixel, s});
    for (int64_t c = 0; c < count; ++c) {
      sum[c] += add_up(s + c * 16);
      squares[c] += add_up(s + c * 16 + 8);
    }
  }
  const double n = static_cast<double>(instance.images * g.pixels());
  for (int64_t c = 0; c < count; ++c) variances[c] = (squares[c] - sum[c] * sum[c] / n) / n;
}

}  // namespace

float cell_edge(const Call& call, const Instance& instance, Executor& executor) {
  const int64_t channels = call.geometry.channels;
  const int64_t together = call.geometry.x_pixel == 1 ? kPlanes : kMostChannels;
  Scratch<double> variances(call.memory, channels);
  executor.run(divide_up(channels, together), [&](size_t index) {
    const StageTimer timer(call.stages, Stage::hash);
    const int64_t channel = static_cast<int64_t>(index) * together;
    channel_variances(call, instance, channel, std::min(together, channels - channel), variances.data() + channel);
  });
  double sum = 0;
  for (int64_t channel = 0; channel < channels; ++channel) sum += variances[channel];
  return static_cast<float>(call.parameters.step * std::sqrt(sum / static_cast<double>(channels)));
}

}  // namespace drpass

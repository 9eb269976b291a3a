#include "core/reference.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>

#include "core/activation.h"
#include "core/hyperplanes.h"
#include "core/table_scale.h"

namespace drpass {
namespace {

using Vector = std::vector<float>;

// One scope instance: images [first, first + count).
struct Instance {
  int64_t first, count;
};

// Clusters of one sub-vector group: the id of every pixel of the scope and a centroid for every id.
struct Clustering {
  std::vector<int64_t> ids;
  std::vector<Vector> centroids;
};

struct Reference {
  const Parameters& p;
  const Geometry& g;
  const Tensors& t;

  float x(int64_t image, int64_t channel, int64_t pixel) const {
    return t.x[image * g.x_image + g.x_offset(channel) + pixel * g.x_pixel];
  }

  // Weight of output m (within the group) for input channel c (within the group) and tap.
  float w(int64_t group, int64_t m, int64_t tap, int64_t c) const {
    const int64_t panel = (group * g.panels() + m / kPanel) * g.taps() + tap;
    return t.w[(panel * g.group_channels() + c) * kPanel + m % kPanel];
  }

  Vector sub_vector(int64_t image, int64_t pixel, int64_t group, int64_t sub_group) const {
    Vector v;
    for (int64_t l = 0; l < g.sub_vector_size(sub_group); ++l)
      v.push_back(x(image, group * g.group_channels() + g.sub_vector_begin(sub_group) + l, pixel));
    return v;
  }

  // Algorithm, step 3: the cell edge of `grid`.
  float cell_edge(const Instance& s) const {
    const double n = static_cast<double>(s.count * g.pixels());
    double variances = 0;
    for (int64_t c = 0; c < g.channels; ++c) {
      double sum = 0, squares = 0;
      for (int64_t image = s.first; image < s.first + s.count; ++image) {
        double a[8] = {}, b[8] = {};
        for (int64_t pixel = 0; pixel < g.pixels(); ++pixel) {
          const double value = x(image, c, pixel);
          a[pixel % 8] += value;
          b[pixel % 8] += value * value;
        }
        sum += ((a[0] + a[1]) + (a[2] + a[3])) + ((a[4] + a[5]) + (a[6] + a[7]));
        squares += ((b[0] + b[1]) + (b[2] + b[3])) + ((b[4] + b[5]) + (b[6] + b[7]));
      }
      variances += (squares - sum * sum / n) / n;
    }
    return static_cast<float>(p.step * std::sqrt(variances / static_cast<double>(g.channels)));
  }

  // Algorithm, step 3: false if a value has no cell.
  static bool grid_signature(const Vector& v, float inverse, std::vector<int64_t>& signature) {
    for (float value : v) {
      const float scaled = value * inverse;
      if (!(std::fabs(scaled) < 32767.0f)) return false;
      signature.push_back(static_cast<int64_t>(std::nearbyint(scaled)));
    }
    return true;
  }

  void lsh_signature(const Vector& v, const Vector& planes, std::vector<int64_t>& signature) const {
    for (int64_t h = 0; h < p.hash_bits; ++h) {
      float dot = 0;
      for (size_t l = 0; l < v.size(); ++l) dot = std::fma(v[l], planes[h * p.sub_vector_length + l], dot);
      signature.push_back(dot > 0);
    }
  }

  // Algorithm, steps 3 to 5; nothing if the guard says dense.
  std::optional<Clustering> cluster(const Instance& s, int64_t group, int64_t sub_group, float edge) const {
    if (p.method == Method::exact) return std::nullopt;
    if (p.method == Method::grid && !std::isnormal(edge)) return std::nullopt;
    const float inverse = 1.0f / edge;
    const Vector planes = make_hyperplanes(p.seed, p.hash_bits, p.sub_vector_length);
    const double limit = static_cast<double>(p.max_remaining_ratio) * static_cast<double>(s.count * g.pixels());

    Clustering result;
    std::map<std::vector<int64_t>, int64_t> known;
    std::vector<std::vector<double>> sums;
    std::vector<int64_t> members;
    for (int64_t image = s.first; image < s.first + s.count; ++image)
      for (int64_t pixel = 0; pixel < g.pixels(); ++pixel) {
        const Vector v = sub_vector(image, pixel, group, sub_group);
        std::vector<int64_t> signature;
        if (p.method == Method::lsh)
          lsh_signature(v, planes, signature);
        else if (!grid_signature(v, inverse, signature))
          return std::nullopt;
        // Zeros have no signature in common with others.
        if (std::all_of(v.begin(), v.end(), [](float value) { return value == 0; })) signature.clear();
        const int64_t id = known.emplace(signature, static_cast<int64_t>(known.size())).first->second;
        if (static_cast<double>(known.size()) > limit) return std::nullopt;
        if (id == static_cast<int64_t>(sums.size())) {
          sums.emplace_back(v.size(), 0.0);
          members.push_back(0);
        }
        for (size_t l = 0; l < v.size(); ++l) sums[id][l] += v[l];
        ++members[id];
        result.ids.push_back(id);
      }
    for (size_t id = 0; id < sums.size(); ++id) {
      Vector centroid;
      for (double sum : sums[id]) centroid.push_back(static_cast<float>(sum / static_cast<double>(members[id])));
      for (float value : centroid)
        if (!std::isfinite(value)) return std::nullopt;
      result.centroids.push_back(centroid);
    }
    return result;
  }

  // Step 6: the unit of 16-bit table rows of every output of the group; empty for rows of float.
  Vector units(int64_t group, const std::vector<std::optional<Clustering>>& clusterings) const {
    if (p.table_type != TableType::int16) return {};
    std::vector<int64_t> reuse;
    std::vector<Vector> largest(clusterings.size());
    std::vector<const float*> magnitudes;
    for (size_t k = 0; k < clusterings.size(); ++k) {
      largest[k].resize(g.sub_vector_size(static_cast<int64_t>(k)), 0.0f);
      if (clusterings[k]) {
        reuse.push_back(static_cast<int64_t>(k));
        for (const Vector& centroid : clusterings[k]->centroids)
          for (size_t l = 0; l < centroid.size(); ++l) largest[k][l] = std::max(largest[k][l], std::fabs(centroid[l]));
      }
      magnitudes.push_back(largest[k].data());
    }
    return narrow_scales(g, sum_tap_magnitudes(packed_weight_shape(g), t.w).data(), group, reuse, magnitudes);
  }

  // Algorithm, steps 6 and 7, for one output value.
  float output(const Instance& s, int64_t image, int64_t group, int64_t m, int64_t pixel,
               const std::vector<std::optional<Clustering>>& clusterings, const Vector& units) const {
    float sum = 0;
    for (int64_t tap = 0; tap < g.taps(); ++tap) {
      const int64_t source = input_pixel(g, pixel, tap);
      if (source < 0) continue;
      for (int64_t c = 0; c < g.group_channels(); ++c)
        if (!clusterings[c / g.sub_vector_length])
          sum = std::fma(x(image, group * g.group_channels() + c, source), w(group, m, tap, c), sum);
    }
    for (int64_t k = 0; k < g.sub_groups(); ++k) {
      if (!clusterings[k]) continue;
      for (int64_t tap = 0; tap < g.taps(); ++tap) {
        const int64_t source = input_pixel(g, pixel, tap);
        if (source < 0) continue;
        const int64_t id = clusterings[k]->ids[(image - s.first) * g.pixels() + source];
        const Vector& centroid = clusterings[k]->centroids[id];
        float row = 0;
        for (size_t l = 0; l < centroid.size(); ++l)
          row = std::fma(centroid[l], w(group, m, tap, g.sub_vector_begin(k) + static_cast<int64_t>(l)), row);
        if (!units.empty()) row = std::nearbyint(row * inverse_scale(units[m])) * units[m];
        sum += row;
      }
    }
    const int64_t channel = group * g.group_outputs() + m;
    if (t.bias) sum += t.bias[channel];
    if (t.addend.data) sum += t.addend.data[t.addend.offset(g, image, channel, pixel)];
    return activate(sum, p.activation, p.activation_params[0], p.activation_params[1]);
  }

  void run(int64_t scope) const {
    const Instance s{scope * g.scope_images(), g.scope_images()};
    const float edge = p.method == Method::grid ? cell_edge(s) : 0.0f;
    for (int64_t group = 0; group < g.groups; ++group) {
      std::vector<std::optional<Clustering>> clusterings;
      for (int64_t k = 0; k < g.sub_groups(); ++k) {
        clusterings.push_back(cluster(s, group, k, edge));
        if (t.stats)
          t.stats[(scope * g.groups + group) * g.sub_groups() + k] =
              clusterings[k] ? static_cast<int64_t>(clusterings[k]->centroids.size()) : -1;
      }
      const Vector units = this->units(group, clusterings);
      for (int64_t image = s.first; image < s.first + s.count; ++image)
        for (int64_t m = 0; m < g.group_outputs(); ++m)
          for (int64_t pixel = 0; pixel < g.output_pixels(); ++pixel)
            t.y[image * g.y_image + g.y_offset(group * g.group_outputs() + m) + pixel * g.y_pixel] =
                output(s, image, group, m, pixel, clusterings, units);
    }
  }
};

}  // namespace

void compute_reference(const Parameters& parameters, const Geometry& geometry, const Tensors& tensors) {
  if (geometry.y_layout == Layout::blocked)  // lanes past the last channel hold zero
    std::fill(tensors.y, tensors.y + geometry.images * geometry.y_image, 0.0f);
  for (int64_t scope = 0; scope < geometry.scopes(); ++scope) Reference{parameters, geometry, tensors}.run(scope);
}

}  // namespace drpass

#include "core/cluster.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace drpass {
namespace {

// Signatures to ids, in order of first occurrence: open addressing, at most half full. A signature is kWords words of
// 64 bits (0: as many as `words` says).
template <int kWords>
class ClusterTable {
 public:
  ClusterTable(Memory& memory, int64_t capacity, int64_t words)
      : capacity_(capacity), words_(kWords ? kWords : words), keys_(memory, capacity * words_) {
    size_t slots = 16;
    while (slots < 2 * static_cast<size_t>(capacity)) slots *= 2;
    mask_ = slots - 1;
    slots_ = Scratch<int32_t>(memory, slots);
    std::memset(slots_.data(), 0xFF, slots * sizeof(int32_t));
  }

  // The id of the signature, a new one if it was not seen; -1 if that would be one more than the capacity.
  int32_t find_or_add(const uint64_t* key) {
    for (size_t slot = hash(key) & mask_;; slot = (slot + 1) & mask_) {
      const int32_t id = slots_[slot];
      if (id < 0) return add(slot, key);
      if (same(keys_.data() + id * words(), key)) return id;
    }
  }

  int64_t size() const { return size_; }

 private:
  int64_t words() const { return kWords ? kWords : words_; }

  int32_t add(size_t slot, const uint64_t* key) {
    if (size_ == capacity_) return -1;
    for (int64_t w = 0; w < words(); ++w) keys_[size_ * words() + w] = key[w];
    return slots_[slot] = static_cast<int32_t>(size_++);
  }

  bool same(const uint64_t* a, const uint64_t* b) const {
    for (int64_t w = 0; w < words(); ++w)
      if (a[w] != b[w]) return false;
    return true;
  }

  size_t hash(const uint64_t* key) const {
    uint64_t h = 0;
    for (int64_t w = 0; w < words(); ++w) h = (h ^ key[w] ^ (h >> 29)) * 0x9E3779B97F4A7C15u;
    return static_cast<size_t>(h ^ (h >> 32));
  }

  int64_t capacity_, words_, size_ = 0;
  size_t mask_ = 0;
  Scratch<uint64_t> keys_;
  Scratch<int32_t> slots_;
};

// The channels of one sub-vector group as planes of neighbouring pixels: in place where X has such planes, else copied.
class PlaneReader {
 public:
  PlaneReader(const Call& call, int64_t group, int64_t sub_group)
      : g_(call.geometry),
        length_(g_.sub_vector_size(sub_group)),
        channel_(group * g_.group_channels() + g_.sub_vector_begin(sub_group)),
        x_(call.tensors.x),
        copy_(call.memory, g_.x_pixel == 1 ? length_ * kMinimumPlane : length_ * kBlock),
        planes_(call.memory, length_) {}

  int64_t length() const { return length_; }

  // Pixels [pixel, pixel + count) of an image, count <= kBlock.
  const float* const* read(int64_t image, int64_t pixel, int64_t count) {
    const float* start = x_ + image * g_.x_image + pixel * g_.x_pixel;
    const bool in_place = g_.x_pixel == 1 && count >= kMinimumPlane;
    const int64_t size = count < kMinimumPlane ? kMinimumPlane : count;
    for (int64_t l = 0; l < length_; ++l) {
      const float* source = start + g_.x_offset(channel_ + l);
      if (in_place) {
        planes_[l] = source;
        continue;
      }
      float* plane = copy_.data() + l * size;
      // Past the end the first pixel again, which can't make the block fail where its own pixels do not.
      for (int64_t i = 0; i < size; ++i) plane[i] = source[(i < count ? i : 0) * g_.x_pixel];
      planes_[l] = plane;
    }
    return planes_.data();
  }

 private:
  const Geometry& g_;
  int64_t length_;
  int64_t channel_;
  const float* x_;
  Scratch<float> copy_;
  Scratch<const float*> planes_;
};

// Sums of the members of every cluster, in double, in pixel order.
struct Members {
  Scratch<double> sums;  // [capacity][length]
  Scratch<int32_t> counts;
  Members(Memory& memory, int64_t capacity, int64_t length)
      : sums(memory, capacity * length), counts(memory, capacity) {}

  void add(int32_t id, const float* const* planes, int64_t length, int64_t i, bool is_new) {
    double* sum = sums.data() + id * length;
    if (is_new) {
      counts[id] = 0;
      for (int64_t l = 0; l < length; ++l) sum[l] = 0;
    }
    ++counts[id];
    for (int64_t l = 0; l < length; ++l) sum[l] += planes[l][i];
  }
};

// The guard's limit as a number of clusters.
int64_t cluster_limit(const Parameters& p, int64_t pixels) {
  return static_cast<int64_t>(std::floor(static_cast<double>(p.max_remaining_ratio) * static_cast<double>(pixels)));
}

template <int kWords>
class Clusterer {
 public:
  Clusterer(const Call& call, const Instance& instance, int64_t group, int64_t sub_group, float edge)
      : call_(call),
        instance_(instance),
        reader_(call, group, sub_group),
        edge_(edge),
        halves_count_(call.parameters.method == Method::lsh ? 2 : (reader_.length() + 1) / 2),
        words_((halves_count_ + 1) / 2),
        capacity_(cluster_limit(call.parameters, instance.images * call.geometry.pixels())),
        table_(call.memory, capacity_, words_),
        members_(call.memory, capacity_, reader_.length()),
        halves_(call.memory, 2 * words_ * kBlock),
        key_(call.memory, 2 * words_) {}

  Clusters run(int32_t* ids) {
    Clusters result;
    if (capacity_ == 0) return result;
    const int64_t pixels = call_.geometry.pixels();
    std::memset(halves_.data(), 0, halves_.size() * sizeof(uint32_t));
    for (int64_t image = 0; image < instance_.images; ++image)
      for (int64_t pixel = 0; pixel < pixels; pixel += kBlock) {
        const int64_t count = pixels - pixel < kBlock ? pixels - pixel : kBlock;
        const float* const* planes = sign(image, pixel, count);
        if (!planes || !assign(planes, count, ids + image * pixels + pixel)) return result;
      }
    return mean();
  }

 private:
  // The pixels whose signatures are in halves_ then; null where one of `grid` does not fit (docs/operator.md, step 5).
  const float* const* sign(int64_t image, int64_t pixel, int64_t count) {
    const StageTimer timer(call_.stages, Stage::hash);
    const Parameters& p = call_.parameters;
    const float* const* planes = reader_.read(instance_.image(image), pixel, count);
    bool fits = true;
    if (p.method == Method::grid)
      fits = call_.kernels.grid_signature(planes, reader_.length(), count, 1.0f / edge_, halves_.data());
    else
      call_.kernels.lsh_signature(planes, reader_.length(), count, call_.kept.hyperplanes, p.sub_vector_length,
                                  p.hash_bits, halves_.data());
    return fits ? planes : nullptr;
  }

  bool assign(const float* const* planes, int64_t count, int32_t* ids) {
    const int64_t words = kWords ? kWords : words_;
    uint64_t* key = key_.data();
    uint64_t* last = key + words;
    int32_t id = -1;
    for (int64_t i = 0; i < count; ++i) {
      bool changed = id < 0;
      for (int64_t w = 0; w < words; ++w) {
        const uint32_t* half = halves_.data() + 2 * w * kBlock + i;
        key[w] = half[0] | static_cast<uint64_t>(half[kBlock]) << 32;
        changed |= key[w] != last[w];
      }
      const int64_t known = table_.size();
      if (changed) {  // neighbouring pixels are often alike: the table is asked only for a new signature
        id = table_.find_or_add(key);
        if (id < 0) return false;
        for (int64_t w = 0; w < words; ++w) last[w] = key[w];
      }
      members_.add(id, planes, reader_.length(), i, id == known);
      ids[i] = id;
    }
    return true;
  }

  Clusters mean() {
    Clusters result;
    const int64_t length = reader_.length();
    Scratch<float> centroids(call_.memory, table_.size() * length), magnitudes(call_.memory, length);
    std::fill(magnitudes.data(), magnitudes.data() + length, 0.0f);
    for (int64_t id = 0; id < table_.size(); ++id)
      for (int64_t l = 0; l < length; ++l) {
        const float value = static_cast<float>(members_.sums[id * length + l] / members_.counts[id]);
        if (!std::isfinite(value)) return result;
        centroids[id * length + l] = value;
        magnitudes[l] = std::max(magnitudes[l], std::fabs(value));
      }
    result.count = table_.size();
    result.centroids = std::move(centroids);
    result.magnitudes = std::move(magnitudes);
    return result;
  }

  const Call& call_;
  const Instance& instance_;
  PlaneReader reader_;
  float edge_;
  int64_t halves_count_, words_, capacity_;
  ClusterTable<kWords> table_;
  Members members_;
  Scratch<uint32_t> halves_;
  Scratch<uint64_t> key_;  // the present and the last signature
};

// Sum over the scope's pixels of the squared distance from the channel's mean, divided by their number.
double channel_variance(const Call& call, const Instance& instance, int64_t channel) {
  const Geometry& g = call.geometry;
  double sum = 0, squares = 0;
  for (int64_t i = 0; i < instance.images; ++i) {
    const int64_t image = instance.image(i);
    double s[16] = {};
    call.kernels.moments(call.tensors.x + image * g.x_image + g.x_offset(channel), g.pixels(), g.x_pixel, s);
    sum += ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]));
    squares += ((s[8] + s[9]) + (s[10] + s[11])) + ((s[12] + s[13]) + (s[14] + s[15]));
  }
  const double n = static_cast<double>(instance.images * g.pixels());
  return (squares - sum * sum / n) / n;
}

}  // namespace

float cell_edge(const Call& call, const Instance& instance, Executor& executor) {
  const int64_t channels = call.geometry.channels;
  Scratch<double> variances(call.memory, channels);
  executor.run(channels, [&](size_t channel) {
    const StageTimer timer(call.stages, Stage::hash);
    variances[channel] = channel_variance(call, instance, static_cast<int64_t>(channel));
  });
  double sum = 0;
  for (int64_t channel = 0; channel < channels; ++channel) sum += variances[channel];
  return static_cast<float>(call.parameters.step * std::sqrt(sum / static_cast<double>(channels)));
}

Clusters find_clusters(const Call& call, const Instance& instance, int64_t group, int64_t sub_group, float edge,
                       int32_t* ids) {
  const StageTimer timer(call.stages, Stage::cluster);
  const Method method = call.parameters.method;
  if (method == Method::grid && !std::isnormal(edge)) return Clusters();
  const bool one_word = method == Method::lsh || call.geometry.sub_vector_size(sub_group) <= 4;
  if (one_word) return Clusterer<1>(call, instance, group, sub_group, edge).run(ids);
  return Clusterer<0>(call, instance, group, sub_group, edge).run(ids);
}

}  // namespace drpass

#include "core/cluster.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/cluster_table.h"
#include "core/plane_reader.h"

namespace drpass {
namespace {

// The guard's limit as a number of clusters.
int64_t cluster_limit(const Parameters& p, int64_t pixels) {
  return static_cast<int64_t>(std::floor(static_cast<double>(p.max_remaining_ratio) * static_cast<double>(pixels)));
}

// 64-bit words of a signature.
int64_t signature_words(const Parameters& p, int64_t length) { return p.method == Method::lsh ? 1 : divide_up(length, 4); }

bool all_zero(const float* const* planes, int64_t length, int64_t i) {
  for (int64_t l = 0; l < length; ++l)
    if (planes[l][i] != 0) return false;
  return true;
}

// The clusters of one sub-vector group, whose pixels come in blocks. A signature has kWords words (0: signature_words()).
template <int kWords>
class Clusterer {
 public:
  // last: [words]
  Clusterer(const Call& call, const ClusterTable<kWords>& table, int64_t length, float edge, uint64_t* last, int32_t* ids)
      : call_(call),
        length_(length),
        words_(signature_words(call.parameters, length)),
        edge_(edge),
        table_(table),
        last_(last),
        ids_(ids) {}

  bool fits() const { return fits_; }

  // Nothing once the group is to be computed densely. Scratch: halves [2 * words][kBlock], key [words].
  void add(const float* const* planes, int64_t count, uint32_t* halves, uint64_t* key) {
    fits_ = fits_ && sign(planes, count, halves) && assign(planes, count, halves, key);
    ids_ += count;
  }

  Clusters result() const {
    Clusters result;
    if (!fits_) return result;
    Scratch<float> centroids(call_.memory, table_.size() * length_), magnitudes(call_.memory, length_);
    std::fill(magnitudes.data(), magnitudes.data() + length_, 0.0f);
    for (int64_t id = 0; id < table_.size(); ++id)
      for (int64_t l = 0; l < length_; ++l) {
        const float value = table_.mean(id, l);
        if (!std::isfinite(value)) return result;
        centroids[id * length_ + l] = value;
        magnitudes[l] = std::max(magnitudes[l], std::fabs(value));
      }
    result.count = table_.size();
    result.zero = zero_;
    result.zeros = zeros_;
    result.centroids = std::move(centroids);
    result.magnitudes = std::move(magnitudes);
    return result;
  }

 private:
  int64_t words() const { return kWords ? kWords : words_; }

  // False where a signature of `grid` does not fit (docs/operator.md, step 5).
  bool sign(const float* const* planes, int64_t count, uint32_t* halves) const {
    const StageTimer timer(call_.stages, Stage::hash);
    const Parameters& p = call_.parameters;
    if (p.method == Method::grid) {
      uint32_t* last = halves + (2 * words() - 1) * kBlock;  // not written where the number of halves is odd
      std::fill(last, last + kBlock, 0);
      return call_.kernels.grid_signature(planes, length_, count, 1.0f / edge_, halves);
    }
    call_.kernels.lsh_signature(planes, length_, count, call_.kept.hyperplanes, p.sub_vector_length, p.hash_bits, halves);
    return true;
  }

  // False where there are more clusters than the guard's limit.
  bool assign(const float* const* planes, int64_t count, const uint32_t* halves, uint64_t* key) {
    for (int64_t i = 0; i < count; ++i) {
      bool changed = id_ < 0;
      uint64_t any = 0;
      for (int64_t w = 0; w < words(); ++w) {
        const uint32_t* half = halves + 2 * w * kBlock + i;
        key[w] = half[0] | static_cast<uint64_t>(half[kBlock]) << 32;
        changed |= key[w] != last_[w];
        any |= key[w];
      }
      if (any == 0 && all_zero(planes, length_, i)) {  // the signature of zeros is zero
        if (zero_ < 0) zero_ = table_.add(key);
        if (zero_ < 0) return false;
        ids_[i] = zero_;
        ++zeros_;
        continue;
      }
      if (changed) {  // neighbouring pixels are often alike: the table is asked only for a new signature
        id_ = table_.find_or_add(key);
        if (id_ < 0) return false;
        std::copy(key, key + words(), last_);
      }
      table_.add_member(id_, planes, i);
      ids_[i] = id_;
    }
    return true;
  }

  const Call& call_;
  int64_t length_, words_;
  float edge_;
  ClusterTable<kWords> table_;
  uint64_t* last_;  // the signature of id_
  int32_t* ids_;    // of the next pixel
  int32_t id_ = -1, zero_ = -1;
  int64_t zeros_ = 0;
  bool fits_ = true;
};

// What find_clusters() does, of groups that are not all dense.
template <int kWords>
void cluster_groups(const Call& call, const Instance& instance, int64_t group, int64_t first, int64_t count, float edge,
                    int64_t capacity, int32_t* ids, Clusters* result) {
  const Geometry& g = call.geometry;
  const int64_t pixels = g.pixels(), begin = g.sub_vector_begin(first);
  const int64_t end = g.sub_vector_begin(first + count - 1) + g.sub_vector_size(first + count - 1);
  PlaneReader reader(call, group * g.group_channels() + begin, end - begin);
  const int64_t words = signature_words(call.parameters, g.sub_vector_size(first));
  const int64_t records = cluster_words(capacity, words, g.sub_vector_size(first)), slots = cluster_slots(capacity);
  Scratch<ClusterWord> all_records(call.memory, count * records);
  Scratch<int32_t> all_slots(call.memory, count * slots);
  Scratch<uint32_t> halves(call.memory, 2 * words * kBlock);
  Scratch<uint64_t> keys(call.memory, (1 + count) * words);
  std::vector<Clusterer<kWords>> groups;
  groups.reserve(count);
  for (int64_t k = 0; k < count; ++k) {
    const int64_t length = g.sub_vector_size(first + k);
    const ClusterTable<kWords> table(capacity, signature_words(call.parameters, length), length,
                                     all_records.data() + k * records, all_slots.data() + k * slots);
    groups.emplace_back(call, table, length, edge, keys.data() + (1 + k) * words, ids + k * instance.images * pixels);
  }
  const auto fits = [&] { return std::any_of(groups.begin(), groups.end(), [](const auto& one) { return one.fits(); }); };

  for (int64_t image = 0; image < instance.images; ++image)
    for (int64_t pixel = 0; pixel < pixels && fits(); pixel += kBlock) {
      const int64_t here = std::min(kBlock, pixels - pixel);
      const float* const* planes;
      {
        const StageTimer timer(call.stages, Stage::hash);
        planes = reader.read(instance.image(image), pixel, here);
      }
      for (int64_t k = 0; k < count; ++k) groups[k].add(planes + k * g.sub_vector_length, here, halves.data(), keys.data());
    }
  for (int64_t k = 0; k < count; ++k) result[k] = groups[k].result();
}

}  // namespace

int64_t clustered_together(const Geometry& g) {
  return g.x_layout == Layout::blocked && kPanel % g.sub_vector_length == 0 ? kPanel / g.sub_vector_length : 1;
}

void find_clusters(const Call& call, const Instance& instance, int64_t group, int64_t first, int64_t count, float edge,
                   int32_t* ids, Clusters* result) {
  const StageTimer timer(call.stages, Stage::cluster);
  const Geometry& g = call.geometry;
  const int64_t capacity = cluster_limit(call.parameters, instance.images * g.pixels());
  if (capacity == 0 || (call.parameters.method == Method::grid && !std::isnormal(edge))) return;
  const bool one_word = signature_words(call.parameters, g.sub_vector_size(first)) == 1;
  const auto cluster = one_word ? cluster_groups<1> : cluster_groups<0>;
  cluster(call, instance, group, first, count, edge, capacity, ids, result);
}

}  // namespace drpass

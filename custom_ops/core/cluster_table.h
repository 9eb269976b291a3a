// The clusters of one sub-vector group while they are found: signatures to ids, and the sums of their members.
#pragma once

#include <cstdint>
#include <cstring>

namespace drpass {

// A word of what a table knows of a cluster.
union ClusterWord {
  uint64_t bits;
  double sum;
};

// Memory that a table needs, in words and in slots. Side by side lie a signature, the sums of its members, their number.
inline int64_t cluster_words(int64_t capacity, int64_t words, int64_t length) { return capacity * (words + length + 1); }
inline int64_t cluster_slots(int64_t capacity) {
  int64_t slots = 16;
  while (slots < 2 * capacity) slots *= 2;
  return slots;
}

// Ids count up in order of first occurrence. Open addressing, at most half full. A signature has kWords words of 64 bits
// (0: as many as `words` says).
template <int kWords>
class ClusterTable {
 public:
  // records: cluster_words(); slots: cluster_slots().
  ClusterTable(int64_t capacity, int64_t words, int64_t length, ClusterWord* records, int32_t* slots)
      : capacity_(capacity), words_(words), length_(length), records_(records), slots_(slots) {
    const size_t count = static_cast<size_t>(cluster_slots(capacity));
    mask_ = count - 1;
    std::memset(slots_, 0xFF, count * sizeof(int32_t));
  }

  int64_t size() const { return size_; }

  // The id of the signature, a new one if it was not seen; -1 if that would be one more than the capacity.
  int32_t find_or_add(const uint64_t* key) {
    for (size_t slot = hash(key) & mask_;; slot = (slot + 1) & mask_) {
      const int32_t id = slots_[slot];
      if (id >= 0 && !same(at(id), key)) continue;
      return id >= 0 ? id : slots_[slot] = add(key);
    }
  }

  // A cluster that no signature finds; -1 as above.
  int32_t add(const uint64_t* key) {
    if (size_ == capacity_) return -1;
    ClusterWord* record = at(size_);
    for (int64_t w = 0; w < words(); ++w) record[w].bits = key[w];
    for (int64_t l = 0; l < length_; ++l) record[words() + l].sum = 0;
    record[words() + length_].bits = 0;
    return static_cast<int32_t>(size_++);
  }

  // Element i of the planes; summed in double, in the order of calls.
  void add_member(int32_t id, const float* const* planes, int64_t i) {
    ClusterWord* sums = at(id) + words();
    for (int64_t l = 0; l < length_; ++l) sums[l].sum += planes[l][i];
    ++sums[length_].bits;
  }

  // 0 for a cluster without members.
  float mean(int64_t id, int64_t l) const {
    const ClusterWord* sums = at(id) + words();
    return sums[length_].bits ? static_cast<float>(sums[l].sum / static_cast<double>(sums[length_].bits)) : 0.0f;
  }

 private:
  int64_t words() const { return kWords ? kWords : words_; }
  int64_t record() const { return words() + length_ + 1; }
  ClusterWord* at(int64_t id) const { return records_ + id * record(); }

  bool same(const ClusterWord* record, const uint64_t* key) const {
    for (int64_t w = 0; w < words(); ++w)
      if (record[w].bits != key[w]) return false;
    return true;
  }

  size_t hash(const uint64_t* key) const {
    uint64_t h = 0;
    for (int64_t w = 0; w < words(); ++w) h = (h ^ key[w] ^ (h >> 29)) * 0x9E3779B97F4A7C15u;
    return static_cast<size_t>(h ^ (h >> 32));
  }

  int64_t capacity_, words_, length_, size_ = 0;
  size_t mask_ = 0;
  ClusterWord* records_;
  int32_t* slots_;
};

}  // namespace drpass

#include "core/stages.h"

#include <algorithm>
#include <cstdio>
#include <utility>

namespace drpass {

const char* const kStageNames[kStages] = {"hash",        "cluster",   "list", "gemm",
                                          "reconstruct", "transform", "memo", "epilogue",
                                          "rest",        "wait"};

namespace {

std::atomic<bool> collecting{false};

// The timer that runs on this thread.
thread_local StageTimer* innermost = nullptr;

struct Registry {
  std::mutex mutex;
  std::vector<StageTimes*> nodes;
};

// Never destroyed: sessions may outlive the static objects of the library.
Registry& registry() {
  static Registry& all = *new Registry;
  return all;
}

// A node's name is any text.
std::string quoted(const std::string& text) {
  std::string result = "\"";
  for (const char c : text) {
    char escaped[8];
    if (static_cast<unsigned char>(c) < 0x20) {
      std::snprintf(escaped, sizeof escaped, "\\u%04x", static_cast<unsigned>(c));
      result += escaped;
      continue;
    }
    if (c == '"' || c == '\\') result += '\\';
    result += c;
  }
  return result + '"';
}

}  // namespace

StageTimes::StageTimes(std::string node) : node_(std::move(node)) {
  const std::lock_guard<std::mutex> lock(registry().mutex);
  registry().nodes.push_back(this);
}

StageTimes::~StageTimes() {
  const std::lock_guard<std::mutex> lock(registry().mutex);
  std::vector<StageTimes*>& nodes = registry().nodes;
  nodes.erase(std::find(nodes.begin(), nodes.end(), this));
}

void StageTimes::clear() {
  for (std::atomic<int64_t>* count : {&calls_, &tiles_, &recalled_, &zeros_, &sampled_, &images_, &skipped_})
    *count = 0;
  for (std::atomic<int64_t>& time : nanoseconds_) time = 0;
  const std::lock_guard<std::mutex> lock(mutex_);
  sub_groups_.clear();
}

void StageTimes::add_clusters(size_t sub_group, size_t sub_groups, int64_t clusters, int64_t pixels) {
  const std::lock_guard<std::mutex> lock(mutex_);
  sub_groups_.resize(sub_groups);
  SubGroup& of = sub_groups_[sub_group];
  ++of.instances;
  if (clusters < 0) {
    ++of.guarded;
  } else {
    of.clusters += clusters;
    of.pixels += pixels;
  }
}

std::string StageTimes::to_json() const {
  const int64_t calls = calls_;
  if (!calls) return "";
  std::string text = "{\"node\": " + quoted(node_) + ", \"calls\": " + std::to_string(calls) + ", \"nanoseconds\": {";
  for (size_t stage = 0; stage < kStages; ++stage)
    text += (stage ? ", \"" : "\"") + std::string(kStageNames[stage]) + "\": " +
            std::to_string(nanoseconds_[stage].load());
  text += "}";
  for (const auto& [name, count] : {std::pair("tiles", &tiles_), std::pair("recalled", &recalled_),
                                    std::pair("zeros", &zeros_), std::pair("sampled", &sampled_),
                                    std::pair("images", &images_), std::pair("skipped", &skipped_)})
    text += ", \"" + std::string(name) + "\": " + std::to_string(count->load());
  text += ", \"sub_groups\": [";
  const std::lock_guard<std::mutex> lock(mutex_);
  for (const SubGroup& of : sub_groups_) {
    text += &of == sub_groups_.data() ? "[" : ", [";
    text += std::to_string(of.clusters) + ", " + std::to_string(of.pixels) + ", " + std::to_string(of.instances) +
            ", " + std::to_string(of.guarded) + "]";
  }
  return text + "]}";
}

bool collects_stages() { return collecting.load(std::memory_order_relaxed); }

void collect_stages(bool on) {
  const std::lock_guard<std::mutex> lock(registry().mutex);
  if (on)
    for (StageTimes* node : registry().nodes) node->clear();
  collecting = on;
}

std::string collected_stages() {
  const std::lock_guard<std::mutex> lock(registry().mutex);
  std::string text = "[";
  for (const StageTimes* node : registry().nodes) {
    const std::string json = node->to_json();
    if (!json.empty()) text += (text.size() > 1 ? ",\n" : "") + json;
  }
  return text + "]";
}

void StageTimer::start() {
  outer_ = innermost;
  innermost = this;
  begin_ = Clock::now();
  if (outer_) outer_->add_until(begin_);
}

void StageTimer::stop() {
  const Clock::time_point now = Clock::now();
  add_until(now);
  innermost = outer_;
  if (outer_) outer_->begin_ = now;
}

void StageTimer::add_until(Clock::time_point now) {
  times_->add(stage_, std::chrono::duration_cast<std::chrono::nanoseconds>(now - begin_).count());
}

}  // namespace drpass

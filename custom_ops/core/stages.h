// Where the time of a node goes: collected on demand, for `drpass bench --stages`.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "core/resources.h"

namespace drpass {

// What is fused into a micro-kernel belongs to the stage of that kernel.
enum class Stage {
  hash,         // statistics of the input and signatures
  cluster,      // ids of pixels, sums and means of clusters
  list,         // what is not zero, found and listed: values of images that are mostly zeros, or table rows
  gemm,         // tables of products, products of Winograd's filtering, the direct product with its patches
  reconstruct,  // table rows added
  transform,    // Winograd: inputs, weights and outputs, and the change of planes to blocks before
  memo,         // results looked up and kept
  epilogue,     // bias, addend and activation as a step of its own
  rest,         // everything else on a thread that works
  wait,         // the calling thread, for the others and for handing out tasks
};
constexpr size_t kStages = static_cast<size_t>(Stage::wait) + 1;
extern const char* const kStageNames[kStages];

// What was collected about one node. Several calls may add at once. All that live are known to collected_stages().
class StageTimes {
 public:
  explicit StageTimes(std::string node);
  ~StageTimes();
  StageTimes(const StageTimes&) = delete;
  StageTimes& operator=(const StageTimes&) = delete;

  void clear();
  void add(Stage stage, int64_t nanoseconds) {
    nanoseconds_[static_cast<size_t>(stage)].fetch_add(nanoseconds, std::memory_order_relaxed);
  }
  void add_call() { calls_.fetch_add(1, std::memory_order_relaxed); }
  // One sub-vector group of one scope instance: `clusters` of `pixels`, -1 where it is computed densely.
  void add_clusters(size_t sub_group, size_t sub_groups, int64_t clusters, int64_t pixels);

  // Of a call with a memo: tiles, and those whose results were kept there.
  void add_tiles(int64_t tiles, int64_t recalled) {
    tiles_.fetch_add(tiles, std::memory_order_relaxed);
    recalled_.fetch_add(recalled, std::memory_order_relaxed);
  }

  // One image of which `zeros` of `sampled` values were zero; `skipped`: it was to be computed without them.
  void add_image(int64_t zeros, int64_t sampled, bool skipped) {
    zeros_.fetch_add(zeros, std::memory_order_relaxed);
    sampled_.fetch_add(sampled, std::memory_order_relaxed);
    images_.fetch_add(1, std::memory_order_relaxed);
    skipped_.fetch_add(skipped, std::memory_order_relaxed);
  }

  // As an object of JSON; empty if there was no call.
  std::string to_json() const;

 private:
  struct SubGroup {
    int64_t clusters, pixels;    // of the instances that have clusters
    int64_t instances, guarded;  // all, and those computed densely
  };

  const std::string node_;
  std::atomic<int64_t> calls_{0}, tiles_{0}, recalled_{0}, zeros_{0}, sampled_{0}, images_{0}, skipped_{0};
  std::atomic<int64_t> nanoseconds_[kStages] = {};
  mutable std::mutex mutex_;  // of what follows
  std::vector<SubGroup> sub_groups_;
};

// Whether calls that begin now are to be measured.
bool collects_stages();
// Switching on clears what was collected.
void collect_stages(bool on);
// A list of JSON: all nodes that were called while collecting, of all sessions that still are.
std::string collected_stages();

// Adds its lifetime to a stage; nothing where `times` is null. A timer within another one on the same thread stops that
// one meanwhile.
class StageTimer {
 public:
  StageTimer(StageTimes* times, Stage stage) : times_(times), stage_(stage) {
    if (times_) start();
  }
  ~StageTimer() {
    if (times_) stop();
  }
  StageTimer(const StageTimer&) = delete;
  StageTimer& operator=(const StageTimer&) = delete;

 private:
  using Clock = std::chrono::steady_clock;
  void start();
  void stop();
  void add_until(Clock::time_point now);

  StageTimes* times_;
  Stage stage_;
  StageTimer* outer_ = nullptr;
  Clock::time_point begin_;
};

// Another executor, whose tasks are timed as `rest`, where they are not in another stage.
class TimedExecutor : public Executor {
 public:
  TimedExecutor(Executor& executor, StageTimes* times) : executor_(executor), times_(times) {}

 private:
  void run_erased(size_t count, Function function, const void* context) override {
    const StageTimer wait(times_, Stage::wait);
    executor_.run(count, [&](size_t index) {
      const StageTimer rest(times_, Stage::rest);
      function(context, index);
    });
  }

  Executor& executor_;
  StageTimes* times_;
};

}  // namespace drpass

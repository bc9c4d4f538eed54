// Models on their way from the hub into the models folder, each on a thread of its own, for the app's page: begun,
// watched, cancelled. What has come when a pull ends early stays, and the next one goes on there (hub/pull.h).
// Thread-safe.
#pragma once
#include <atomic>
#include <chrono>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/json.h"
#include "hub/choose.h"
#include "hub/pull.h"

namespace fathom {

/// Bytes per second over the last seconds, from what was there at some times. Plain; one thread.
class TransferSpeed {
 public:
  using Clock = std::chrono::steady_clock;
  /// `done`: bytes that are there at `now`. What is there when the first one is told does not count.
  void add(uint64_t done, Clock::time_point now);
  /// 0: not known yet.
  double bytes_per_second() const;

 private:
  static constexpr std::chrono::milliseconds kEach{500};
  static constexpr size_t kMost = 16;
  struct Sample {
    Clock::time_point at;
    uint64_t done;
  };
  std::deque<Sample> samples_;
};

class ModelPulls {
 public:
  static constexpr size_t kMostRunning = 3;   ///< at a time; more are refused
  static constexpr size_t kMostKept = 16;     ///< of those that are over, the last ones are shown
  static constexpr size_t kMostNotices = 20;  ///< of one, the last ones

  struct Options {
    std::filesystem::path models_folder;
    std::function<PullOptions()> pull;  ///< endpoint, token, connections; may throw what a person has to know
    /// A pull has brought everything; returns the name of the model that it made, or "". May throw.
    std::function<std::string(const PullResult&)> on_pulled;
    std::function<void()> on_change;  ///< a pull has begun or ended
  };
  explicit ModelPulls(Options options) : options_(std::move(options)) {}
  ~ModelPulls() { stop(); }
  ModelPulls(const ModelPulls&) = delete;
  ModelPulls& operator=(const ModelPulls&) = delete;

  struct Begun {
    json::object pull;
    bool is_new;  ///< false: it was running already
  };
  /// Begins it. Throws ApiError 429 for too many, 503 when the server ends.
  Begun begin(const HubName& name);
  /// {id, repository, file, state, done_bytes, total_bytes, bytes_per_second, seconds_left, notices, error, files,
  /// model} of each, the latest first; docs/app-api.md.
  json::array list() const;
  /// Stops one that runs, forgets one that is over. Throws ApiError 404.
  void remove(const std::string& id);
  /// Whether something of this repository is on its way.
  bool runs(const std::string& repository) const;
  /// Cancels all and waits until they have ended; none begins any more.
  void stop();

 private:
  enum class State { kRunning, kChoose, kDone, kFailed, kCancelled };
  struct Pull {
    std::string id;
    HubName name;
    std::atomic<bool> cancel = false;
    // ---- under mutex_
    State state = State::kRunning;
    uint64_t done = 0, total = 0;
    TransferSpeed speed;
    std::vector<std::string> notices;
    std::string error, model;
    std::vector<GgufGroup> files;  // to choose from
    std::jthread thread;           // last
  };
  static json::object shown(const Pull& pull);
  void run(Pull& pull);
  void note(Pull& pull, uint64_t done, uint64_t total);
  void end(Pull& pull, State state, const std::string& error);

  const Options options_;
  mutable std::mutex mutex_;
  bool ends_ = false;
  std::list<std::unique_ptr<Pull>> pulls_;  // the latest first
};

}  // namespace fathom

// The models of a server: loaded when they are first asked for, unloaded when another needs the memory and nobody uses
// them, read anew when their files have changed, adapters over one of them, others that come and go while it runs; and
// the one compute thread that answers all requests to all of them, a forward of each in turn. Any thread may call what
// is here; listeners are called on the compute thread and must not block.
#pragma once
#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "engine/answer.h"
#include "engine/engine.h"
#include "engine/lora.h"
#include "engine/scheduler.h"

namespace fathom {

/// More requests than may wait: the client is to try again later.
class OverloadedError : public Error {
 public:
  using Error::Error;
};

/// A model that is in memory, or being loaded, cannot go.
class ModelInUseError : public Error {
 public:
  using Error::Error;
};

/// A model that the host knows.
struct HostedModel {
  std::string name;            ///< as requests name it
  std::filesystem::path path;  ///< file or folder
  EngineOptions options;
  std::string chat_template;  ///< another one than the model's own; empty: its own
  // ---- of a LoRA adapter over another: its name, path and these count, all else is the base's
  std::string base = {};  ///< the other's name; empty: a model of its own
  double scale = 1;       ///< of what the adapter adds
};

/// Hears one answer to its end: exactly one of the two calls comes last.
class GenerationListener : public AnswerListener {
 public:
  virtual void on_done(Answer answer) = 0;
  virtual void on_failed(std::exception_ptr error) = 0;
};

class LoadedModel;

/// Room for some requests of a host, until the last holder lets go.
using Places = std::shared_ptr<const void>;

/// One answer that is being made, or waits for its turn.
class Generation {
 public:
  void cancel() { cancel_ = true; }
  /// Closes the thinking at the next token.
  void answer_now() { hurry_ = true; }

 private:
  friend class ModelHost;
  std::shared_ptr<LoadedModel> model_;
  Prompt prompt_;
  AnswerOptions options_;
  std::shared_ptr<GenerationListener> listener_;
  std::string salt_;
  Places places_;
  std::atomic<bool> cancel_ = false, hurry_ = false;
  // ---- of the compute thread
  bool begun_ = false, told_ = false;  // told_: of its end
  std::optional<Session> session_;
  std::optional<AnswerRun> run_;
};

/// What a model's compute thread last saw.
struct HostedModelStats {
  std::atomic<size_t> running = 0, waiting = 0;
  std::atomic<size_t> used_pages = 0, cached_pages = 0;  ///< of the pool; cached: of texts that nobody reads now too
  std::atomic<size_t> held_pages = 0;  ///< of those that run: no other can have them (as of some steps ago)
  std::atomic<uint64_t> preemptions = 0, shared_positions = 0;
};

/// What a model and the adapters over it compute with.
struct SharedEngine {
  explicit SharedEngine(std::unique_ptr<Engine> loaded) : engine(std::move(loaded)) {}
  std::unique_ptr<Engine> engine;
  HostedModelStats stats;
  // ---- of the compute thread
  Scheduler scheduler{*engine, {.share_prefixes = true, .shared_rows = 128}};
  std::list<std::shared_ptr<Generation>> active;
};

/// A model in memory, or an adapter over one. Who holds one keeps it there.
class LoadedModel {
 public:
  LoadedModel(std::string name, std::shared_ptr<SharedEngine> shared, LoadedAdapter adapter = {})
      : name_(std::move(name)), shared_(std::move(shared)), adapter_(std::move(adapter)) {}
  const std::string& name() const { return name_; }  ///< HostedModel's
  /// Of the engine, what any thread may read.
  const Engine& engine() const { return *shared_->engine; }
  const HostedModelStats& stats() const { return shared_->stats; }  ///< with all adapters'
  /// spec/numerics.md 9; empty where it was not asked for.
  const std::string& numerics_id() const {
    return adapter_.adapter ? adapter_.adapter->numerics_id : engine().info().numerics_id;
  }
  const std::string& adapter() const { return adapter_.description; }  ///< empty: it is none
  size_t waiting() const { return waiting_; }  ///< its answers that the compute thread has not seen yet
  size_t begun() const { return begun_; }      ///< and those it has

 private:
  friend class ModelHost;
  const std::string name_;
  const std::shared_ptr<SharedEngine> shared_;
  const LoadedAdapter adapter_;
  std::atomic<size_t> waiting_ = 0, begun_ = 0;
};

class ModelHost {
 public:
  struct Options {
    size_t max_requests = 512;  ///< answers that run or wait, of all models; beyond them OverloadedError
    /// Hear of each model that is loaded, and unloaded, on whatever thread does it. They may be empty.
    std::function<void(const LoadedModel&)> on_loaded = {};
    std::function<void(const std::string& name)> on_unloaded = {};
  };

  /// Throws UsageError for two models of one name, or an adapter over none.
  ModelHost(std::vector<HostedModel> models, Options options);
  /// Cancels what runs.
  ~ModelHost();
  ModelHost(const ModelHost&) = delete;
  ModelHost& operator=(const ModelHost&) = delete;

  /// Those that are known now, in the order in which they came. The first is the default; it and all others that were
  /// there from the beginning stay. Never empty.
  std::vector<std::shared_ptr<const HostedModel>> models() const;
  /// Null: it knows none of this name.
  std::shared_ptr<const HostedModel> find(std::string_view name) const;
  /// Whether it was there from the beginning.
  bool is_fixed(std::string_view name) const;
  /// Knows one more, which is no adapter. False: the name is taken.
  bool add(HostedModel model);
  /// Forgets one that was added. Throws Error for an unknown one or one of the beginning, ModelInUseError.
  void remove(std::string_view name);
  /// `on_change` hears, on whatever thread, after the list or what is in memory has changed; null: nobody. Returns when
  /// the one before is not called any more.
  void watch(std::function<void()> on_change);
  /// The model in memory, loaded if it is not: that takes its time. The models that were used least recently and that
  /// nobody holds make room. Throws Error for an unknown name, and as Engine::load does.
  std::shared_ptr<LoadedModel> acquire(std::string_view name);
  /// The same, but null where the model is not in memory, or unknown.
  std::shared_ptr<LoadedModel> loaded(std::string_view name) const;
  /// Reads the model's files anew: answers that run end with the weights that they began with, later ones get the new.
  /// If that fails, what is there stays. Null: another model is being loaded. Throws as acquire does, ResourceError
  /// with the numbers where answers need the old one and the new one does not fit beside it, with as large a context.
  std::shared_ptr<LoadedModel> reload(std::string_view name);
  /// Later requests do not find it in memory, nor the adapters over it; it goes when the last answer that needs it has
  /// ended. False: it is not there.
  bool unload(std::string_view name);

  /// All or none. Throws OverloadedError.
  Places reserve(size_t count);
  /// The same, but null where they are taken.
  Places try_reserve(size_t count);
  /// Puts an answer in line. It holds `places` (null: one of its own) and lets go before its listener hears of the end,
  /// so that who has heard can ask again. Throws Error for options out of range, OverloadedError, ResourceError at the
  /// host's end.
  std::shared_ptr<Generation> submit(std::shared_ptr<LoadedModel> model, Prompt prompt, AnswerOptions options,
                                     std::shared_ptr<GenerationListener> listener, std::string salt = {},
                                     Places places = nullptr);
  /// Of answers that run or wait, at most so many.
  size_t most_requests() const { return options_.max_requests; }
  /// Answers that run or wait.
  size_t requests() const { return places_taken_; }
  /// Returns when nothing runs or waits any more. Nothing may be submitted meanwhile.
  void wait_until_idle();

 private:
  struct Slot {
    std::shared_ptr<const HostedModel> hosted;  // null: it was removed; another of that name may come back
    std::shared_ptr<LoadedModel> model = {};    // null: not in memory
    uint64_t last_used = 0;
  };

  std::optional<size_t> index_of(std::string_view name) const;
  std::pair<size_t, std::shared_ptr<const HostedModel>> known(std::string_view name) const;
  std::shared_ptr<const HostedModel> hosted(size_t index) const;
  bool depends(size_t index, size_t on) const;
  void tell();
  std::shared_ptr<LoadedModel> load(size_t index);
  std::shared_ptr<LoadedModel> load_over(size_t index, const LoadedModel& base);
  std::shared_ptr<LoadedModel> acquire_over(size_t index);
  std::shared_ptr<LoadedModel> found(size_t index);
  EngineOptions options_now(size_t index, EngineOptions options);
  bool unload_one(size_t rather_not);
  std::vector<std::shared_ptr<LoadedModel>> take_out(size_t index);
  bool is_idle(size_t index) const;
  void compute();
  void begin(const std::shared_ptr<Generation>& generation);
  void step(SharedEngine& shared);
  void collect(SharedEngine& shared);
  void fail(Generation& generation, std::exception_ptr error);
  void fail_all(SharedEngine& shared, const std::exception_ptr& error);
  static void tell(Generation& generation);
  void finished(Generation& generation);

  const Options options_;
  std::mutex loading_;                               // one model at a time is loaded
  mutable std::mutex mutex_;                         // of slots_, living_ and clock_
  std::vector<Slot> slots_;                          // an index stands for the same model for ever
  size_t first_slots_ = 0;                           // those of the beginning
  std::vector<std::weak_ptr<SharedEngine>> living_;  // of the slots, and those that left them and run to the end
  uint64_t clock_ = 0;
  std::mutex watch_mutex_;  // of on_change_, and held while it is called
  std::function<void()> on_change_;

  std::mutex inbox_mutex_;
  std::condition_variable wake_, idle_;
  std::deque<std::shared_ptr<Generation>> inbox_;
  bool ends_ = false;
  std::atomic<size_t> places_taken_ = 0;
  size_t unfinished_ = 0;                            // under inbox_mutex_: answers whose end was not told yet
  std::vector<std::shared_ptr<SharedEngine>> busy_;  // of the compute thread: those with answers that run
  std::jthread thread_;                              // last: it uses all of the above
};

}  // namespace fathom

// The thread that works batches off, one after the other, in the background: each line is a request of its own with the
// lowest priority, some at a time, and only while others find places too. What is done is stored line by line, so that
// after a restart nothing is computed twice. Of several servers with one store, one works.
#pragma once
#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "base/json.h"
#include "server/http/http.h"
#include "server/store/batch_store.h"
#include "server/store/file_store.h"

namespace fathom {

/// One request of a batch's file.
struct BatchLine {
  std::string custom_id;
  std::string body;  ///< JSON: as text it is small while it waits
  bool has_seed = false;
};

/// The lines of a batch's file for `endpoint`. Throws ApiError for the first that is wrong, with "line N" in front.
std::vector<BatchLine> read_batch_lines(std::string_view text, std::string_view endpoint);

/// The seed of a line whose request has none: the same whenever the batch is gone on with.
uint64_t batch_seed(std::string_view batch, size_t line);

class BatchRunner {
 public:
  static constexpr size_t kMostLines = 50'000, kWindow = 8;
  static constexpr uint64_t kMostResultBytes = uint64_t{256} << 20;

  struct Calls {
    /// Answers a request, now or later, on any thread.
    std::function<void(const HttpServerRequest&, const std::shared_ptr<Responder>&)> answer;
    /// Whether there is a place for one more, beside `running` of this batch, that nobody else will miss.
    std::function<bool(size_t running)> room;
    std::function<std::string()> random_id;
  };

  BatchRunner(std::shared_ptr<BatchStore> batches, std::shared_ptr<FileStore> files, std::string lock_file,
              Calls calls);
  /// What runs is cancelled; it is computed again another time.
  ~BatchRunner();
  BatchRunner(const BatchRunner&) = delete;
  BatchRunner& operator=(const BatchRunner&) = delete;

  /// There is a new batch, or one to cancel.
  void wake();
  /// Begins no more lines.
  void pause() { paused_ = true; }

 private:
  class Results;
  class LineResponder;

  void work(const std::stop_token& stop);
  bool take_lock(const std::stop_token& stop);
  void one_batch(json::object batch, const std::stop_token& stop);
  bool validate(json::object& batch, std::vector<BatchLine>& lines);
  bool run_lines(const json::object& batch, const std::vector<BatchLine>& lines, const std::stop_token& stop);
  void finalize(json::object batch);
  std::shared_ptr<LineResponder> ask(const std::string& batch, const std::string& endpoint, const BatchLine& line,
                                     size_t number, const std::shared_ptr<Results>& results);
  void rest(const std::stop_token& stop, std::chrono::milliseconds time);

  const std::shared_ptr<BatchStore> batches_;
  const std::shared_ptr<FileStore> files_;
  const std::string lock_file_;  // empty: nobody else can have the store
  const Calls calls_;
  std::atomic<bool> paused_ = false;
  std::mutex mutex_;
  std::condition_variable_any wake_;
  bool woken_ = false;
  int lock_fd_ = -1;
  std::jthread thread_;  // last: it uses all of the above
};

}  // namespace fathom

// What the server counts, for Prometheus: GET /metrics. vLLM's names where it has one, OpenTelemetry's GenAI names for
// times and tokens (dots as underscores, the unit behind), everything else under fathom_. Counting is a few relaxed
// atomics, on the compute thread as on any other; only finding a model's counters takes a lock, once a request.
// The text format is written here: a client library would bring its HTTP server and a registry with locks for it.
#pragma once
#include <array>
#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "engine/model_host.h"
#include "server/http/http.h"

namespace fathom {

struct KeyCounters;

/// Counts values in buckets, each `factor` times as high as the one before. Any thread.
class Histogram {
 public:
  static constexpr size_t kBuckets = 20;
  Histogram(double first, double factor) : first_(first), factor_(factor) {}
  void add(double value);
  /// NAME_bucket, NAME_sum and NAME_count; `labels`: a="b",c="d".
  void write(std::string& out, std::string_view name, const std::string& labels) const;

 private:
  double first_, factor_;
  std::array<std::atomic<uint64_t>, kBuckets + 1> counts_ = {};  // the last: above all bounds
  std::atomic<double> sum_ = 0;
};

/// Of a time, from 1 ms to 9 minutes.
struct TimeHistogram : Histogram {
  TimeHistogram() : Histogram(0.001, 2) {}
};
struct TokenHistogram : Histogram {
  TokenHistogram() : Histogram(1, 2) {}
};

/// OpenTelemetry's gen_ai.operation.name; kRerank is our own.
enum class Operation { kChat, kTextCompletion, kEmbeddings, kRerank };
inline constexpr size_t kOperations = 4;
std::string_view name(Operation operation);  ///< "chat", "text_completion", "embeddings", "rerank"

/// How an answer ended, in vLLM's words: stop, length, abort, error.
enum class Outcome { kStop, kLength, kAbort, kError };
inline constexpr size_t kOutcomes = 4;

struct ModelMetrics {
  TimeHistogram first_token, between_tokens, whole, queue;
  std::atomic<uint64_t> prompt_tokens = 0, new_tokens = 0, thinking_tokens = 0, cached_tokens = 0;
  std::atomic<uint64_t> computed_tokens = 0;  ///< read or written, as they come; without those from the cache
  std::array<std::atomic<uint64_t>, kOutcomes> outcomes = {};
  struct OfOperation {
    TimeHistogram duration, first_token, per_token;
    TokenHistogram input_tokens, output_tokens;
    std::atomic<uint64_t> answers = 0;
  };
  std::array<OfOperation, kOperations> operations;
};

class Metrics {
 public:
  /// The counters of a model; they last as long as this.
  ModelMetrics& of(const std::string& model);
  void responded(int status);        ///< 100 to 599
  uint64_t computed_tokens() const;  ///< of all models
  /// The page. `http`: null where there is no server; `keys`: null where none are needed.
  std::string page(const ModelHost& host, const HttpCounters* http, const KeyCounters* keys = nullptr) const;

 private:
  mutable std::mutex mutex_;
  std::map<std::string, std::unique_ptr<ModelMetrics>> models_;
  std::array<std::atomic<uint64_t>, 600> statuses_ = {};
};

/// Follows one answer for its model's counters. One thread at a time.
class AnswerMeter {
 public:
  AnswerMeter(ModelMetrics& metrics, Operation operation) : metrics_(metrics), operation_(operation) {}
  void prompt(size_t done);  ///< so many of its tokens were computed so far
  void token();
  void done(const Answer& answer);
  void failed();

 private:
  using Clock = std::chrono::steady_clock;
  void computed(size_t tokens);
  double since(Clock::time_point from) const { return std::chrono::duration<double>(Clock::now() - from).count(); }

  ModelMetrics& metrics_;
  Operation operation_;
  Clock::time_point start_ = Clock::now();
  Clock::time_point last_ = start_;  // token
  bool any_token_ = false;
  size_t prompt_done_ = 0, computed_ = 0;  // computed_: as the model's counter knows
};

}  // namespace fathom

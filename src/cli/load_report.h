// What `fathom bench --serve` found of each server under each load, as JSON and as text. Plain data and pure functions.
#pragma once
#include <string>
#include <vector>

#include "base/json.h"
#include "cli/bench_report.h"
#include "cli/load_client.h"

namespace fathom {

/// An answer within these counts as good.
struct LoadLimits {
  double first_token_s = 5, per_token_s = 0.2;
};

/// The value below which `share` of the sorted values lie (nearest rank); 0 where there is none.
double percentile(std::vector<double> values, double share);

/// One server under one load, over all repetitions.
struct ServerUnderLoad {
  std::string url, model;
  std::vector<LoadTrace> traces;
  Samples tokens_per_s, good_per_s;  ///< of each repetition: new tokens, and answers within the limits

  /// Adds a repetition that lasted until its last answer.
  void add(std::vector<LoadTrace> more, const LoadLimits& limits);
  std::vector<double> times_to_first_token() const;
  std::vector<double> times_per_token() const;
  std::vector<double> gaps() const;
  std::vector<double> refusals() const;  ///< seconds until the client heard 429 or 503
  size_t answered() const;
  size_t failed() const;  ///< without the refused
  std::string first_problem() const;
  double mean_prompt_tokens() const;
  double mean_cached_tokens() const;
};

struct LoadTest {
  size_t in_flight = 0;  ///< 0: open loop
  double rate = 0;       ///< of the open loop, requests a second
  size_t disturbing_tokens = 0;
  std::vector<ServerUnderLoad> servers;  ///< in the order of the flags
};

struct LoadReport {
  size_t requests = 0, repeat = 0, shared_tokens = 0, ask_tokens = 0, answer_tokens = 0;
  LoadLimits limits;
  std::vector<LoadTest> tests;
  bool interrupted = false;
};

/// {"format": "fathom.bench-serve", "version": 1, ...} (docs/performance.md).
json::object load_json(const LoadReport& report);
std::string load_text(const LoadReport& report);

}  // namespace fathom

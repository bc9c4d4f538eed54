// Load for an OpenAI server: streamed chats, sent at given times whether or not earlier ones were answered (open loop),
// or so many at a time (closed loop), and when each piece of their answers came. Called by cli/bench_serve.cc. One
// thread, over libcurl's multi interface.
#pragma once
#include <atomic>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"

namespace fathom {

/// One chat to be asked for.
struct LoadRequest {
  std::string body;     ///< JSON; it has "stream": true and asks for usage
  double start_s = 0;   ///< open loop: when it is sent, from the beginning of the load
  bool counted = true;  ///< false: it is there to disturb the others
};

/// What came of it. Times are seconds from the beginning of the load.
struct LoadTrace {
  bool counted = true;
  int status = 0;       ///< of HTTP; 0: nothing came
  std::string problem;  ///< empty: the answer is whole
  double due_s = 0;     ///< when it was to be sent: what the client's own delay adds is the server's wait too
  double first_s = 0, last_s = 0;  ///< the first and last piece of text, thinking or calls; or the refusal
  std::vector<float> gaps_s;       ///< between its pieces
  size_t prompt_tokens = 0, cached_tokens = 0, completion_tokens = 0;

  bool ok() const { return problem.empty(); }
  bool refused() const { return status == 429 || status == 503; }
  double time_to_first_token() const { return first_s - due_s; }
  /// Of the tokens behind the first; 0 for a single one.
  double time_per_token() const {
    return completion_tokens > 1 ? (last_s - first_s) / static_cast<double>(completion_tokens - 1) : 0;
  }
};

struct LoadPlan {
  std::string url;       ///< of chat completions
  std::string api_key;   ///< sent as a bearer token; empty: none
  size_t in_flight = 0;  ///< closed loop: so many at a time; 0: open loop
};

/// Sends all and waits for their ends; `stop` ends it early, and the traces of what was not answered are left out.
std::vector<LoadTrace> run_load(const LoadPlan& plan, std::span<const LoadRequest> requests,
                                const std::atomic<bool>& stop);

/// GETs a small document. Throws Error naming the address where that fails.
std::string fetch_document(const std::string& url, const std::string& api_key);

}  // namespace fathom

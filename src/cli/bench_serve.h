// `fathom bench --serve`: how OpenAI servers, ours and others, fare under the same load. Called by cli/bench.cc.
#pragma once
#include <string>
#include <vector>

#include "cli/load_report.h"

namespace fathom {

struct BenchServeCommand {
  std::vector<std::string> urls;  ///< none: --serve was not given
  std::vector<std::string> models;
  std::vector<double> rates;
  std::vector<size_t> in_flight;
  size_t requests = 64, shared_tokens = 1000, ask_tokens = 30, answer_tokens = 64, disturbing_tokens = 0;
  LoadLimits limits;
  size_t repeat = 5;
  bool json = false;
};

/// The chats of one repetition: the same for every server, other questions in every repetition. Arrivals of the open
/// loop (`rate` > 0) are a Poisson process: gaps of -ln(1 - u) / rate. All random numbers are philox's of seed 1.
std::vector<LoadRequest> load_requests(const BenchServeCommand& command, const std::string& model, double rate,
                                       size_t repetition);

/// Measures and prints. Returns the exit code. Throws Error for servers that are not there.
int bench_serve(const BenchServeCommand& command);

}  // namespace fathom

// `fathom bench --train`: how fast a model trains here, next to what the machine multiplies and to other trainers.
// Called by cli/bench.cc. One thread.
#pragma once
#include <string>
#include <vector>

#include "cli/bench_report.h"
#include "cli/settings.h"

namespace fathom {

struct BenchTrainCommand {
  std::string config;  ///< a config.json; empty: --train was not given
  size_t sequences = 12, context = 64;
  std::vector<std::string> rivals;  ///< --compare
  size_t repeat = 5;
  bool json = false;
};

/// One large linear layer's products, each a share of the peak measured just before and after.
struct ProductShares {
  size_t T = 0, K = 0, O = 0;
  Samples forward, input, weight;
};

struct BenchTrainReport {
  std::string processor, kernels, config;
  size_t threads = 0, repeat = 0, sequences = 0, context = 0, vocab_size = 0;
  uint64_t parameters = 0;
  double operations_per_token = 0;   ///< of forward and both backwards, a multiply-add being two
  Samples tokens_per_s;              ///< one whole step each
  std::vector<ProbeReading> probes;  ///< one before the first step and one after each
  ProductShares products;
  std::vector<RivalSpeed> rivals;
  bool interrupted = false;
  std::string failure;  ///< a rival's, which ended the run; empty: none

  double share_of_peak() const;  ///< medians; 0 where the kernels have no f32 probe
  /// Some reading's nops fell below three quarters of the best.
  bool is_shared() const;
};

/// {"format": "fathom.bench-train", "version": 1, ...} (docs/performance.md).
json::object bench_train_json(const BenchTrainReport& report);
std::string bench_train_table(const BenchTrainReport& report);

/// Measures and prints. Returns the exit code. Throws Error for wrong configurations and where a rival failed.
int bench_train(const BenchTrainCommand& command, const Settings& settings);

}  // namespace fathom

// The energy of an answer: what was drawn from its beginning to its end, by base/energy.h, times its part of the tokens
// that were computed for all requests meanwhile. Exact where it was alone; beside others a token that is read counts as
// much as one that is written. Thread-safe.
#pragma once
#include <mutex>
#include <string>

#include "base/energy.h"
#include "server/metrics.h"

namespace fathom {

class AnswerEnergy {
 public:
  /// `metrics` counts the tokens, and must outlive this.
  explicit AnswerEnergy(const Metrics& metrics, const std::filesystem::path& powercap = "/sys/class/powercap")
      : metrics_(metrics), meter_(/*stated_watts=*/0, powercap) {}

  struct Mark {
    double joules = 0;
    uint64_t tokens = 0;
  };
  struct Share {
    double joules;
    double part;         ///< of the tokens that were computed meanwhile, 0 to 1
    std::string source;  ///< as EnergyReading has it
  };
  /// Now. Also keeps counters from wrapping around unseen: called at least every few minutes while answers are made.
  Mark mark();
  /// Of an answer that computed `tokens`, all of which are counted already.
  Share since(const Mark& begin, uint64_t tokens);

 private:
  const Metrics& metrics_;
  std::mutex mutex_;
  EnergyMeter meter_;
};

}  // namespace fathom

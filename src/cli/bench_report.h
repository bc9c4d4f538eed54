// What `fathom bench` found, as JSON and as a table of 80 columns. Plain data and pure functions.
#pragma once
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/json.h"
#include "engine/engine.h"
#include "engine/probes.h"
#include "engine/quality.h"
#include "engine/speculation.h"

namespace fathom {

/// Several measurements of one thing.
struct Samples {
  std::vector<double> values;
  double median() const;  ///< 0 where there is none
  double least() const;
  double most() const;
};

/// Another program at the same test, once after each of our measurements.
struct RivalSpeed {
  std::string command;   ///< as given to --compare
  Samples tokens_per_s;  ///< none: its command cannot do this test
};

/// How many times as fast we are: of the medians, and the range of the pairs that ran one after the other.
struct SpeedRatio {
  double of_medians = 0, least = 0, most = 0;
};
/// nullopt where either has no measurement.
std::optional<SpeedRatio> speed_ratio(const Samples& ours, const Samples& theirs);

/// One member of each reading.
Samples of_probes(std::span<const ProbeReading> probes, double ProbeReading::*member);
/// {median, min, max, values}, or null where there is none.
json::value samples_json(const Samples& samples);
/// {of_medians, min, max}, or null.
json::value ratio_json(const Samples& ours, const Samples& theirs);
/// Three digits or more, as short as that allows: "9.88", "98.8", "988".
std::string short_number(double x);
/// "1.52 (1.48..1.57)"
std::string ratio_text(const SpeedRatio& ratio);

struct BenchResult {
  enum class Kind { kPrefill, kDecode } kind = Kind::kPrefill;
  size_t tokens = 0, depth = 0, sequences = 1;
  Samples tokens_per_s;              ///< of all sequences together
  std::vector<ProbeReading> probes;  ///< one before the first measurement and one after each
  double bytes_per_token = 0, macs_per_token = 0;
  std::vector<RivalSpeed> rivals;  ///< in the order of the flags

  Samples read_gb_s() const;
  Samples peak_gop_s() const;
  Samples nops_per_ns() const;
  double share_of_read() const;                 ///< bytes_per_token * tok/s over the read probe, medians
  std::optional<double> share_of_peak() const;  ///< 2 * macs_per_token * tok/s over the peak; nullopt: no such unit
};

/// What verifying guesses costs: passes over several tokens of one sequence, in turn with passes over one.
struct VerifyResult {
  size_t depth = 0;
  std::vector<ProbeReading> probes;
  struct Pass {
    size_t rows = 1;
    Samples seconds;
  };
  std::vector<Pass> passes;  ///< the first is over one row
};

/// A text replayed with speculation by matches and without (engine/replay.h).
struct TranscriptResult {
  std::string name;
  size_t tokens = 0;
  SpeculationStats speculation;  ///< of one replay: all are the same
  double tokens_per_pass = 0;
  Samples tokens_per_s, tokens_per_s_off;
  std::vector<ProbeReading> probes;
};

struct BenchReport {
  EngineInfo engine;
  std::string processor, unit;
  size_t probe_bytes = 0, repeat = 0;
  bool huge_pages = false, interrupted = false;  ///< `interrupted`: the rest was not measured
  std::vector<BenchResult> results;
  std::optional<VerifyResult> verify;
  std::vector<TranscriptResult> transcripts;
  size_t first_token_prompt = 0;
  Samples load_s, first_token_s;  ///< of cold starts: until the model is loaded, until the first token
  uint64_t peak_memory_bytes = 0;
  std::optional<Quality> quality;
  std::string quality_text;  ///< the text's name
  std::string failure;       ///< a rival's, which ended the run; empty: none

  /// The fastest look of the whole run; a result whose own falls below three quarters of it had company.
  double best_nops_per_ns() const;
  bool is_shared(std::span<const ProbeReading> probes) const;
};

/// "prefill 512", "decode 4x @1000".
std::string bench_label(const BenchResult& result);
/// "replay a.txt", "1.52 tokens per pass; 84.1 tok/s, 60.2 without, ratio 1.40 (1.33..1.44)".
std::string transcript_label(const TranscriptResult& result);
std::string transcript_line(const TranscriptResult& result);
/// {"format": "fathom.bench", "version": 1, ...} (docs/performance.md).
json::object bench_json(const BenchReport& report);
std::string bench_table(const BenchReport& report);

}  // namespace fathom

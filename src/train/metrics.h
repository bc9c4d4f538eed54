// metrics.jsonl of a run folder: a header line, then one JSON object per step. The trainer appends, the report reads.
// One writer at a time (the run folder's lock); readers need no lock.
//
// Fields, all optional but step; "so far" counts from the run's beginning, over all resumes:
//   step, tokens (so far), seconds (so far), loss, validation_loss, mtp_loss, balance_loss, learning_rate,
//   gradient_norm, tokens_per_second, peak_share (of the machine's matrix peak, 0 to 1), expert_load (largest over
//   mean), reward, validation_reward, length (mean tokens of an answer), drawn_per_second (tokens of answers, graded),
//   truncated (share), kl, entropy, clip_low, clip_high (shares of tokens), ratio_mean, ratio_max,
//   length_above, length_below (mean, of answers above and below their group's mean reward), equal_groups (share),
//   verified_tokens (equal in sampler and trainer, bit for bit), preferred, validation_preferred (shares of pairs),
//   margin, validation_margin (of dpo's rewards), cross_entropy (of distillation, whose loss is the divergence kl
//   times temperature squared), validation_kl, validation_cross_entropy, joules (so far), energy_source
// Of stage reject, whose step counts prompts: reward, length, truncated (of the batch), answers, answers_truncated,
//   answers_wrong, answers_easy, answers_unreadable, answers_duplicate, answers_surplus, answers_kept (so far), bytes
//   (of answers.jsonl)
#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "train/line_file.h"

namespace fathom {

struct Metrics {
  json::object header;              ///< {"format":"fathom.metrics","version":1, ...}
  std::vector<json::object> steps;  ///< each with an integer "step", ascending
};

/// Reads the file. A last line that is not complete (a killed writer's) is left out. Throws Error naming file and line
/// where the header is of another format or version, or another line is no object with a step above the last one.
Metrics read_metrics(const std::filesystem::path& path);

class MetricsLog {
 public:
  /// Creates the file with `header` (format and version are put first), whole or not at all. Throws Error if it exists.
  MetricsLog(const std::filesystem::path& path, const json::object& header);
  /// Goes on with an existing file: lines of steps after `last_step` and a half-written last line are cut off.
  MetricsLog(const std::filesystem::path& path, int64_t last_step);
  /// Appends one line, whole unless the process or disk dies meanwhile. Numbers that are not finite become null.
  /// `line` has an integer "step" above that of the line before. Throws ResourceError where the disk is full.
  void append(const json::object& line);
  /// Returns when all lines are on the disk. Called before a checkpoint is made visible.
  void sync() { file_->sync(); }

 private:
  std::unique_ptr<LineFile> file_;
  int64_t last_step_ = -1;
};

}  // namespace fathom

// Rewards from a program of the user's, in any language: it reads lines {"prompt", "completion", "answer"} and writes
// one line {"reward": x} for each, in order. It runs in a sandbox (tasks/sandbox.h), and what it does wrong is
// contained and named. Called by the training loops. One thread per object: the program does not outlive the thread
// that started it.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tasks/sandbox.h"

namespace fathom {

struct RewardRequest {
  std::string prompt, completion, answer;
};

struct RewardProgramLimits {
  SandboxLimits sandbox;
  double seconds = 10;                        ///< for each answer, the program's start included in the first
  uint64_t line_bytes = uint64_t{1} << 16;    ///< of one answer
  uint64_t error_bytes = uint64_t{16} << 20;  ///< of standard error in one call of rewards()
};

class RewardProgram {
 public:
  explicit RewardProgram(std::vector<std::string> command, RewardProgramLimits limits = {});
  ~RewardProgram();

  /// One finite number per request. The program is started by the first call and serves the later ones.
  /// Throws Error naming the command, the request and what was found, with the last line of the program's standard
  /// error: it did not answer in time, ended, wrote something else than {"reward": number}, wrote more lines than it
  /// was asked for, a line too long, or used more memory than it may. It is ended then, and a later call starts it
  /// anew.
  std::vector<double> rewards(std::span<const RewardRequest> requests);

 private:
  struct Exchange;
  [[noreturn]] void fail(const Exchange& exchange, const std::string& expected, const std::string& found);
  void take_answers(Exchange& exchange);
  void take_errors(Exchange& exchange);
  void step(Exchange& exchange, int wait_ms);

  std::vector<std::string> command_;
  RewardProgramLimits limits_;
  std::unique_ptr<SandboxedProcess> process_;  // null: not running
};

}  // namespace fathom

// Another program's speed at a test of ours, for `fathom bench --compare`: its command line, its process, its answer.
// One thread.
#pragma once
#include <atomic>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "base/error.h"

namespace fathom {

/// The other program failed, or said what nobody understands; the message has its last lines.
class RivalError : public Error {
 public:
  using Error::Error;
};

/// What the other program is asked to do: `prompt` tokens from an empty cache, or `decode` tokens for each of `batch`
/// sequences after `depth` cached ones; the other of the two is 0.
struct RivalTest {
  std::string model;
  size_t prompt = 0, decode = 0, depth = 0, threads = 1, batch = 1;
};

/// A place of a command and what is put there: "{threads}", "2".
using RivalPlace = std::pair<std::string_view, std::string>;
/// `pattern` with every place filled in once, from left to right; other braces stay as they are.
std::string fill_places(std::string_view pattern, std::span<const RivalPlace> places);
/// One word of a POSIX shell, whatever its characters.
std::string shell_word(std::string_view text);

/// `pattern`, a command of the shell, with {model}, {prompt}, {decode}, {depth}, {threads} and {batch} replaced. The
/// model's name is quoted, whatever its characters. Other braces stay as they are.
std::string rival_command(std::string_view pattern, const RivalTest& test);
/// It has {batch}: other commands decode one sequence.
bool takes_batches(std::string_view pattern);

/// Runs the command in a process group of its own and returns what it wrote to standard output. Throws
/// RivalError where it does not end with 0; Interrupted, with the group killed, once `stop` is set.
std::string run_rival(const std::string& command, const std::atomic<bool>& stop);

/// Tokens per second out of that. JSON is llama-bench's: avg_ts of the one test that is `test`, by n_gen, n_prompt and
/// n_depth; one that knows no n_depth has the depth as its n_prompt. Of anything else it is the last number of the last
/// line. Throws RivalError that says what came.
double rival_speed(std::string_view output, const RivalTest& test);
/// The same of {"tokens_per_s": N}, which a program that trains prints.
double rival_training_speed(std::string_view output);

}  // namespace fathom

// Tasks with exact graders: a seed makes examples, a completion gets a reward. Training (SFT, GRPO, rejection sampling)
// and evaluation share them. A Task is immutable: any number of threads may use one.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fathom {

/// One problem.
struct Example {
  std::string id;      ///< names the problem itself: equal ids are equal problems
  std::string prompt;  ///< text that a base model continues, or a chat model's user message
  std::string answer;  ///< a completion that earns the full reward
};

struct Reward {
  double reward = 0;                                  ///< what a trainer maximises, 0 to 1
  std::vector<std::pair<std::string, double>> parts;  ///< what it is made of, by name, for the log
};

/// No problem is in both: which half a problem belongs to depends on the problem alone, not on the seed.
enum class Split : uint8_t { kTrain, kHeldOut };

class Task {
 public:
  virtual ~Task() = default;
  virtual std::string_view name() const = 0;
  /// Problem number `index` of an endless list, which the seed decides; problems come back where a task has few.
  virtual Example example(Split split, uint64_t seed, uint64_t index) const = 0;
  /// Grades the text that a model wrote behind the prompt, without its end token. White space around it is ignored.
  virtual Reward reward(const Example& example, std::string_view completion) const = 0;
};

/// Throws Error listing the names if there is no such task.
///   addition      "34+58=" -> "92": numbers of two digits
///   larger-digit  "3,7>" -> "7": two different digits (spec/training.md 10.3)
///   countdown     three or four numbers and a target -> "<answer>(3+5)*7</answer>" (spec/training.md 7.5)
///   copy          "copy fhqa>" -> "fhqa": 3 to 8 letters
///   sort          "sort 5274>" -> "2457": 3 to 8 digits
std::unique_ptr<const Task> make_task(std::string_view name);

/// The names of make_task, in its order.
std::vector<std::string> task_names();

}  // namespace fathom

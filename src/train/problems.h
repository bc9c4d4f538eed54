// The problems of a recipe: prompts from a task or from files, answers graded by the task's verifier or by a program of
// the user's. Used by reinforcement and by rejection sampling, on the engine's compute thread.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "tasks/reward_program.h"
#include "tasks/task.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"
#include "train/grpo_batch.h"

namespace fathom {

struct ProblemSource {
  std::string task;                ///< empty: files
  std::vector<std::string> files;  ///< JSONL, {"prompt": "...", "answer": "..."}, the answer for the program
  std::string reward_program;      ///< empty: the task grades
  Split split = Split::kTrain;     ///< of the task
  uint64_t seed = 0;               ///< of the task
};

class RecipeProblems final : public Problems {
 public:
  /// Tokenizer and template (null: none) outlive this. Throws Error for an unknown task, or files that are wrong or
  /// have no problem.
  RecipeProblems(const ProblemSource& source, const Tokenizer& tokenizer, const ChatTemplate* chat_template);

  /// Of files, after which they come again; 0: the task's do not end.
  uint64_t count() const { return from_files_.size(); }
  Example example(uint64_t index) const;
  /// What the model reads: the user's message in the model's template, whose answer begins; without a template the
  /// problem as it is, behind BOS where the tokenizer adds one.
  std::vector<TextPiece> prompt_text(uint64_t index) const;
  std::vector<TokenId> prompt(uint64_t index) override;
  /// The ids of an answer without its end token.
  std::span<const TokenId> written(const Rollout& answer) const;
  /// What the verifier, or the program, says to all that the model wrote. Throws Error as RewardProgram does.
  double reward(uint64_t index, const Rollout& answer) override;

 private:
  std::unique_ptr<const Task> task_;  // null: from_files_
  std::vector<Example> from_files_;
  Split split_;
  uint64_t seed_;
  const Tokenizer& tokenizer_;
  const ChatTemplate* chat_template_;
  std::unique_ptr<RewardProgram> program_;  // null: the task grades
};

}  // namespace fathom

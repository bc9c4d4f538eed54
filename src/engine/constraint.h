// Keeps an answer to its plan (answer_plan.h): which tokens are sure, and which may come next. The thinking stays free,
// but the answer cannot end in it. One per answer, on the compute thread.
#pragma once
#include <memory>
#include <optional>
#include <vector>

#include "engine/answer_plan.h"
#include "sampling/grammar/grammar_matcher.h"

namespace fathom {

class Constraint {
 public:
  /// `may_think`: the prompt leaves it to the model whether it thinks first.
  Constraint(const Engine& engine, std::shared_ptr<const AnswerPlan> plan, bool may_think);

  /// Tokens that must come now, once; empty: the next one is drawn.
  std::vector<TokenId> sure(bool thinking);
  /// The tokens that may be drawn next; empty: all. Throws Error if the plan allows none of the vocabulary's.
  TokenMask mask(bool thinking);
  /// A token was drawn or forced. `thinking`: before it, and after it.
  void accept(TokenId id, bool thinking_before, bool thinking_after);
  /// Nothing may follow any more.
  bool complete() const { return state_ == State::kDone; }

 private:
  enum class State {
    kFree,    ///< until the model begins the plan by itself
    kFirst,   ///< nothing of the plan has come
    kTokens,  ///< of a step, `token_` of them have come
    kText,    ///< of a step's grammar
    kAgain,   ///< all steps are done: again, or the end
    kDone,
  };

  void enter(size_t step);
  void enter_text();
  void next_step();
  void follow(TokenId id);
  const AnswerStep& step() const { return plan_->steps[step_]; }
  void allow(TokenId id) { words_[static_cast<size_t>(id) / 64] |= uint64_t{1} << (id % 64); }
  void forbid(TokenId id) { words_[static_cast<size_t>(id) / 64] &= ~(uint64_t{1} << (id % 64)); }

  const Engine& engine_;
  std::shared_ptr<const AnswerPlan> plan_;
  State state_ = State::kFirst;
  size_t step_ = 0, token_ = 0;
  bool may_think_;
  std::optional<GrammarMatcher> matcher_;  // of the step
  std::string text_;                       // that the step has
  std::vector<uint64_t> words_;
  std::vector<uint64_t> endless_;  // all tokens but those that end the answer; empty: not asked for so far
};

}  // namespace fathom

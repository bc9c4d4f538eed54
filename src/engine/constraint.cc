#include "engine/constraint.h"

#include <algorithm>

namespace fathom {

Constraint::Constraint(const Engine& engine, std::shared_ptr<const AnswerPlan> plan, bool may_think)
    : engine_(engine), plan_(std::move(plan)), may_think_(may_think) {
  check(!plan_->steps.empty(), "a plan has steps");
  if (plan_->when_begun) {
    state_ = State::kFree;
  } else {
    enter(0);
    if (!may_think_) return;
    state_ = State::kFirst;
  }
}

void Constraint::enter(size_t step) {
  step_ = step, token_ = 0;
  if (this->step().tokens.empty())
    enter_text();
  else
    state_ = State::kTokens;
}

void Constraint::enter_text() {
  const AnswerStep& s = step();
  const auto chosen = s.by_text.find(text_);
  text_.clear();
  const Grammar* grammar = chosen != s.by_text.end() ? &chosen->second : s.grammar ? &*s.grammar : nullptr;
  if (!grammar) return next_step();
  matcher_.emplace(*grammar);
  state_ = State::kText;
  if (matcher_->must_finish()) next_step();
}

void Constraint::next_step() {
  matcher_.reset();
  if (step_ + 1 < plan_->steps.size()) return enter(step_ + 1);
  state_ = plan_->again ? State::kAgain : State::kDone;
}

std::vector<TokenId> Constraint::sure(bool thinking) {
  if (thinking || state_ != State::kTokens) return {};
  const std::vector<TokenId>& tokens = step().tokens;
  return {tokens.begin() + static_cast<ptrdiff_t>(token_), tokens.end()};
}

TokenMask Constraint::mask(bool thinking) {
  const size_t V = engine_.config().vocab_size;
  if (thinking && state_ != State::kFree) {
    if (endless_.empty()) {
      endless_.assign((V + 63) / 64, ~uint64_t{0});
      for (size_t id = 0; id < V; ++id)
        if (engine_.is_end_of_generation(static_cast<TokenId>(id))) endless_[id / 64] &= ~(uint64_t{1} << (id % 64));
    }
    return {endless_};
  }
  if (state_ == State::kFree) return {};
  words_.assign((V + 63) / 64, 0);
  if (matcher_) {
    matcher_->mask(engine_.token_trie(), words_);
    words_.resize((V + 63) / 64, 0);
    if (step_ + 1 < plan_->steps.size()) {
      for (const TokenId id : engine_.token_trie().end_of_generation()) forbid(id);
      if (matcher_->may_finish() && step().ending) allow(*step().ending);
    }
  }
  if (state_ == State::kFirst) {
    if (!step().tokens.empty()) allow(step().tokens.front());
    if (const std::optional<TokenId>& open = engine_.output_format().think_open.id) allow(*open);
  }
  if (state_ == State::kAgain) {
    allow(plan_->steps[*plan_->again].tokens.front());
    for (const TokenId id : engine_.token_trie().end_of_generation()) allow(id);
  }
  if (std::ranges::all_of(words_, [](uint64_t w) { return w == 0; }))
    throw Error("the answer's grammar: expected a token of the vocabulary that may come next, found none");
  return {words_};
}

void Constraint::accept(TokenId id, bool thinking_before, bool thinking_after) {
  if (thinking_before || thinking_after) return;
  switch (state_) {
    case State::kFree:
      if (id == plan_->steps.front().tokens.front()) enter(0), follow(id);
      break;
    case State::kFirst:
      enter(0);
      follow(id);
      break;
    case State::kAgain:
      enter(*plan_->again);
      follow(id);
      break;
    default: follow(id);
  }
}

/// A token within a step.
void Constraint::follow(TokenId id) {
  if (state_ == State::kTokens) {
    // White space between thinking and answer, which a budget forces, is not the answer's.
    if (id != step().tokens[token_]) return;
    if (++token_ == step().tokens.size()) enter_text();
    return;
  }
  if (state_ != State::kText) return;
  if (step().ending == id && matcher_->may_finish()) {
    next_step();
    return follow(id);
  }
  const std::string_view bytes = engine_.tokenizer().token_view(id);
  if (!matcher_->accept(bytes)) return;  // white space, as above
  text_ += bytes;
  if (matcher_->must_finish()) next_step();
}

}  // namespace fathom

#include "engine/constraint.h"

#include <algorithm>

namespace fathom {

Constraint::Constraint(const Engine& engine, Grammar grammar, bool may_think)
    : engine_(engine), matcher_(std::move(grammar)), may_think_(may_think) {}

TokenMask Constraint::mask(bool thinking) {
  const size_t V = engine_.config().vocab_size;
  if (thinking) {
    if (free_.empty()) {
      free_.assign((V + 63) / 64, ~uint64_t{0});
      for (size_t id = 0; id < V; ++id)
        if (engine_.is_end_of_generation(static_cast<TokenId>(id))) free_[id / 64] &= ~(uint64_t{1} << (id % 64));
    }
    return {free_};
  }
  matcher_.mask(engine_.token_trie(), words_);
  words_.resize((V + 63) / 64, 0);
  const std::optional<TokenId>& open = engine_.output_format().think_open.id;
  if (may_think_ && !begun_ && open) words_[static_cast<size_t>(*open) / 64] |= uint64_t{1} << (*open % 64);
  if (std::ranges::all_of(words_, [](uint64_t w) { return w == 0; }))
    throw Error("the grammar: expected a token of the vocabulary that may come next, found none");
  return {words_};
}

void Constraint::accept(TokenId id, bool thinking_before, bool thinking_after) {
  if (thinking_before || thinking_after) return;
  const std::string_view bytes = engine_.tokenizer().token_view(id);
  // White space that a budget forces between thinking and answer is not the answer's.
  if (!begun_ && !matcher_.accept(bytes)) return;
  if (begun_) matcher_.accept(bytes);
  begun_ = true;
}

}  // namespace fathom

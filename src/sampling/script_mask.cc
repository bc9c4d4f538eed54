#include "sampling/script_mask.h"

#include <algorithm>

#include "base/error.h"

namespace fathom {
namespace {

void put(std::vector<uint64_t>& words, TokenId id, bool allowed) {
  const uint64_t bit = uint64_t{1} << (id % 64);
  uint64_t& word = words[static_cast<size_t>(id) / 64];
  word = allowed ? word | bit : word & ~bit;
}

}  // namespace

ScriptMask::ScriptMask(const Tokenizer& tokenizer, size_t vocab_size, ScriptSet scripts)
    : scripts_(scripts), bits_((vocab_size + 63) / 64, ~uint64_t{0}) {
  for (size_t i = 0; i < std::min(vocab_size, tokenizer.vocab_size()); ++i) {
    const auto id = static_cast<TokenId>(i);
    const std::string_view bytes = tokenizer.token_view(id);
    if (bytes.empty() || tokenizer.kind(id) == TokenKind::kControl) continue;
    put(bits_, id, keeps_to(scripts, bytes));
    const auto first = static_cast<uint8_t>(bytes[0]);
    if (first >= 0x80 && first < 0xC0) continuing_.push_back({id, std::string(bytes)});
  }
}

TokenMask ScriptLock::narrowed(TokenMask other) {
  if (pending_.empty() && other.empty()) return {mask_->bits()};
  words_.assign(mask_->bits().begin(), mask_->bits().end());
  if (!pending_.empty())
    for (const ScriptMask::Continuing& token : mask_->continuing())
      put(words_, token.id, keeps_to(mask_->scripts(), pending_ + token.bytes));
  if (other.empty()) return {words_};
  check(other.bits.size() == words_.size(), "masks of one vocabulary");
  for (size_t i = 0; i < words_.size(); ++i) words_[i] &= other.bits[i];
  if (std::ranges::all_of(words_, [](uint64_t w) { return w == 0; }))
    throw Error("language: the answer's form wants letters of a script that the language does not have");
  return {words_};
}

void ScriptLock::accept(std::string_view bytes) {
  pending_ += bytes;
  pending_ = bytes.empty() ? "" : std::string(incomplete_tail(pending_));
}

}  // namespace fathom

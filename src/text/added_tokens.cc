#include "text/added_tokens.h"

#include <algorithm>

#include "base/error.h"

namespace fathom {

AddedTokens::AddedTokens(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {
  std::sort(tokens_.begin(), tokens_.end(), [](const auto& a, const auto& b) { return a.text < b.text; });
  for (size_t i = 0; i < tokens_.size(); ++i) {
    const AddedToken& token = tokens_[i];
    if (token.text.empty() || token.text.size() > kMaxBytes)
      throw Error(cat("added token ", token.id, ": expected 1 to ", kMaxBytes, " bytes, found ", token.text.size()));
    if (i > 0 && tokens_[i - 1].text == token.text)
      throw Error(
          cat("added token \"", token.text, "\": expected one id, found ", tokens_[i - 1].id, " and ", token.id));
    first_[static_cast<uint8_t>(token.text[0])] |= token.always ? 3 : 1;
  }
}

std::optional<AddedTokens::Match> AddedTokens::find(std::string_view text, size_t from, size_t to, bool trusted) const {
  const uint8_t wanted = trusted ? 1 : 2;
  for (size_t at = from; at < to; ++at) {
    if (!(first_[static_cast<uint8_t>(text[at])] & wanted)) continue;
    if (const auto match = longest_at(text, at, trusted ? to : at)) return match;
  }
  return std::nullopt;
}

std::optional<AddedTokens::Match> AddedTokens::longest_at(std::string_view text, size_t at, size_t trusted_end) const {
  std::optional<Match> best;
  auto low = tokens_.begin(), high = tokens_.end();  // those that begin with the bytes read so far
  for (size_t depth = 0; at + depth < text.size() && low != high; ++depth) {
    const auto byte = static_cast<uint8_t>(text[at + depth]);
    const auto byte_of = [depth](const AddedToken& token) { return static_cast<uint8_t>(token.text[depth]); };
    low = std::partition_point(low, high, [&](const AddedToken& token) { return byte_of(token) < byte; });
    high = std::partition_point(low, high, [&](const AddedToken& token) { return byte_of(token) == byte; });
    if (low == high || low->text.size() != depth + 1) continue;
    const size_t end = at + depth + 1;
    if (low->always || end <= trusted_end) best = Match{at, end, low->id};
    ++low;  // it has no further byte
  }
  return best;
}

std::optional<TokenId> AddedTokens::id_of(std::string_view text) const {
  const auto at =
      std::lower_bound(tokens_.begin(), tokens_.end(), text, [](const auto& token, auto t) { return token.text < t; });
  if (at == tokens_.end() || at->text != text) return std::nullopt;
  return at->id;
}

}  // namespace fathom

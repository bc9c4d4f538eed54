// The tokens of an answer with their probabilities, as the store keeps them and as the page sees them: what the model
// gave each drawn token, and the likeliest others at its place. Values; one thread.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/json.h"
#include "sampling/logprobs.h"
#include "text/tokenizer.h"

namespace fathom {

/// Gathers an answer's tokens in a few bytes each: every text once, log-probabilities in thousandths (of natural
/// logarithms, before temperature and top-p; -100 stands for all below), all numbers in 7 bits a byte.
class AnswerTokens {
 public:
  /// Alternatives that are asked for; those below a probability of 1/10,000 are not kept.
  static constexpr size_t kAlternatives = 5;
  /// Tokens that are kept, the first of an answer; the others are counted.
  static constexpr size_t kMost = size_t{1} << 16;
  /// What is known of a token besides, as bits.
  enum : uint8_t { kThinking = 1, kForced = 2, kControl = 4 };

  void add(const Tokenizer& tokenizer, TokenId id, const TopLogprobs& logprobs, uint8_t bits);
  size_t count() const { return count_; }
  /// For the store; empty where there is no token.
  std::string packed() const;

 private:
  uint64_t text_of(const Tokenizer& tokenizer, TokenId id);

  std::unordered_map<TokenId, uint64_t> known_;  // -> the text's number
  std::string texts_, tokens_;
  size_t count_ = 0;
};

/// {total, texts: [TEXT], tokens: [[bits, text, logprob, other text, its logprob, ...]]}: of `total` tokens the first
/// ones; TEXT is a string, or a list of bytes where it is a part of a character; texts are named by their numbers.
/// "" has none. Throws Error for what packed() does not make.
json::object answer_tokens_json(std::string_view packed);

}  // namespace fathom

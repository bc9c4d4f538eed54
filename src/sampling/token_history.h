// What a sequence has said so far, counted per token, and the penalties that follow from it. Owned by a Sampler; one
// thread at a time. Memory grows with the distinct tokens seen (and the window), not with the vocabulary.
#pragma once
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "sampling/params.h"

namespace fathom {

class TokenHistory {
 public:
  /// window: the last tokens that count as seen; 0 = all.
  explicit TokenHistory(size_t window = 0) : window_(window) {}

  void add(TokenId id, bool from_prompt);

  /// logits [V], changed in place, for every id seen:
  ///   repetition (id within the window of prompt and output): logit > 0 ? logit / r : logit * r;
  ///   then logit - c * frequency_penalty - presence_penalty, where c > 0 counts id among the generated tokens.
  void penalise(std::span<double> logits, const SamplingParams& params) const;

 private:
  struct Count {
    uint32_t seen = 0;       // in the window
    uint32_t generated = 0;  // since the prompt
  };
  std::unordered_map<TokenId, Count> counts_;
  size_t window_;
  std::vector<TokenId> recent_;  // a ring of window_ ids, unused without a window
  size_t oldest_ = 0;            // where in recent_, once it is full
};

}  // namespace fathom

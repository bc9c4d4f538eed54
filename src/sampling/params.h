// How a request wants its tokens drawn: plain numbers with the defaults of DESIGN.md 4 and the names of the OpenAI and
// vLLM APIs. Server and command line fill it, engine/ hands it to a Sampler. A value: copy it freely.
#pragma once
#include <cstdint>
#include <map>

#include "text/tokenizer_spec.h"

namespace fathom {

struct SamplingParams {
  double temperature = 0.6;  ///< logits are divided by it; 0 = greedy: the largest logit, lowest id among equals
  int top_k = 0;             ///< keep the k largest; 0 = all
  double top_p = 0.95;       ///< keep the fewest largest whose probabilities reach it; 1 = all, at least one is kept
  double min_p = 0;          ///< keep tokens at least this likely, relative to the most likely; 0 = all

  /// Over the tokens of prompt and output: logit > 0 ? logit / r : logit * r. Source: CTRL, arXiv:1909.05858.
  double repetition_penalty = 1;
  /// The repetition penalty looks at this many last tokens of prompt and output; 0 = all of them.
  int penalty_window = 0;
  /// Over generated tokens alone, c times generated: logit - c * frequency - (c > 0 ? presence : 0), as OpenAI's API.
  double presence_penalty = 0, frequency_penalty = 0;
  std::map<TokenId, double> logit_bias = {};  ///< added to the logit; -infinity bans the token

  /// What the random numbers depend on, besides the position (spec/numerics.md 7). A rollout sets all four.
  uint64_t seed = 0;
  uint32_t choice = 0;  ///< index of the choice within its request; a rollout's sample
  uint32_t prompt = 0, step = 0;

  /// Throws Error naming field, range and value if a number is out of range or not a number.
  void validate() const;
};

}  // namespace fathom

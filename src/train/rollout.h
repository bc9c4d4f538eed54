// Rollouts: answers drawn by the engine, many at once, each token with the log-probability that it was drawn with.
// Called by the reinforcement loop and by rejection sampling, on the engine's compute thread.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "base/work.h"
#include "engine/engine.h"
#include "train/sample.h"

namespace fathom {

struct RolloutOptions {
  size_t samples = 1;             ///< answers to each prompt
  float temperature = 1;          ///< above 0
  size_t max_tokens = 256;        ///< of an answer, its end token included
  std::vector<TokenId> stop_ids;  ///< end an answer, beside the model's own end tokens
  uint64_t seed = 0;              ///< of the run
  uint32_t step = 0;              ///< of the run
  uint32_t first_prompt = 0;      ///< number of the first prompt within the step
  WorkProgress progress;          ///< hears after every pass how many answers are over, and may stop it all
};

/// The tokens that end an answer by the tokenizer, for stop_ids.
std::vector<TokenId> end_ids(const Tokenizer& tokenizer);

/// One answer.
struct Rollout {
  uint32_t prompt = 0, sample = 0;  ///< numbers of the prompt within the step and of the answer to it
  std::vector<TokenId> ids;         ///< the prompt and behind it the answer, with its end token
  size_t prompt_tokens = 0;
  std::vector<float> logprobs;  ///< of the answer's tokens
  bool truncated = false;       ///< ended by max_tokens

  std::span<const TokenId> prompt_ids() const { return std::span(ids).first(prompt_tokens); }
  std::span<const TokenId> completion() const { return std::span(ids).subspan(prompt_tokens); }
};

/// Draws `samples` answers to each prompt: prompt after prompt, the samples of each in order.
///   Each token is drawn from softmax(logits / T), nothing cut off, with the Philox counter {position, sample, prompt,
///   step}; logprobs holds log_softmax_at(logits, token, T), which a trainer recomputes bit for bit (law 1).
///   An answer ends at an end token, which it keeps, or at max_tokens.
/// As many answers run at once as have room in the engine's pool; those to one prompt share its pages. One that finds
/// no page while it runs gives its own back and is computed again later, with the same bits (law 2). The pool must be
/// empty, and is so afterwards. Throws Error naming the prompt that is empty or does not fit with max_tokens into the
/// engine's context, for a temperature that is not above 0, and for logits that are no numbers. Source:
/// spec/numerics.md 7.
std::vector<Rollout> roll_out(Engine& engine, std::span<const std::vector<TokenId>> prompts,
                              const RolloutOptions& options);

/// The answer as a training sample: its tokens count, the prompt's do not.
Sample sample_of(const Rollout& rollout);

}  // namespace fathom

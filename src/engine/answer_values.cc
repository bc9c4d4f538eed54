// What stands around an answer: names, speeds, prompts, defaults.
#include <random>

#include "engine/answer.h"

namespace fathom {

std::string_view name(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop: return "stop";
    case FinishReason::kLength: return "length";
    case FinishReason::kContextFull: return "context_full";
    case FinishReason::kToolCalls: return "tool_calls";
    case FinishReason::kCancelled: return "cancelled";
  }
  return "?";
}

double AnswerStats::prompt_tokens_per_s() const {
  return first_token_s > 0 ? static_cast<double>(prompt_tokens - cached_tokens) / first_token_s : 0;
}
double AnswerStats::new_tokens_per_s() const {
  return decode_s > 0 && new_tokens > 1 ? static_cast<double>(new_tokens - 1) / decode_s : 0;
}
double AnswerStats::tokens_per_pass() const {
  return speculation.passes ? static_cast<double>(new_tokens) / static_cast<double>(speculation.passes) : 0;
}

Prompt prepare_prompt(const Engine& engine, std::span<const TextPiece> text) {
  Prompt prompt = prepare_prompt(engine, engine.tokenizer().encode(text));
  prompt.state = prompt_state(text);
  return prompt;
}

Prompt prepare_prompt(const Engine& engine, std::vector<TokenId> ids) {
  const size_t ctx = engine.info().ctx, V = engine.config().vocab_size;
  if (ids.empty()) throw Error("prompt: expected at least one token, found none");
  if (ids.size() >= ctx)
    throw Error(cat("prompt: expected fewer tokens than the context's ", ctx, ", found ", ids.size()));
  for (const TokenId id : ids)
    if (id < 0 || static_cast<size_t>(id) >= V)
      throw Error(cat("prompt: expected token ids below the vocabulary's ", V, ", found ", id));
  return {std::move(ids)};
}

SamplingParams default_sampling(const Engine& engine) {
  const GenerationConfig& g = engine.generation_config();
  SamplingParams p;
  if (g.do_sample && !*g.do_sample)
    p.temperature = 0;
  else if (g.temperature)
    p.temperature = *g.temperature;
  if (g.top_p) p.top_p = *g.top_p;
  if (g.top_k) p.top_k = *g.top_k;
  if (g.min_p) p.min_p = *g.min_p;
  if (g.repetition_penalty) p.repetition_penalty = *g.repetition_penalty;
  return p;
}

uint64_t draw_seed() {
  std::random_device device;
  return uint64_t{device()} << 32 | device();
}

}  // namespace fathom

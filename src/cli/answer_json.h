// Answers and requests as JSON, for `run --json` and `run --jsonl`. Thread-safe: no state.
#pragma once
#include <string>
#include <vector>

#include "base/json.h"
#include "engine/answer.h"

namespace fathom {

/// {thinking, text, ids, logprobs, finish_reason, tool_calls (where there are some), seed, usage, speculation,
/// timings}. logprobs is null, or per token {id, token, logprob, top: [{id, token, logprob}]}.
json::object answer_json(const Answer& answer, const Tokenizer& tokenizer, uint64_t seed);

/// "prompt 12 tokens (340.1 tok/s), answer 57 tokens (41.0 tok/s), first token after 0.04 s"
std::string stats_line(const AnswerStats& stats);

struct RunRequest {
  std::vector<TextPiece> prompt;
  AnswerOptions options;
};

/// A line of `run --jsonl`: {prompt or messages, tools, raw, seed, max_tokens, temperature, top_p, top_k, min_p,
/// repetition_penalty, presence_penalty, frequency_penalty, stop, logprobs, top_logprobs, thinking, thinking_budget,
/// ignore_eos, language}. What is absent is as in `defaults`. Throws Error naming the field that is unknown or wrong.
RunRequest run_request(const Engine& engine, const json::value& line, const AnswerOptions& defaults,
                       const std::string& system, bool think, bool raw);

/// The prompt of a user's message, after `system` where it is not empty. `raw`: the text itself, in which control
/// tokens count.
std::vector<TextPiece> user_prompt(const Engine& engine, const std::string& text, const std::string& system, bool think,
                                   bool raw);

}  // namespace fathom

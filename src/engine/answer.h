// One answer in the making: draws tokens from the scheduler's logits, splits them into thinking, answer and tool calls,
// keeps a thinking budget, knows when to stop. Chat, server, evaluation and rollouts all answer through this.
// Runs on the compute thread; `cancel` may be set from any thread.
#pragma once
#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/answer_plan.h"
#include "engine/engine.h"
#include "engine/scheduler.h"
#include "engine/session.h"
#include "engine/speculation.h"
#include "sampling/logprobs.h"
#include "sampling/sampler.h"
#include "sampling/stop_matcher.h"
#include "text/text_piece.h"
#include "text/tool_call.h"

namespace fathom {

/// How the hidden states of a text become one: the last position's, or the mean over all.
enum class Pooling { kLast, kMean };

struct AnswerOptions {
  SamplingParams sampling;
  size_t max_tokens = 0;          ///< new tokens; 0: what the context leaves
  std::vector<std::string> stop;  ///< end the answer (not the thinking) before these strings
  bool include_stop = false;      ///< the string that ended it stays in the text
  /// Tokens of thinking, after which it is closed and the answer begins; at a sentence's end already in their last
  /// eighth; 0: at once.
  std::optional<size_t> thinking_budget;
  size_t min_tokens = 0;          ///< new tokens before which the model cannot end the answer
  std::vector<TokenId> stop_ids;  ///< tokens that end the answer as the model's own end does
  bool logprobs = false;          ///< keep every token's log-probability
  size_t top_logprobs = 0;        ///< and the n most likely alternatives
  bool ignore_eos = false;
  std::shared_ptr<const AnswerPlan> plan = {};  ///< what the answer must be, once the thinking is over; null: any text
  std::shared_ptr<const ScriptMask> language = {};  ///< thinking and answer keep to its scripts; null: any text
  bool tools = false;     ///< the prompt offers tools, so that calls are looked for whatever the model's template
  bool plain = false;     ///< all is text: thinking and tool calls are not looked for
  int priority = 0;       ///< higher ones are computed first
  bool speculate = true;  ///< guess tokens and verify several at once; changes no token (engine/speculation.h)
  /// Keep the log-probabilities of the prompt's tokens, and of the n most likely at their places. All of the prompt is
  /// then computed, for what the cache holds has none.
  std::optional<size_t> prompt_logprobs = {};
  // ---- the prompt is read and no token is drawn; at most one of the two
  std::optional<Pooling> pooling = {};  ///< the answer is an embedding
  std::vector<TokenId> scored = {};     ///< the answer is the log-probabilities of these as the next token
};

enum class FinishReason { kStop, kLength, kContextFull, kToolCalls, kCancelled };
std::string_view name(FinishReason reason);  ///< "stop", "length", "context_full", "tool_calls", "cancelled"

struct AnswerStats {
  size_t prompt_tokens = 0, cached_tokens = 0, new_tokens = 0,
         thinking_tokens = 0;  ///< thinking: without what the budget forced
  double queue_s = 0;          ///< from start to the first forward
  double first_token_s = 0;    ///< from start to the first token drawn
  double decode_s = 0;         ///< from the first token to the last
  double thinking_s = 0;
  bool budget_spent = false;  ///< the thinking was closed by the budget
  SpeculationStats speculation;
  double prompt_tokens_per_s() const;
  double new_tokens_per_s() const;
  double tokens_per_pass() const;  ///< of the new tokens; more than 1 where speculation guessed right
};

/// A token of the prompt, as the model expected it.
struct PromptToken {
  TokenId id;
  std::optional<TopLogprobs> logprobs = {};  ///< nullopt: the first, before which nothing stands
  size_t rank = 0;                           ///< of all tokens at its place, 1 the likeliest
};

struct Answer {
  std::string thinking, text;
  std::vector<ToolCall> tool_calls;
  std::vector<TokenId> ids;           ///< every new token, as drawn or forced by the budget
  std::vector<TopLogprobs> logprobs;  ///< as long as ids where asked for
  std::vector<PromptToken> prompt;    ///< where its log-probabilities were asked for
  FinishReason finish_reason = FinishReason::kStop;
  std::optional<std::string> stop;  ///< the stop string that ended it
  std::vector<float> embedding;     ///< [D], not normalised, where a pooling was asked for
  std::vector<float> scores;        ///< one for each of `scored`
  AnswerStats stats;
};

/// A token of the answer, before its text is shown.
struct AnswerToken {
  TokenId id;
  bool thinking;                ///< it belongs to the thinking, its closing included
  bool forced;                  ///< by the budget
  const TopLogprobs* logprobs;  ///< null where they were not asked for
};

/// What is to be continued: tokens, and how their text ends.
struct Prompt {
  std::vector<TokenId> ids;
  PromptState state = PromptState::kNone;
};
/// Throws Error if the prompt is empty or does not fit into the context. Any thread.
Prompt prepare_prompt(const Engine& engine, std::span<const TextPiece> text);
Prompt prepare_prompt(const Engine& engine, std::vector<TokenId> ids);

/// Hears an answer while it is made. Text comes in whole characters.
class AnswerListener {
 public:
  virtual ~AnswerListener() = default;
  virtual void on_prompt(size_t /*done*/, size_t /*total*/) {}  ///< prefill progress, in tokens
  virtual void on_token(const AnswerToken& /*token*/) {}
  virtual void on_thinking(std::string_view /*text*/) {}
  virtual void on_thinking_end(const AnswerStats& /*so_far*/) {}
  virtual void on_answer(std::string_view /*text*/) {}
  virtual void on_tool_call(const ToolCall& /*call*/) {}  ///< complete
};

class AnswerRun final : public Running {
 public:
  /// `prompt` was rendered by the engine's template or is plain text; `session` may hold an earlier turn, whose cache
  /// is reused. Throws Error if the prompt is empty or does not fit into the context, or an option is out of range.
  AnswerRun(Engine& engine, Session& session, std::span<const TextPiece> prompt, AnswerOptions options,
            AnswerListener& listener, const std::atomic<bool>* cancel = nullptr)
      : AnswerRun(engine, session, prepare_prompt(engine, prompt), std::move(options), listener, cancel) {}
  AnswerRun(Engine& engine, Session& session, const Prompt& prompt, AnswerOptions options, AnswerListener& listener,
            const std::atomic<bool>* cancel = nullptr);
  ~AnswerRun() override;

  /// Closes the thinking at the next token. Any thread.
  void answer_now();

  Session& session() override;
  bool done() const override;
  void on_logits(std::span<const float> logits) override;
  std::span<const Draft> drafts() override;
  void on_verified(size_t drafted, size_t accepted) override;
  bool wants_mtp() const override;
  void on_mtp_logits(std::span<const float> logits) override;
  void on_shared(size_t positions) override;
  void on_step() override;
  bool wants_hidden() const override;
  void on_hidden(std::span<const float> hidden, size_t position) override;
  bool wants_prompt_logits() const override;
  void on_prompt_logits(std::span<const float> logits, size_t position) override;
  void on_prefill() override;
  void on_pool_full() override;
  int priority() const override;
  bool cancelled() const override;
  void on_cancelled() override;
  /// Once done. Throws the Error that ended this answer alone, such as logits that are not numbers.
  Answer take();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Sampling as the model's publisher recommends it, else temperature 0.6 and top-p 0.95 (DESIGN.md 4). Seed 0: not set.
SamplingParams default_sampling(const Engine& engine);
/// A random 64-bit seed for requests that gave none; it is shown, so that the run can be repeated.
uint64_t draw_seed();

}  // namespace fathom

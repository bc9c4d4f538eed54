#include "engine/answer.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <exception>
#include <utility>

#include "engine/constraint.h"
#include "text/output_parser.h"

namespace fathom {
namespace {

using Clock = std::chrono::steady_clock;
double seconds(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

}  // namespace

struct AnswerRun::State {
  State(Engine& the_engine, Session& the_session, const Prompt& prompt, AnswerOptions the_options,
        AnswerListener& the_listener, const std::atomic<bool>* the_cancel)
      : engine(the_engine),
        session(the_session),
        options(std::move(the_options)),
        listener(the_listener),
        cancel(the_cancel),
        sampler(options.sampling, the_engine.config().vocab_size),
        stop(options.stop),
        parser(options.plain   ? OutputFormat{}
               : options.tools ? tool_format(the_engine)
                               : the_engine.output_format(),
               prompt.state) {
    const std::vector<TokenId>& ids = prompt.ids;
    for (const TokenId id : options.stop_ids)
      if (id < 0 || static_cast<size_t>(id) >= engine.config().vocab_size)
        throw Error(cat("stop ids: expected ids below the vocabulary's ", engine.config().vocab_size, ", found ", id));
    for (const TokenId id : options.scored)
      if (id < 0 || static_cast<size_t>(id) >= engine.config().vocab_size)
        throw Error(cat("scored: expected ids below the vocabulary's ", engine.config().vocab_size, ", found ", id));
    answer.stats.prompt_tokens = ids.size();
    if (options.prompt_logprobs) session.release();
    answer.stats.cached_tokens = session.set_tokens(ids);
    for (const TokenId id : ids) sampler.observe(id, true);
    limit = engine.info().ctx - ids.size();
    if (options.max_tokens != 0 && options.max_tokens < limit)
      limit = options.max_tokens, limit_reason = FinishReason::kLength;
    thinking = parser.thinking();
    if (options.speculate && !options.pooling && options.scored.empty()) speculation.emplace(ids);
    if (options.plan && !options.plan->when_begun && options.min_tokens != 0)
      throw Error("min_tokens: expected 0 together with a form for the answer, which says itself where it ends");
    if (options.language) language.emplace(options.language);
    if (options.prompt_logprobs)
      for (const TokenId id : ids) answer.prompt.push_back({id});
    if (options.plan) constraint.emplace(engine, options.plan, prompt.state == PromptState::kNone);
  }

  bool cancelled() const { return cancel && cancel->load(std::memory_order_relaxed); }

  void finish(FinishReason reason) {
    if (finished) return;
    finished = true;
    deliver(parser.finish());
    show_answer(stop.finish());
    end_thinking();
    if (stop.hit()) answer.stop = options.stop[*stop.hit()];
    if (answer.stop && options.include_stop) show_answer(*answer.stop);
    answer.finish_reason =
        reason == FinishReason::kStop && !answer.tool_calls.empty() ? FinishReason::kToolCalls : reason;
    answer.stats.decode_s = answer.ids.empty() ? 0 : seconds(first_token, Clock::now());
  }

  /// What goes wrong here (logits that are no numbers, a listener that throws) ends this answer; the others of the
  /// batch go on.
  template <class F>
  void guarded(F&& f) {
    try {
      f();
    } catch (...) {
      error = std::current_exception();
      finished = true;
    }
  }

  void end_thinking() {
    if (!thinking) return;
    thinking = false;
    answer.stats.thinking_s = seconds(start, Clock::now());
    if (answer.stats.thinking_tokens != 0) listener.on_thinking_end(answer.stats);
  }

  void show_answer(const std::string& text) {
    if (text.empty()) return;
    answer.text += text;
    listener.on_answer(text);
  }

  void deliver(const std::vector<OutputEvent>& events) {
    for (const OutputEvent& e : events) {
      switch (e.kind) {
        case OutputEvent::Kind::kThinking:
          answer.thinking += e.text;
          listener.on_thinking(e.text);
          break;
        case OutputEvent::Kind::kAnswer:
          end_thinking();
          show_answer(stop.feed(e.text));
          break;
        case OutputEvent::Kind::kToolCallBegin: call = {e.text, ""}; break;
        case OutputEvent::Kind::kToolCallArguments: call.arguments += e.text; break;
        case OutputEvent::Kind::kToolCallEnd:
          answer.tool_calls.push_back(call);
          listener.on_tool_call(call);
          break;
      }
    }
  }

  /// Whether the text so far ends as a sentence or a line does.
  bool at_sentence_end() const {
    const std::string_view t = last_text;
    if (t.empty()) return false;
    if (t.back() == '\n' || t.ends_with("\u3002")) return true;
    return std::string_view(".!?").find(t.back()) != std::string_view::npos && !after_digit;
  }

  /// Closes the thinking by forced tokens once the budget is spent, also a second thinking after the first. A thought
  /// that ends within the last eighth of the budget is the last, so that none is cut in the middle if it can be helped.
  void keep_budget() {
    if (!parser.thinking() || !forced.empty()) return;
    const size_t spent = answer.stats.thinking_tokens, budget = options.thinking_budget.value_or(SIZE_MAX);
    const bool over = spent >= budget || hurry.load(std::memory_order_relaxed);
    if (!over && (budget == SIZE_MAX || spent < budget - budget / 8 || !at_sentence_end())) return;
    answer.stats.budget_spent = true;
    const std::vector<TokenId> close = engine.tokenizer().encode("\n</think>\n\n", {.parse_special = true});
    forced.assign(close.begin(), close.end());
  }

  bool ends_answer(TokenId id) const {
    return engine.is_end_of_generation(id) || std::ranges::find(options.stop_ids, id) != options.stop_ids.end();
  }

  /// Which tokens may come: those of the grammar and of the language, and not the end before it is wanted.
  TokenMask mask() {
    const TokenMask bound = form_mask();
    return language ? language->narrowed(bound) : bound;
  }
  TokenMask form_mask() {
    if (constraint)
      if (const TokenMask bound = constraint->mask(parser.thinking()); !bound.empty()) return bound;
    if (answer.ids.size() >= options.min_tokens) return {};
    if (allowed.empty()) {
      allowed.assign((engine.config().vocab_size + 63) / 64, ~uint64_t{0});
      for (size_t id = 0; id < engine.config().vocab_size; ++id)
        if (ends_answer(static_cast<TokenId>(id))) allowed[id / 64] &= ~(uint64_t{1} << (id % 64));
    }
    return {allowed};
  }

  /// The next token: forced, or drawn.
  TokenId next(std::span<const float> logits) {
    if (forced.empty()) return sampler.draw(logits, static_cast<uint32_t>(session.tokens().size()), mask());
    const TokenId id = forced.front();
    forced.pop_front();
    return id;
  }

  void take_token(std::span<const float> logits) {
    keep_budget();
    if (constraint && forced.empty()) {
      const std::vector<TokenId> next = constraint->sure(parser.thinking());
      forced.assign(next.begin(), next.end());
    }
    const bool was_forced = !forced.empty();
    const TokenId id = next(logits);
    if (answer.ids.empty()) {
      first_token = Clock::now();
      answer.stats.first_token_s = seconds(start, first_token);
    }
    if (options.logprobs || options.top_logprobs)
      answer.logprobs.push_back(log_softmax_top(logits, id, options.top_logprobs));
    answer.ids.push_back(id);
    ++answer.stats.new_tokens;
    if (parser.thinking() && !was_forced) ++answer.stats.thinking_tokens;
    sampler.observe(id, false);
    session.append(id);
    if (speculation) speculation->append(id);
    if (!was_forced && !options.ignore_eos && ends_answer(id)) return finish(FinishReason::kStop);
    const std::string_view bytes = engine.tokenizer().token_view(id);
    after_digit = !last_text.empty() && last_text.back() >= '0' && last_text.back() <= '9' && bytes.size() == 1;
    last_text = bytes;
    listener.on_token({id, parser.thinking(), was_forced, answer.logprobs.empty() ? nullptr : &answer.logprobs.back()});
    const bool thought = parser.thinking(), control = engine.tokenizer().kind(id) == TokenKind::kControl;
    if (language) language->accept(control ? std::string_view() : bytes);
    deliver(parser.feed(id, bytes, control));
    if (constraint) constrain(id, thought, was_forced);
    if (parser.thinking())
      thinking = true;
    else
      end_thinking();
    if (stop.hit()) return finish(FinishReason::kStop);
    if (constraint && constraint->complete()) return finish(FinishReason::kStop);
    if (answer.ids.size() >= limit) return finish(limit_reason);
  }

  /// Of the prompt's tokens; the logits of those that a preemption brings again are known.
  void take_prompt_logits(std::span<const float> logits, size_t position) {
    if (position + 1 != prompt_known || prompt_known == answer.prompt.size()) return;
    PromptToken& token = answer.prompt[prompt_known++];
    token.logprobs = log_softmax_top(logits, token.id, *options.prompt_logprobs);
    token.rank = rank_of(logits, token.id);
  }

  void take_scores(std::span<const float> logits) {
    const float sum = log_sum_exp(logits);
    for (const TokenId id : options.scored) answer.scores.push_back(logits[static_cast<size_t>(id)] - sum);
    finish(FinishReason::kStop);
  }

  /// Sums position after position, so that the chunks do not matter.
  void take_hidden(std::span<const float> hidden, size_t position) {
    const size_t D = engine.config().hidden_size, n = hidden.size() / D, all = session.tokens().size();
    pooled.resize(D);
    for (size_t row = pooled_positions - std::min(pooled_positions, position); row < n; ++row) {
      check(position + row == pooled_positions, "hidden states come in order");
      ++pooled_positions;
      if (*options.pooling == Pooling::kLast && pooled_positions != all) continue;
      for (size_t i = 0; i < D; ++i) pooled[i] += double{hidden[row * D + i]};
    }
    if (pooled_positions != all) return;
    const double count = *options.pooling == Pooling::kMean ? static_cast<double>(all) : 1;
    for (const double sum : pooled) answer.embedding.push_back(static_cast<float>(sum / count));
    if (!std::ranges::all_of(answer.embedding, [](float x) { return std::isfinite(x); }))
      throw Error("embedding: the model's hidden states are not numbers");
    finish(FinishReason::kStop);
  }

  /// Between thinking and answer stands an empty line, which the grammar does not know.
  void constrain(TokenId id, bool thought, bool was_forced) {
    constraint->accept(id, thought, parser.thinking());
    if (!thought || parser.thinking() || was_forced) return;
    const std::vector<TokenId> line = engine.tokenizer().encode("\n\n");
    forced.assign(line.begin(), line.end());
  }

  /// What the budget forces is sure to come; else guesses. The last token needs no forward after it.
  std::span<const Draft> drafts() {
    const size_t most = std::min(limit - answer.ids.size() - 1, Speculation::kMost);
    if (!speculation || forced.empty()) return speculation ? speculation->drafts(most) : std::span<const Draft>();
    sure.clear();
    for (size_t i = 0; i < std::min(most, forced.size()); ++i) sure.push_back({forced[i], 1});
    return sure;
  }

  Engine& engine;
  Session& session;
  AnswerOptions options;
  AnswerListener& listener;
  const std::atomic<bool>* cancel;  // null: cannot be cancelled
  Sampler sampler;
  StopMatcher stop;
  OutputParser parser;
  Answer answer;
  ToolCall call;  // the one in the making
  std::deque<TokenId> forced;
  std::atomic<bool> hurry = false;         // the thinking is to end now
  std::string_view last_text;              // of the last token; the tokenizer's
  bool after_digit = false;                // the last token is one character behind a digit: "3."
  std::vector<uint64_t> allowed;           // all tokens but those that end the answer; empty: not asked for so far
  std::optional<Constraint> constraint;    // nullopt: any text
  std::optional<ScriptLock> language;      // nullopt: any script
  size_t prompt_known = 1;                 // tokens of the prompt whose log-probabilities have come, the first one too
  std::optional<Speculation> speculation;  // nullopt: switched off
  std::vector<Draft> sure;
  size_t limit = 0;
  FinishReason limit_reason = FinishReason::kContextFull;
  bool thinking = false, finished = false;
  bool begun = false;           // a forward has computed something of it
  std::vector<double> pooled;   // [D], the sum so far
  size_t pooled_positions = 0;  // that the sum has seen
  std::exception_ptr error;     // what ended the answer; take() throws it
  Clock::time_point start = Clock::now(), first_token = start;
};

AnswerRun::AnswerRun(Engine& engine, Session& session, const Prompt& prompt, AnswerOptions options,
                     AnswerListener& listener, const std::atomic<bool>* cancel)
    : state_(std::make_unique<State>(engine, session, prompt, std::move(options), listener, cancel)) {}
AnswerRun::~AnswerRun() = default;

Session& AnswerRun::session() { return state_->session; }
bool AnswerRun::done() const { return state_->finished; }
Answer AnswerRun::take() {
  if (state_->error) std::rethrow_exception(state_->error);
  return std::move(state_->answer);
}

void AnswerRun::answer_now() { state_->hurry = true; }
int AnswerRun::priority() const { return state_->options.priority; }
bool AnswerRun::cancelled() const { return state_->cancelled(); }
void AnswerRun::on_cancelled() {
  state_->guarded([&] { state_->finish(FinishReason::kCancelled); });
}

void AnswerRun::on_shared(size_t positions) {
  if (state_->answer.ids.empty()) state_->answer.stats.cached_tokens += positions;
}

void AnswerRun::on_prefill() {
  State& s = *state_;
  if (!s.answer.ids.empty()) return;  // it had been preempted, and is computed again
  const size_t cached = s.answer.stats.cached_tokens, total = s.answer.stats.prompt_tokens;
  s.guarded([&] { s.listener.on_prompt(s.session.cached() - std::min(cached, s.session.cached()), total - cached); });
}

void AnswerRun::on_step() {
  if (std::exchange(state_->begun, true)) return;
  state_->answer.stats.queue_s = seconds(state_->start, Clock::now());
}

bool AnswerRun::wants_hidden() const { return state_->options.pooling.has_value(); }

bool AnswerRun::wants_prompt_logits() const {
  return state_->options.prompt_logprobs && state_->prompt_known < state_->answer.prompt.size();
}

void AnswerRun::on_prompt_logits(std::span<const float> logits, size_t position) {
  if (!state_->finished) state_->guarded([&] { state_->take_prompt_logits(logits, position); });
}

void AnswerRun::on_hidden(std::span<const float> hidden, size_t position) {
  if (!state_->finished) state_->guarded([&] { state_->take_hidden(hidden, position); });
}

std::span<const Draft> AnswerRun::drafts() { return state_->drafts(); }

void AnswerRun::on_verified(size_t drafted, size_t accepted) {
  SpeculationStats& s = state_->answer.stats.speculation;
  ++s.passes, s.drafted += drafted, s.accepted += accepted;
}

bool AnswerRun::wants_mtp() const { return state_->speculation && state_->speculation->mtp_pays(); }

/// Drawn as the token itself will be, with the same number: where the module sees what the model sees, that is the
/// same.
void AnswerRun::on_mtp_logits(std::span<const float> logits) {
  State& s = *state_;
  try {
    s.speculation->guess(s.sampler.draw(logits, static_cast<uint32_t>(s.session.tokens().size())));
  } catch (const Error&) {  // logits that are no numbers: nothing is guessed, and the answer does not depend on it
  }
}

void AnswerRun::on_logits(std::span<const float> logits) {
  state_->guarded([&] { state_->options.scored.empty() ? state_->take_token(logits) : state_->take_scores(logits); });
}

void AnswerRun::on_pool_full() {
  state_->guarded([&] { state_->finish(FinishReason::kContextFull); });
}

}  // namespace fathom

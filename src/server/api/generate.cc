#include "server/api/generate.h"

#include <algorithm>
#include <ctime>
#include <mutex>

#include "engine/conversation.h"
#include "sampling/grammar/json_schema.h"
#include "server/request_record.h"

namespace fathom {
namespace {

class Job;

/// One choice's ear.
class Choice final : public GenerationListener {
 public:
  /// only_prompt: the answer has no text and no tokens of its own.
  Choice(std::shared_ptr<Job> job, size_t index, bool logprobs, bool only_prompt, AnswerMeter meter)
      : job_(std::move(job)), index_(index), logprobs_(logprobs), only_prompt_(only_prompt), meter_(meter) {}
  void on_prompt(size_t done, size_t total) override;
  void on_token(const AnswerToken& token) override;
  void on_thinking(std::string_view text) override;
  void on_answer(std::string_view text) override;
  void on_tool_call(const ToolCall& call) override;
  void on_done(Answer answer) override;
  void on_failed(std::exception_ptr error) override;

 private:
  std::shared_ptr<Job> job_;
  size_t index_, calls_ = 0;
  bool logprobs_, only_prompt_;
  AnswerMeter meter_;
};

/// The choices of one request. Everything is under its lock; a client that goes away only sets flags.
class Job final : public RunningRequest, public std::enable_shared_from_this<Job> {
 public:
  Job(std::unique_ptr<Reply> reply, size_t choices, std::string model, std::shared_ptr<Responder> responder,
      std::shared_ptr<Workers> workers)
      : reply_(std::move(reply)),
        answers_(choices),
        open_(choices),
        model_(std::move(model)),
        responder_(std::move(responder)),
        workers_(std::move(workers)) {}

  /// `submit(i, listener)` puts choice i in line.
  void start(const std::function<std::shared_ptr<Generation>(size_t, std::shared_ptr<GenerationListener>)>& submit,
             bool logprobs, bool only_prompt, const AnswerMeter& meter) {
    const std::lock_guard lock(mutex_);
    try {
      for (size_t i = 0; i < answers_.size(); ++i)
        generations_.push_back(
            submit(i, std::make_shared<Choice>(shared_from_this(), i, logprobs, only_prompt, meter)));
    } catch (...) {
      over_ = true;
      cancel_all();
      throw;
    }
    reply_->begin();
  }
  void cancel() override {
    const std::lock_guard lock(mutex_);
    cancel_all();
  }
  bool running() const override {
    const std::lock_guard lock(mutex_);
    return !over_;
  }
  void answer_now() override {
    const std::lock_guard lock(mutex_);
    for (const std::shared_ptr<Generation>& g : generations_) g->answer_now();
  }

  template <class F>
  void event(F&& f) {
    const std::lock_guard lock(mutex_);
    if (!over_) f(*reply_);
  }
  void done(size_t choice, Answer answer) {
    record_answer(*responder_, model_, answer);
    const std::lock_guard lock(mutex_);
    if (over_) return;
    reply_->done(choice, answer);
    answers_[choice] = std::move(answer);
    if (--open_ == 0) over_ = true, finish();
  }
  void failed(const std::exception_ptr& error) {
    const std::lock_guard lock(mutex_);
    if (over_) return;
    over_ = true;
    cancel_all();
    reply_->fail(api_error(error));
  }

 private:
  /// The prompts' log-probabilities may be megabytes of JSON: the compute thread has other answers to make.
  void finish() {
    const bool long_text = std::ranges::any_of(answers_, [](const Answer& a) { return !a.prompt.empty(); });
    if (!long_text || !workers_) return reply_->finish(answers_);
    workers_->post([self = shared_from_this()] {
      const std::lock_guard lock(self->mutex_);
      try {
        self->reply_->finish(self->answers_);
      } catch (...) {
        self->reply_->fail(api_error(std::current_exception()));
      }
    });
  }
  void cancel_all() {
    for (const std::shared_ptr<Generation>& g : generations_) g->cancel();
  }

  mutable std::mutex mutex_;
  std::unique_ptr<Reply> reply_;
  std::vector<Answer> answers_;
  size_t open_;
  bool over_ = false;  // nothing more is written
  std::vector<std::shared_ptr<Generation>> generations_;
  const std::string model_;
  const std::shared_ptr<Responder> responder_;
  const std::shared_ptr<Workers> workers_;
};

void Choice::on_prompt(size_t done, size_t total) {
  meter_.prompt(done);
  job_->event([&](Reply& r) { r.prompt(index_, done, total); });
}
void Choice::on_token(const AnswerToken& token) {
  meter_.token();
  if (!logprobs_ || only_prompt_ || !token.logprobs) return;
  job_->event([&](Reply& r) { r.token(index_, {token.id, token.thinking, token.forced, *token.logprobs}); });
}
void Choice::on_thinking(std::string_view text) {
  job_->event([&](Reply& r) { r.thinking(index_, text); });
}
void Choice::on_answer(std::string_view text) {
  if (only_prompt_) return;
  job_->event([&](Reply& r) { r.text(index_, text); });
}
void Choice::on_tool_call(const ToolCall& call) {
  job_->event([&](Reply& r) { r.tool_call(index_, calls_++, call); });
}
void Choice::on_done(Answer answer) {
  meter_.done(answer);
  if (only_prompt_) {
    answer.text.clear(), answer.ids.clear(), answer.logprobs.clear(), answer.stop.reset();
    answer.stats.new_tokens = 0;
    if (answer.finish_reason == FinishReason::kStop) answer.finish_reason = FinishReason::kLength;
  }
  job_->done(index_, std::move(answer));
}
void Choice::on_failed(std::exception_ptr error) {
  meter_.failed();
  job_->failed(error);
}

struct GapMarkers {
  const char *prefix, *suffix, *middle;
};
/// Null: the model has none.
const GapMarkers* gap_markers(const Engine& engine) {
  static constexpr GapMarkers kKnown[] = {{"<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"},
                                          {"<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"},
                                          {"<fim_prefix>", "<fim_suffix>", "<fim_middle>"},
                                          {"<PRE>", "<SUF>", "<MID>"}};
  for (const GapMarkers& m : kKnown)
    if (engine.tokenizer().find(m.prefix) && engine.tokenizer().find(m.suffix) && engine.tokenizer().find(m.middle))
      return &m;
  return nullptr;
}

/// The gap's prompt in the model's own markers.
std::vector<TextPiece> fill_in_the_middle(const Engine& engine, const std::string& before, const std::string& behind) {
  const GapMarkers* m = gap_markers(engine);
  if (!m) throw wrong_field("suffix", "suffix: the model has no tokens for filling a gap");
  return {{m->prefix, true}, {before, false}, {m->suffix, true}, {behind, false}, {m->middle, true}};
}

AnswerOptions answer_options(const Engine& engine, const GenerateRequest& request, const GenerateDefaults& defaults,
                             const Prompt& prompt) {
  AnswerOptions o;
  SamplingWishes wishes = request.sampling;
  if (!wishes.seed) wishes.seed = defaults.seed;
  o.sampling = wishes.apply(default_sampling(engine));
  const bool thinks = prompt.state != PromptState::kClosed && can_think(engine);
  o.max_tokens = request.max_tokens.value_or(thinks ? defaults.max_thinking_tokens : defaults.max_tokens);
  o.min_tokens = request.min_tokens;
  o.stop = request.stop;
  o.include_stop = request.include_stop;
  o.stop_ids = request.stop_ids;
  o.thinking_budget = request.thinking_budget;
  o.logprobs = request.logprobs;
  o.top_logprobs = request.top_logprobs;
  o.ignore_eos = request.ignore_eos;
  o.prompt_logprobs = request.prompt_logprobs;
  if (request.echo && request.logprobs)
    o.prompt_logprobs = std::max(request.prompt_logprobs.value_or(0), request.top_logprobs);
  if (request.language) o.language = engine.script_mask(*request.language);
  const ChatPrompt* chat = std::get_if<ChatPrompt>(&request.prompt);
  o.plain = !chat;
  o.tools = chat && !chat->tools.empty();
  o.priority = request.priority;
  return o;
}

/// Adds what has no effect to the header that names such fields.
void warn(HttpHeaders& headers, const std::string& field) {
  const auto found =
      std::ranges::find(headers, kIgnoredHeader, [](const auto& h) { return std::string_view(h.first); });
  if (found == headers.end())
    headers.emplace_back(kIgnoredHeader, field);
  else
    found->second += ", " + field;
}

ApiError too_long(size_t ctx, const std::string& found) {
  return context_exceeded(cat("This model's context has ", ctx, " tokens; the prompt has ", found,
                              ". Nothing is cut off: shorten the messages, or serve with a larger --ctx."));
}

/// They are all kept until the answer is whole.
void require_room_for_prompt_logprobs(const AnswerOptions& options, const std::vector<Prompt>& prompts) {
  constexpr size_t kMost = size_t{1} << 20;
  if (!options.prompt_logprobs) return;
  size_t tokens = 0;
  for (const Prompt& p : prompts) tokens += p.ids.size();
  if (const size_t all = tokens * (*options.prompt_logprobs + 1); all > kMost)
    throw wrong_field("prompt_logprobs",
                      cat("prompt_logprobs: expected at most ", kMost,
                          " numbers, of all tokens of the prompt and their alternatives, found ", all));
}

bool has_strict_tools(const GenerateRequest& request) {
  const ChatPrompt* chat = std::get_if<ChatPrompt>(&request.prompt);
  return chat && std::ranges::any_of(chat->tools, [](const json::value& tool) {
           const json::value* strict = tool.at("function").as_object().if_contains("strict");
           return strict && *strict == true;
         });
}

}  // namespace

std::shared_ptr<const AnswerPlan> plan_of(const Engine& engine, const GenerateRequest& request, GrammarCache& cache) {
  const ChatPrompt* chat = std::get_if<ChatPrompt>(&request.prompt);
  const bool required = request.tool_use == ToolUse::kRequired;
  if (required || has_strict_tools(request)) {
    if (request.form.kind != AnswerForm::Kind::kText)
      throw wrong_field("response_format", "response_format: expected none beside tools that are strict or required");
    try {
      const ToolPlanOptions options{request.tool_name, required, request.parallel_tool_calls};
      return tool_plan(engine, chat->tools, options, cache);
    } catch (const Error& e) {
      throw wrong_field("tools", e.what());
    }
  }
  const std::optional<Grammar> grammar = grammar_of(request.form, cache);
  return grammar ? text_plan(*grammar) : nullptr;
}

bool can_fill_gaps(const Engine& engine) { return gap_markers(engine) != nullptr; }

std::optional<Grammar> grammar_of(const AnswerForm& form, GrammarCache& cache) {
  using Kind = AnswerForm::Kind;
  try {
    switch (form.kind) {
      case Kind::kText: return std::nullopt;
      case Kind::kJson: return cache.get("json", [] { return json_grammar(); });
      case Kind::kSchema:
        return cache.get("schema:" + to_json(form.schema), [&] { return compile_json_schema(form.schema); });
      case Kind::kGrammar: return cache.get("gbnf:" + form.grammar, [&] { return parse_gbnf(form.grammar); });
      case Kind::kRegex: return cache.get("regex:" + form.grammar, [&] { return compile_regex(form.grammar); });
      case Kind::kChoice: {
        const json::array choices(form.choices.begin(), form.choices.end());
        return cache.get("choice:" + to_json(choices), [&] { return compile_choice(form.choices); });
      }
    }
  } catch (const Error& e) {
    throw wrong_field("response_format", e.what());
  }
  return std::nullopt;
}

std::string random_id() {
  constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyz0123456789";
  std::string id;
  for (uint64_t bits = 0; id.size() < 24; bits /= kLetters.size()) {
    if (id.size() % 12 == 0) bits = draw_seed();
    id += kLetters[bits % kLetters.size()];
  }
  return id;
}

std::vector<TextPiece> prompt_text(const Engine& engine, const GenerateRequest& request) {
  if (const ChatPrompt* chat = std::get_if<ChatPrompt>(&request.prompt)) return render_chat(engine, *chat);
  const std::string& text = std::get<std::string>(request.prompt);
  return request.suffix ? fill_in_the_middle(engine, text, *request.suffix) : plain_prompt(engine, text);
}

Prompt prompt_of(const Engine& engine, const GenerateRequest& request) {
  const size_t ctx = engine.info().ctx;
  std::vector<TokenId> ids;
  PromptState state = PromptState::kNone;
  if (const auto* given = std::get_if<std::vector<TokenId>>(&request.prompt)) {
    ids = *given;
  } else {
    const std::vector<TextPiece> text = prompt_text(engine, request);
    if (const size_t fewest = engine.tokenizer().fewest_tokens(text); fewest >= ctx)
      throw too_long(ctx, cat("at least ", fewest));
    ids = engine.tokenizer().encode(text);
    state = prompt_state(text);
  }
  if (ids.size() >= ctx) throw too_long(ctx, cat(ids.size()));
  Prompt prompt = prepare_prompt(engine, std::move(ids));
  prompt.state = state;
  return prompt;
}

void generate(ModelHost& host, std::shared_ptr<LoadedModel> model, const std::vector<GenerateRequest>& requests,
              const GenerateDefaults& defaults, std::shared_ptr<Responder> responder, HttpHeaders headers,
              const MakeReply& make_reply, RunningRequests& running) {
  const GenerateRequest& first = requests.front();
  const std::shared_ptr<Responder> asked = responder;  // its record gets the answers
  const Engine& engine = model->engine();
  const size_t choices = requests.size() * first.n;
  // More than the server ever has places for would be told to try again for ever.
  if (const size_t most = std::min(kMostChoices, host.most_requests()); choices > most)
    throw wrong_field("n", cat("n: expected at most ", most, " choices in all, found ", choices));
  Places places = host.reserve(choices);  // before any work is done for them
  std::vector<Prompt> prompts;
  prompts.reserve(requests.size());
  for (const GenerateRequest& r : requests) prompts.push_back(prompt_of(engine, r));
  std::vector<AnswerOptions> options;
  for (size_t i = 0; i < requests.size(); ++i)
    options.push_back(answer_options(engine, requests[i], defaults, prompts[i]));
  require_room_for_prompt_logprobs(options.front(), prompts);
  const std::shared_ptr<const AnswerPlan> plan = plan_of(engine, first, *defaults.grammars);
  for (AnswerOptions& o : options) o.plan = plan;
  if (!plan && has_strict_tools(first)) warn(headers, "tools.function.strict");  // its calls cannot be bound
  for (AnswerOptions& o : options) o.sampling.seed = options.front().sampling.seed;

  headers.emplace_back("X-Fathom-Seed", std::to_string(options.front().sampling.seed));
  const std::string id = random_id();
  const auto kept = first.keep ? std::make_shared<KeptAnswer>() : nullptr;
  if (kept) responder = kept;
  ReplyContext context{id,           std::time(nullptr),  first.model,   model,
                       responder,    std::move(headers),  choices,       first.n,
                       first.stream, first.include_usage, first.logprobs};
  context.prompt_logprobs = first.prompt_logprobs.has_value();
  context.stop_ids = first.stop_ids;
  for (const Prompt& p : prompts) context.prompt_tokens += p.ids.size();
  std::unique_ptr<Reply> reply = make_reply(std::move(context));
  std::string heartbeat = reply->heartbeat();
  const auto job = std::make_shared<Job>(std::move(reply), choices, model->name(), asked, defaults.workers);
  const bool chat = std::holds_alternative<ChatPrompt>(first.prompt);
  const AnswerMeter meter(defaults.metrics->of(model->name()), chat ? Operation::kChat : Operation::kTextCompletion);
  running.add(id, job);
  job->start(
      [&](size_t i, std::shared_ptr<GenerationListener> listener) {
        const size_t at = i / first.n;
        AnswerOptions own = options[at];
        own.sampling.choice = static_cast<uint32_t>(i);
        if (i % first.n != 0) own.prompt_logprobs.reset();  // the first one tells them
        return host.submit(model, prompts[at], std::move(own), std::move(listener), first.salt, places);
      },
      first.logprobs, first.only_prompt, meter);
  if (kept) {  // nothing has failed that the client is to hear of otherwise
    running.keep(id, kept);
    kept->attach(asked, 0);
  }
  responder->heartbeat(defaults.heartbeat, std::move(heartbeat));
  responder->on_close([weak = std::weak_ptr<Job>(job)] {
    if (const auto gone = weak.lock()) gone->cancel();
  });
}

}  // namespace fathom

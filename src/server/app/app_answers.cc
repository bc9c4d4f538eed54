#include "server/app/app_answers.h"

#include <algorithm>

#include "base/log.h"
#include "engine/chat_prompt.h"
#include "server/api/error.h"
#include "server/app/answer_info.h"
#include "server/app/answer_tokens.h"
#include "server/app/app_request.h"

namespace fathom {
namespace {

using std::chrono::seconds;

constexpr seconds kProgressInterval{2}, kPatience{10};
constexpr int64_t kDay = int64_t{24} * 3600 * 1000, kDaysDeleted = 30;

}  // namespace

/// Writes an answer into its LiveAnswer; the POST that asked for it hears that it is in line.
class AppAnswers::AppReply final : public Reply {
 public:
  AppReply(ReplyContext context, std::shared_ptr<LiveAnswer> answer, uint64_t seed, AnswerEnergy& energy)
      : Reply(std::move(context)), answer_(std::move(answer)), seed_(seed), energy_(energy), start_(energy.mark()) {}

  std::string heartbeat() const override { return "\n"; }
  void begin() override {
    context_.responder->send(201, "application/json", to_json(message_json(answer_->message())));
  }
  void prompt(size_t, size_t done, size_t total) override { answer_->prompt(done, total); }
  void token(size_t, const ReplyToken& token) override {
    tokens_.add(tokenizer(), token.id, token.logprobs,
                static_cast<uint8_t>((token.thinking ? AnswerTokens::kThinking : 0) |
                                     (token.forced ? AnswerTokens::kForced : 0)));
  }
  void thinking(size_t, std::string_view text) override { answer_->add_thinking(text); }
  void text(size_t, std::string_view text) override { answer_->add_text(text); }
  /// No tools are offered; a model that calls one all the same has written it.
  void tool_call(size_t, size_t, const ToolCall& call) override {
    answer_->add_text(
        cat("\n```json\n", to_json(json::object{{"name", call.name}, {"arguments", call.arguments}}), "\n```\n"));
  }
  void finish(const std::vector<Answer>& answers) override {
    const Answer& answer = answers.front();
    const bool stopped = answer.finish_reason == FinishReason::kCancelled;
    const json::object settings = answer_->message().asked.at("settings").as_object();
    for (size_t i = tokens_.count(); i < answer.logprobs.size(); ++i)  // the end, of which no text was to be told
      tokens_.add(tokenizer(), answer.ids[i], answer.logprobs[i], 0);
    const AnswerStats& s = answer.stats;
    const AnswerEnergy::Share energy = energy_.since(start_, s.prompt_tokens - s.cached_tokens + s.new_tokens);
    answer_->complete(stopped ? "stopped" : "done", "",
                      answer_info(answer, context_.loaded->engine().info(), seed_, settings, energy), tokens_.packed());
  }
  void fail(const ApiError& error) override { answer_->complete("failed", error.what(), {}); }

 private:
  const std::shared_ptr<LiveAnswer> answer_;
  const uint64_t seed_;
  AnswerEnergy& energy_;
  const AnswerEnergy::Mark start_;
  AnswerTokens tokens_;
};

AppAnswers::AppAnswers(ModelHost& host, ChatStore& store, ChangeFeed& feed, const GenerateDefaults& defaults,
                       RunningRequests& requests, FindModel find_model)
    : host_(host),
      store_(store),
      feed_(feed),
      defaults_(defaults),
      requests_(requests),
      find_model_(std::move(find_model)),
      thread_([this] { work(); }) {}

AppAnswers::~AppAnswers() {
  drain();
  std::vector<Entry> left;
  {
    std::unique_lock lock(mutex_);
    kept_.wait_for(lock, kPatience, [this] { return running_.empty(); });
    ends_ = true;
    for (const auto& [id, entry] : running_) left.push_back(entry);
  }
  wake_.notify_all();
  thread_.join();
  for (const Entry& entry : left) {  // a model that does not listen: what it said is kept
    entry.answer->detach();
    AppMessage message = entry.answer->message();
    message.status = "stopped";
    keep_end({entry.answer, std::move(message)});
  }
}

void AppAnswers::start(const AnswerWish& wish, const std::shared_ptr<Responder>& responder) {
  const AppChat chat = store_.chat(wish.chat);
  const std::vector<AppMessage> branch = store_.branch(wish.parent);
  if (branch.back().chat != chat.id)
    throw wrong_field("parent", cat("parent: expected a message of this chat, found '", wish.parent, "'"));
  AppMessage draft{.id = {}, .chat = chat.id, .parent = wish.parent, .role = "assistant", .content = wish.content};
  draft.thinking = wish.thinking;
  draft.status = "running";
  json::object settings = chat.settings;
  for (const auto& [key, value] : wish.settings) {
    if (value.is_null())
      settings.erase(key);
    else
      settings[key] = value;
  }
  if (!wish.model.empty()) settings["model"] = wish.model;
  draft.asked = asked_json(chat.system, settings, wish.thinking.size(), wish.content.size());
  PreparedAnswer prepared = prepare(branch, draft);
  draft.model = prepared.request.model;
  if (!wish.thinking.empty() && !can_think(prepared.model->engine()))
    throw wrong_field("prefix.thinking", cat("prefix.thinking: '", draft.model, "' does not think"));
  std::vector<GenerateRequest> requests{std::move(prepared.request)};
  requests.front().keep = true;  // nobody's going away ends it
  requests.front().logprobs = true;
  requests.front().top_logprobs = AnswerTokens::kAlternatives;
  std::optional<uint64_t>& wanted_seed = requests.front().sampling.seed;
  if (!wanted_seed) wanted_seed = defaults_.seed.value_or(draw_seed() >> 11);  // of 53 bits, for JavaScript
  const uint64_t seed = *wanted_seed;

  std::string id;
  const auto make_reply = [&](ReplyContext context) {
    const AppMessage message = store_.add(draft);
    id = message.id;
    const auto answer = std::make_shared<LiveAnswer>(message, [this](AppMessage whole) { ended(std::move(whole)); });
    const std::lock_guard lock(mutex_);
    running_[id] = {answer, chat.id, context.id};
    return std::make_unique<AppReply>(std::move(context), answer, seed, energy_);
  };
  {
    const std::lock_guard lock(mutex_);
    if (drains_) throw ApiError(503, "the server is about to end", "server_error", {}, "overloaded");
  }
  try {
    generate(host_, prepared.model, requests, defaults_, responder, {}, make_reply, requests_);
  } catch (...) {
    if (!id.empty()) {
      forget({id});
      store_.remove_message(id);
    }
    throw;
  }
  feed_.tell("message", id, chat.id);
  feed_.tell("chat", chat.id);
}

PreparedAnswer AppAnswers::prepare(const std::vector<AppMessage>& branch, const AppMessage& answer) const {
  PreparedAnswer out{answer_request(branch, answer), nullptr};
  out.model = find_model_(out.request.model, std::get<ChatPrompt>(out.request.prompt).thinking);
  if (out.request.model.empty()) out.request.model = out.model->name();
  return out;
}

std::shared_ptr<LiveAnswer> AppAnswers::find(const std::string& id) const {
  const std::lock_guard lock(mutex_);
  const auto found = running_.find(id);
  return found == running_.end() ? nullptr : found->second.answer;
}

void AppAnswers::watch(const std::string& id, uint64_t from, std::shared_ptr<Responder> page) {
  if (const std::shared_ptr<LiveAnswer> answer = find(id)) return answer->attach(std::move(page), from);
  LiveAnswer over(store_.message(id));
  over.close(over.message());
  over.attach(std::move(page), from);
}

AppMessage AppAnswers::stop(const std::string& id) {
  std::string request;
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = running_.find(id); found != running_.end()) request = found->second.request;
  }
  if (!request.empty()) {
    cancel(request);
    std::unique_lock lock(mutex_);
    kept_.wait_for(lock, kPatience, [&] { return !running_.contains(id); });
  }
  return current(store_.message(id));
}

void AppAnswers::answer_now(const std::string& id) {
  std::string request;
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = running_.find(id); found != running_.end()) request = found->second.request;
  }
  const std::shared_ptr<RunningRequest> running = request.empty() ? nullptr : requests_.find(request);
  if (!running) throw not_found(cat("no answer runs as '", id.substr(0, 100), "'"), "answer_not_found");
  running->answer_now();
}

void AppAnswers::cancel(const std::string& request) const {
  if (const std::shared_ptr<RunningRequest> running = requests_.find(request)) running->cancel();
}

void AppAnswers::cancel_chat(const std::string& chat) {
  std::vector<std::string> requests;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [id, entry] : running_)
      if (entry.chat == chat) requests.push_back(entry.request);
  }
  for (const std::string& request : requests) cancel(request);
}

void AppAnswers::forget(const std::vector<std::string>& ids) {
  std::vector<Entry> gone;
  {
    const std::lock_guard lock(mutex_);
    for (const std::string& id : ids)
      if (const auto found = running_.find(id); found != running_.end()) {
        gone.push_back(found->second);
        running_.erase(found);
      }
  }
  kept_.notify_all();
  for (const Entry& entry : gone) {
    cancel(entry.request);
    entry.answer->detach();
    AppMessage message = entry.answer->message();
    message.status = "stopped";
    entry.answer->close(std::move(message));
  }
}

bool AppAnswers::runs_in(const std::string& chat) const {
  const std::lock_guard lock(mutex_);
  return std::ranges::any_of(running_, [&](const auto& entry) { return entry.second.chat == chat; });
}

AppMessage AppAnswers::current(AppMessage message) const {
  if (message.status == "running")
    if (const std::shared_ptr<LiveAnswer> answer = find(message.id)) return answer->message();
  return message;
}

void AppAnswers::drain() {
  std::vector<std::string> requests;
  {
    const std::lock_guard lock(mutex_);
    drains_ = true;
    for (const auto& [id, entry] : running_) requests.push_back(entry.request);
  }
  for (const std::string& request : requests) cancel(request);
}

void AppAnswers::ended(AppMessage message) {
  const std::lock_guard lock(mutex_);
  const auto found = running_.find(message.id);
  if (found == running_.end()) return;  // forgotten
  ended_.push_back({found->second.answer, std::move(message)});
  wake_.notify_all();
}

void AppAnswers::work() {
  auto next_purge = std::chrono::steady_clock::now();
  std::unique_lock lock(mutex_);
  while (!ends_ || !ended_.empty()) {
    if (ended_.empty()) wake_.wait_for(lock, kProgressInterval, [this] { return ends_ || !ended_.empty(); });
    if (ended_.empty()) {
      lock.unlock();
      keep_progress();
      if (const auto now = std::chrono::steady_clock::now(); now >= next_purge) {
        next_purge = now + std::chrono::hours(1);
        purge();
      }
      lock.lock();
      continue;
    }
    const Ended end = std::move(ended_.front());
    ended_.pop_front();
    lock.unlock();
    keep_end(end);
    lock.lock();
    if (ends_ || !running_.contains(end.message.id)) continue;
    ended_.push_back(end);  // the store would not take it
    wake_.wait_for(lock, kProgressInterval, [this] { return ends_; });
  }
}

void AppAnswers::keep_end(const Ended& end) {
  AppMessage message = end.message;
  bool kept = true;
  try {
    if (!store_.finish(message)) message.status = "stopped";  // it is gone from the store
  } catch (const std::exception& e) {
    kept = false;
    message.status = "failed";
    message.error = cat("the answer could not be kept: ", e.what());
    log(LogLevel::kError, message.error);
  }
  if (kept) {  // else it stays among those that run, where pages find it, until the store takes it
    const std::lock_guard lock(mutex_);
    running_.erase(message.id);
  }
  kept_.notify_all();
  feed_.tell("message", message.id, message.chat);
  feed_.tell("chat", message.chat);
  end.answer->close(message);
}

void AppAnswers::keep_progress() {
  std::vector<std::shared_ptr<LiveAnswer>> answers;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [id, entry] : running_) answers.push_back(entry.answer);
  }
  if (!answers.empty()) energy_.mark();
  for (const std::shared_ptr<LiveAnswer>& answer : answers) {
    if (!answer->has_news()) continue;
    const AppMessage message = answer->message();
    try {
      store_.keep_progress(message.id, message.content, message.thinking);
    } catch (const std::exception& e) {
      log(LogLevel::kWarning, cat("what an answer has so far could not be kept: ", e.what()));
    }
  }
}

void AppAnswers::purge() {
  try {
    store_.purge(unix_ms() - kDaysDeleted * kDay);
  } catch (const std::exception& e) {
    log(LogLevel::kWarning, cat("deleted chats could not be removed for good: ", e.what()));
  }
}

}  // namespace fathom

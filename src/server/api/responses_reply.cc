#include "server/api/responses_reply.h"

#include <ctime>

#include "base/json.h"
#include "server/http/sse.h"

namespace fathom {
namespace {

constexpr size_t kIdLength = 24;

json::object usage_json(const AnswerStats& s) {
  return {{"input_tokens", s.prompt_tokens},
          {"input_tokens_details", {{"cached_tokens", s.cached_tokens}, {"cache_write_tokens", 0}}},
          {"output_tokens", s.new_tokens},
          {"output_tokens_details", {{"reasoning_tokens", s.thinking_tokens}}},
          {"total_tokens", s.prompt_tokens + s.new_tokens}};
}

/// The items of an answer in the making, and how each event changes them.
class ResponsesReply final : public Reply {
 public:
  ResponsesReply(ReplyContext context, ResponsesRequest request, std::shared_ptr<ResponseStore> store)
      : Reply(std::move(context)),
        request_(std::move(request)),
        store_(request_.store ? std::move(store) : nullptr),
        id_(response_id(context_.id)) {
    const SamplingParams own = default_sampling(context_.loaded->engine());
    const SamplingWishes& wishes = request_.generate.sampling;
    request_.echo["temperature"] = wishes.temperature.value_or(own.temperature);
    request_.echo["top_p"] = wishes.top_p.value_or(own.top_p);
    for (size_t i = 0; i < request_.input.size(); ++i)
      if (json::object& item = request_.input[i].as_object(); !item.contains("id") || !item.at("id").is_string())
        item["id"] = cat("in_", context_.id, i);
    if (store_) store_->open(id_);
  }
  ~ResponsesReply() override {
    if (store_ && !ended_) store_->close(id_);
  }

  void begin() override {
    if (request_.background && !context_.stream) {
      // The client gets the beginning and comes back for the end.
      keep("in_progress", [responder = context_.responder, headers = context_.headers](const json::object& response) {
        responder->send(200, "application/json", to_json(response), headers);
      });
      return;
    }
    if (!context_.stream) return;
    context_.responder->begin(200, "text/event-stream", context_.headers);
    event("response.created", {{"response", response("in_progress")}});
    event("response.in_progress", {{"response", response("in_progress")}});
    if (request_.background) keep("in_progress", {});
  }
  void token(size_t /*choice*/, const ReplyToken& token) override {
    if (token.thinking) return;
    json::object out = token_json(tokenizer(), token.id, token.logprobs.chosen.logprob);
    json::array top;
    for (const TokenLogprob& t : token.logprobs.top) top.push_back(token_json(tokenizer(), t.id, t.logprob));
    out["top_logprobs"] = std::move(top);
    logprobs_.push_back(std::move(out));
  }
  void thinking(size_t /*choice*/, std::string_view text) override {
    open(Kind::kThinking);
    text_ += text;
    event("response.reasoning_text.delta", part_event({{"delta", text}}));
  }
  void text(size_t /*choice*/, std::string_view text) override {
    open(Kind::kText);
    text_ += text;
    json::object fields{{"delta", text}, {"logprobs", logprobs_}};
    for (json::value& l : logprobs_) all_logprobs_.push_back(std::move(l));
    logprobs_.clear();
    event("response.output_text.delta", part_event(std::move(fields)));
  }
  void tool_call(size_t /*choice*/, size_t index, const ToolCall& call) override {
    close("completed");
    const std::string id = item_id("fc");
    json::object item{{"id", id},
                      {"type", "function_call"},
                      {"status", "in_progress"},
                      {"call_id", cat("call_", context_.id, index)},
                      {"name", call.name},
                      {"arguments", ""}};
    added(item);
    const auto fields = [&](const char* key) {
      return json::object{{"item_id", id}, {"output_index", output_.size()}, {key, call.arguments}};
    };
    event("response.function_call_arguments.delta", fields("delta"));
    event("response.function_call_arguments.done", fields("arguments"));
    item["arguments"] = call.arguments;
    item["status"] = "completed";
    done(std::move(item));
  }
  void finish(const std::vector<Answer>& answers) override {
    const Answer& answer = answers.front();
    using Reason = FinishReason;
    const Reason reason = answer.finish_reason;
    const bool cut = reason == Reason::kLength || reason == Reason::kContextFull || reason == Reason::kCancelled;
    if (!cut && kind_ != Kind::kText && calls_ == 0 && !has_message_) open(Kind::kText);  // an answer without words
    close(cut ? "incomplete" : "completed");
    usage_ = usage_json(answer.stats);
    if (reason == Reason::kCancelled) return end("cancelled", "response.incomplete");
    if (cut) incomplete_ = json::object{{"reason", "max_output_tokens"}};
    cut ? end("incomplete", "response.incomplete") : end("completed", "response.completed");
  }
  void fail(const ApiError& e) override {
    const ApiError error = in_responses_words(e);
    error_ =
        json::object{{"code", error.status == 429 ? "rate_limit_exceeded" : "server_error"}, {"message", error.what()}};
    if (request_.background) return end("failed", "response.failed");
    if (context_.stream && context_.responder->begun()) {
      close("incomplete");
      event("response.failed", {{"response", response("failed")}});
      return context_.responder->end();
    }
    HttpHeaders headers = context_.headers;
    if (error.retry_after_s) headers.emplace_back("Retry-After", std::to_string(*error.retry_after_s));
    context_.responder->send(error.status, "application/json", to_json(openai_error(error)), std::move(headers));
  }

 private:
  enum class Kind { kNone, kThinking, kText };

  std::string item_id(const char* prefix) const {
    return cat(prefix, "_", context_.id, output_.size() < 10 ? "0" : "", output_.size());
  }
  json::object response(const char* status) const {
    json::object out{{"id", id_},
                     {"object", "response"},
                     {"created_at", context_.created},
                     {"status", status},
                     {"completed_at", completed_at_},
                     {"error", error_},
                     {"incomplete_details", incomplete_},
                     {"model", context_.model},
                     {"output", output_},
                     {"usage", usage_}};
    for (const auto& [key, value] : request_.echo) out[key] = value;
    return out;
  }
  std::string event_text(const char* name, json::object&& fields) {
    json::object out{{"type", name}, {"sequence_number", sequence_++}};
    for (auto& [key, value] : fields) out[key] = std::move(value);
    return sse_event(to_json(out), name);
  }
  void event(const char* name, json::object fields) {
    if (context_.stream) context_.responder->write(event_text(name, std::move(fields)));
  }
  json::object part_event(json::object&& fields) const {
    json::object out{{"item_id", item_}, {"output_index", output_.size()}, {"content_index", 0}};
    for (auto& [key, value] : fields) out[key] = std::move(value);
    return out;
  }
  void added(const json::object& item) {
    event("response.output_item.added", {{"output_index", output_.size()}, {"item", item}});
  }
  void done(json::object item) {
    event("response.output_item.done", {{"output_index", output_.size()}, {"item", item}});
    calls_ += item.at("type") == "function_call";
    output_.push_back(std::move(item));
  }

  json::object part() const {
    if (kind_ == Kind::kThinking) return {{"type", "reasoning_text"}, {"text", text_}};
    return {{"type", "output_text"}, {"text", text_}, {"annotations", json::array()}, {"logprobs", all_logprobs_}};
  }
  /// The item that is being written, in this state.
  json::object item(const char* status, json::array content) const {
    if (kind_ == Kind::kThinking)
      return {{"id", item_},
              {"type", "reasoning"},
              {"summary", json::array()},
              {"content", std::move(content)},
              {"encrypted_content", nullptr},
              {"status", status}};
    return {
        {"id", item_}, {"type", "message"}, {"status", status}, {"role", "assistant"}, {"content", std::move(content)}};
  }
  void open(Kind kind) {
    if (kind_ == kind) return;
    close("completed");
    kind_ = kind;
    item_ = item_id(kind == Kind::kThinking ? "rs" : "msg");
    has_message_ = has_message_ || kind == Kind::kText;
    added(item("in_progress", {}));
    event("response.content_part.added", part_event({{"part", part()}}));
  }
  void close(const char* status) {
    if (kind_ == Kind::kNone) return;
    json::object fields{{"text", text_}};
    if (kind_ == Kind::kText) fields["logprobs"] = all_logprobs_;
    event(kind_ == Kind::kThinking ? "response.reasoning_text.done" : "response.output_text.done",
          part_event(std::move(fields)));
    event("response.content_part.done", part_event({{"part", part()}}));
    json::object whole = item(status, {part()});
    kind_ = Kind::kNone;
    done(std::move(whole));
    text_.clear();
    all_logprobs_.clear();
  }

  /// Stores the state, then calls `then` with it (on the store's thread), or tells the client what went wrong.
  void keep(const char* status, std::function<void(json::object)> then) {
    json::object now = response(status);
    // It runs on the store's own thread, which must not be the one that lets go of the store.
    auto written = [store = store_.get(), responder = context_.responder, then = std::move(then), now, id = id_,
                    over = status != std::string_view("in_progress")](const std::exception_ptr& failed) {
      if (over) store->close(id);
      if (!failed) return then ? then(now) : void();
      const ApiError error = api_error(failed);
      if (responder->begun())
        responder->write(sse_event(to_json(openai_error(error)), "error")), responder->end();
      else
        send_error(*responder, error);
    };
    store_->put_later({id_, request_.previous_id, context_.created, std::move(now), request_.input},
                      std::move(written));
  }
  void end(const char* status, const char* last_event) {
    if (status == std::string_view("completed")) completed_at_ = std::time(nullptr);
    std::function<void(json::object)> tell;
    if (context_.stream)
      tell = [responder = context_.responder,
              last = event_text(last_event, {{"response", response(status)}})](const json::object&) {
        responder->write(last);
        responder->end();
      };
    else if (!request_.background)
      tell = [responder = context_.responder, headers = context_.headers](const json::object& whole) {
        responder->send(200, "application/json", to_json(whole), headers);
      };
    ended_ = true;
    if (store_)
      keep(status, std::move(tell));
    else if (tell)
      tell(response(status));
  }

  ResponsesRequest request_;
  const std::shared_ptr<ResponseStore> store_;  // null: nothing is kept
  const std::string id_;
  uint64_t sequence_ = 0;
  json::array output_;  // complete items
  Kind kind_ = Kind::kNone;
  std::string item_, text_;              // the open item's id and text
  json::array logprobs_, all_logprobs_;  // not yet told, and all of the open item
  size_t calls_ = 0;
  bool has_message_ = false, ended_ = false;
  json::value usage_ = nullptr, error_ = nullptr, incomplete_ = nullptr, completed_at_ = nullptr;
};

}  // namespace

std::unique_ptr<Reply> make_responses_reply(ReplyContext context, ResponsesRequest request,
                                            std::shared_ptr<ResponseStore> store) {
  return std::make_unique<ResponsesReply>(std::move(context), std::move(request), std::move(store));
}

std::string response_id(const std::string& id) { return "resp_" + id; }

std::string request_id_of(std::string_view id) {
  const size_t mark = id.find('_');
  if (mark == std::string_view::npos || id.size() < mark + 1 + kIdLength) return "";
  return std::string(id.substr(mark + 1, kIdLength));
}

}  // namespace fathom

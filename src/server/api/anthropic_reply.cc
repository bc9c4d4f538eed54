#include "server/api/anthropic_reply.h"

#include "base/json.h"
#include "server/http/sse.h"

namespace fathom {
namespace {

const char* error_type(int status) {
  switch (status) {
    case 401: return "authentication_error";
    case 403: return "permission_error";
    case 404: return "not_found_error";
    case 413: return "request_too_large";
    case 429: return "rate_limit_error";
    case 529: return "overloaded_error";
    default: return status < 500 ? "invalid_request_error" : "api_error";
  }
}

const char* stop_reason(const Answer& answer) {
  switch (answer.finish_reason) {
    case FinishReason::kStop: return answer.stop ? "stop_sequence" : "end_turn";
    case FinishReason::kLength: return "max_tokens";
    case FinishReason::kContextFull: return "model_context_window_exceeded";
    case FinishReason::kToolCalls: return "tool_use";
    case FinishReason::kCancelled: return "pause_turn";
  }
  return "end_turn";
}

json::value stop_sequence(const Answer& answer) {
  return answer.stop && answer.finish_reason == FinishReason::kStop ? json::value(*answer.stop) : json::value(nullptr);
}

/// The whole prompt is the sum of the three counts of input; what is cached here costs nothing to put there.
json::object usage(size_t prompt, size_t cached, size_t output) {
  return {{"input_tokens", prompt - cached},
          {"cache_creation_input_tokens", 0},
          {"cache_read_input_tokens", cached},
          {"output_tokens", output}};
}
json::object usage(const AnswerStats& stats) {
  return usage(stats.prompt_tokens, std::min(stats.cached_tokens, stats.prompt_tokens), stats.new_tokens);
}

class AnthropicReply final : public Reply {
 public:
  AnthropicReply(ReplyContext context, std::string request_id, const ThinkingSignature& signature)
      : Reply(std::move(context)), request_id_(std::move(request_id)), signature_(signature) {
    context_.headers.emplace_back("request-id", request_id_);
  }

  std::string heartbeat() const override { return context_.stream ? ping() : Reply::heartbeat(); }

  void begin() override {
    if (!context_.stream) return;
    context_.responder->begin(200, "text/event-stream", context_.headers);
    json::object message = head();
    message["content"] = json::array();
    message["stop_reason"] = nullptr;
    message["stop_sequence"] = nullptr;
    message["usage"] = usage(context_.prompt_tokens, 0, 0);
    event("message_start", {{"message", std::move(message)}});
    context_.responder->write(ping());
  }
  void thinking(size_t, std::string_view text) override {
    if (!context_.stream) return;
    open("thinking", {{"type", "thinking"}, {"thinking", ""}, {"signature", ""}});
    thinking_ += text;
    delta({{"type", "thinking_delta"}, {"thinking", text}});
  }
  void text(size_t, std::string_view text) override {
    if (!context_.stream) return;
    open("text", {{"type", "text"}, {"text", ""}});
    delta({{"type", "text_delta"}, {"text", text}});
  }
  void tool_call(size_t, size_t index, const ToolCall& call) override {
    if (!context_.stream) return;
    close();
    open("tool_use", {{"type", "tool_use"}, {"id", call_id(index)}, {"name", call.name}, {"input", json::object()}});
    delta({{"type", "input_json_delta"}, {"partial_json", call.arguments}});
    close();
  }
  void finish(const std::vector<Answer>& answers) override {
    const Answer& answer = answers.front();
    if (!context_.stream) {
      json::object out = head();
      out["content"] = content(answer);
      out["stop_reason"] = stop_reason(answer);
      out["stop_sequence"] = stop_sequence(answer);
      out["usage"] = usage(answer.stats);
      return context_.responder->send(200, "application/json", to_json(out), context_.headers);
    }
    close();
    event("message_delta", {{"delta", {{"stop_reason", stop_reason(answer)}, {"stop_sequence", stop_sequence(answer)}}},
                            {"usage", usage(answer.stats)}});
    event("message_stop", {});
    context_.responder->end();
  }
  void fail(const ApiError& error) override {
    const std::string body = to_json(anthropic_error(error, request_id_));
    if (context_.stream && context_.responder->begun()) {
      context_.responder->write(sse_event(body, "error"));
      return context_.responder->end();
    }
    HttpHeaders headers = context_.headers;
    if (error.retry_after_s) headers.emplace_back("Retry-After", std::to_string(*error.retry_after_s));
    context_.responder->send(anthropic_status(error), "application/json", body, std::move(headers));
  }

 private:
  static std::string ping() { return sse_event(R"({"type":"ping"})", "ping"); }
  std::string call_id(size_t index) const { return cat("toolu_", index < 10 ? "0" : "", index, context_.id); }
  json::object head() const {
    return {{"id", "msg_" + context_.id}, {"type", "message"}, {"role", "assistant"}, {"model", context_.model}};
  }
  void event(const char* type, const json::object& fields) {
    json::object out{{"type", type}};
    for (const auto& [key, value] : fields) out[key] = value;
    context_.responder->write(sse_event(to_json(out), type));
  }
  void delta(json::object change) { event("content_block_delta", {{"index", block_}, {"delta", std::move(change)}}); }
  /// The block that is open becomes one of this type.
  void open(std::string_view type, json::object block) {
    if (open_ == type) return;
    close();
    open_ = type;
    event("content_block_start", {{"index", block_}, {"content_block", std::move(block)}});
  }
  void close() {
    if (open_.empty()) return;
    if (open_ == "thinking")
      delta({{"type", "signature_delta"}, {"signature", signature_.sign(std::exchange(thinking_, {}))}});
    event("content_block_stop", {{"index", block_}});
    open_ = {};
    ++block_;
  }
  json::array content(const Answer& answer) const {
    json::array out;
    if (!answer.thinking.empty())
      out.push_back(
          {{"type", "thinking"}, {"thinking", answer.thinking}, {"signature", signature_.sign(answer.thinking)}});
    if (!answer.text.empty()) out.push_back({{"type", "text"}, {"text", answer.text}});
    for (size_t i = 0; i < answer.tool_calls.size(); ++i) {
      const ToolCall& call = answer.tool_calls[i];
      out.push_back({{"type", "tool_use"}, {"id", call_id(i)}, {"name", call.name}, {"input", arguments_object(call)}});
    }
    return out;
  }

  std::string request_id_;
  const ThinkingSignature signature_;  // a copy: answers may outlive the Api at its end
  std::string_view open_;              // type of the block that is open; empty: none
  size_t block_ = 0;                   // its index, or the next one's
  std::string thinking_;               // of the block that is open
};

}  // namespace

json::object anthropic_error(const ApiError& error, const std::string& request_id) {
  return {{"type", "error"},
          {"error", {{"type", error_type(anthropic_status(error))}, {"message", error.what()}}},
          {"request_id", request_id}};
}

int anthropic_status(const ApiError& error) {
  const bool busy = error.status == 503 || (error.status == 429 && error.code == "rate_limit_exceeded");
  return busy ? 529 : error.status;
}

std::unique_ptr<Reply> make_anthropic_reply(ReplyContext context, std::string request_id,
                                            const ThinkingSignature& signature) {
  return std::make_unique<AnthropicReply>(std::move(context), std::move(request_id), signature);
}

}  // namespace fathom

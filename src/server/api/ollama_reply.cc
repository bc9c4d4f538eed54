#include "server/api/ollama_reply.h"

#include <array>
#include <cstdio>
#include <ctime>

#include "base/json.h"

namespace fathom {
namespace {

using Clock = std::chrono::steady_clock;

int64_t nanoseconds(Clock::duration d) { return std::chrono::nanoseconds(d).count(); }

class OllamaReply : public Reply {
 public:
  OllamaReply(ReplyContext context, Clock::time_point started)
      : Reply(std::move(context)), started_(started), ready_(Clock::now()) {}

  /// White space in front of the next line, which every reader of JSON skips.
  std::string heartbeat() const override { return context_.stream ? " " : Reply::heartbeat(); }
  void begin() override {
    if (context_.stream) context_.responder->begin(200, "application/x-ndjson", context_.headers);
  }
  void token(size_t, const ReplyToken& token) override {
    json::object entry = token_json(tokenizer(), token.id, token.logprobs.chosen.logprob);
    json::array top;
    for (const TokenLogprob& t : token.logprobs.top) top.push_back(token_json(tokenizer(), t.id, t.logprob));
    if (!top.empty()) entry["top_logprobs"] = std::move(top);
    logprobs_.push_back(std::move(entry));
  }
  void thinking(size_t, std::string_view text) override { piece("", text, {}); }
  void text(size_t, std::string_view text) override { piece(text, "", {}); }
  void tool_call(size_t, size_t index, const ToolCall& call) override { piece("", "", {call_json(index, call)}); }
  void finish(const std::vector<Answer>& answers) override {
    const Answer& answer = answers.front();
    json::object out;
    if (context_.stream) {
      out = line("", "", {});
    } else {
      json::array calls;
      for (size_t i = 0; i < answer.tool_calls.size(); ++i) calls.push_back(call_json(i, answer.tool_calls[i]));
      out = line(answer.text, answer.thinking, std::move(calls));
    }
    const AnswerStats& s = answer.stats;
    const auto ns = [](double seconds) { return static_cast<int64_t>(seconds * 1e9); };
    out["done"] = true;
    const bool full =
        answer.finish_reason == FinishReason::kLength || answer.finish_reason == FinishReason::kContextFull;
    out["done_reason"] = full ? "length" : answer.finish_reason == FinishReason::kCancelled ? "cancelled" : "stop";
    out["total_duration"] = nanoseconds(Clock::now() - started_);
    out["load_duration"] = nanoseconds(ready_ - started_);
    out["prompt_eval_count"] = s.prompt_tokens;
    out["prompt_eval_duration"] = ns(s.first_token_s);
    out["eval_count"] = s.new_tokens;
    out["eval_duration"] = ns(s.decode_s);
    if (!context_.stream) return context_.responder->send(200, "application/json", to_json(out), context_.headers);
    write(out);
    context_.responder->end();
  }
  void fail(const ApiError& error) override {
    if (context_.stream && context_.responder->begun()) {
      write(ollama_error(error));
      return context_.responder->end();
    }
    HttpHeaders headers = context_.headers;
    if (error.retry_after_s) headers.emplace_back("Retry-After", std::to_string(*error.retry_after_s));
    context_.responder->send(error.status, "application/json", to_json(ollama_error(error)), std::move(headers));
  }

 protected:
  /// Where the texts stand in a line.
  virtual void put(json::object& line, std::string_view text, std::string_view thinking, json::array calls) const = 0;

 private:
  json::object call_json(size_t index, const ToolCall& call) const {
    return {{"id", cat("call_", index, "_", context_.id)},
            {"function", {{"index", index}, {"name", call.name}, {"arguments", arguments_object(call)}}}};
  }
  json::object line(std::string_view text, std::string_view thinking, json::array calls) {
    json::object out{{"model", context_.model}, {"created_at", utc_time(std::chrono::system_clock::now())}};
    put(out, text, thinking, std::move(calls));
    out["done"] = false;
    if (!logprobs_.empty()) out["logprobs"] = std::exchange(logprobs_, {});
    return out;
  }
  void piece(std::string_view text, std::string_view thinking, json::array calls) {
    if (context_.stream) write(line(text, thinking, std::move(calls)));
  }
  void write(const json::object& line) { context_.responder->write(to_json(line) + "\n"); }

  Clock::time_point started_, ready_;
  json::array logprobs_;  // of the tokens since the last line
};

class OllamaChatReply final : public OllamaReply {
 public:
  using OllamaReply::OllamaReply;

 private:
  void put(json::object& line, std::string_view text, std::string_view thinking, json::array calls) const override {
    json::object message{{"role", "assistant"}, {"content", text}};
    if (!thinking.empty()) message["thinking"] = thinking;
    if (!calls.empty()) message["tool_calls"] = std::move(calls);
    line["message"] = std::move(message);
  }
};

class OllamaGenerateReply final : public OllamaReply {
 public:
  using OllamaReply::OllamaReply;

 private:
  void put(json::object& line, std::string_view text, std::string_view thinking, json::array calls) const override {
    line["response"] = text;
    if (!thinking.empty()) line["thinking"] = thinking;
    if (!calls.empty()) line["tool_calls"] = std::move(calls);
  }
};

}  // namespace

json::object ollama_error(const ApiError& error) { return {{"error", error.what()}}; }

std::string utc_time(std::chrono::system_clock::time_point time) {
  const auto micros = std::chrono::duration_cast<std::chrono::microseconds>(time.time_since_epoch()).count();
  const std::time_t seconds = micros / 1'000'000;
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  std::array<char, 32> day{}, fraction{};
  std::strftime(day.data(), day.size(), "%Y-%m-%dT%H:%M:%S", &parts);
  std::snprintf(fraction.data(), fraction.size(), ".%06dZ", static_cast<int>(micros % 1'000'000));
  return cat(day.data(), fraction.data());
}

std::unique_ptr<Reply> make_ollama_chat_reply(ReplyContext context, Clock::time_point started) {
  return std::make_unique<OllamaChatReply>(std::move(context), started);
}

std::unique_ptr<Reply> make_ollama_generate_reply(ReplyContext context, Clock::time_point started) {
  return std::make_unique<OllamaGenerateReply>(std::move(context), started);
}

}  // namespace fathom

// Chat completions and text completions, as OpenAI's API writes them; spec/api.md 1.4 and 2.
#include "base/json.h"
#include "server/api/reply.h"
#include "server/http/sse.h"
#include "text/utf8.h"

namespace fathom {

std::string openai_finish_reason(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop: return "stop";
    case FinishReason::kLength:
    case FinishReason::kContextFull: return "length";
    case FinishReason::kToolCalls: return "tool_calls";
    case FinishReason::kCancelled: return "aborted";
  }
  return "stop";
}

json::object openai_usage(const std::vector<Answer>& answers, size_t n) {
  size_t prompt = 0, cached = 0, completion = 0, thinking = 0;
  for (size_t i = 0; i < answers.size(); ++i) {
    const AnswerStats& s = answers[i].stats;
    completion += s.new_tokens, thinking += s.thinking_tokens;
    if (i % n == 0) prompt += s.prompt_tokens, cached += s.cached_tokens;
  }
  return {{"prompt_tokens", prompt},
          {"completion_tokens", completion},
          {"total_tokens", prompt + completion},
          {"prompt_tokens_details", {{"cached_tokens", cached}}},
          {"completion_tokens_details", {{"reasoning_tokens", thinking}}},
          {"prompt_cache_hit_tokens", cached},
          {"prompt_cache_miss_tokens", prompt - cached}};
}

json::object openai_error(const ApiError& error) {
  const auto or_null = [](const std::optional<std::string>& s) { return s ? json::value(*s) : json::value(nullptr); };
  return {{"error",
           {{"message", error.what()},
            {"type", error.type},
            {"param", or_null(error.param)},
            {"code", or_null(error.code)}}}};
}

void send_error(Responder& responder, const ApiError& error) {
  HttpHeaders headers;
  if (error.retry_after_s) headers.emplace_back("Retry-After", std::to_string(*error.retry_after_s));
  responder.send(error.status, "application/json", to_json(openai_error(error)), std::move(headers));
}

json::object token_json(const Tokenizer& tokenizer, TokenId id, float logprob) {
  const std::string_view bytes = tokenizer.token_view(id);
  json::array numbers;
  for (const char c : bytes) numbers.push_back(static_cast<unsigned char>(c));
  return {{"token", utf8_lossy(bytes)}, {"logprob", logprob}, {"bytes", std::move(numbers)}};
}

namespace {

json::object logprob_json(const Tokenizer& tokenizer, const ReplyToken& token) {
  json::object out = token_json(tokenizer, token.id, token.logprobs.chosen.logprob);
  json::array top;
  for (const TokenLogprob& t : token.logprobs.top) top.push_back(token_json(tokenizer, t.id, t.logprob));
  out["top_logprobs"] = std::move(top);
  return out;
}

/// {content: [...], reasoning_content: [...]}, the second where there is thinking.
json::object logprobs_json(const Tokenizer& tokenizer, const std::vector<ReplyToken>& tokens) {
  json::array content, thinking;
  for (const ReplyToken& t : tokens) (t.thinking ? thinking : content).push_back(logprob_json(tokenizer, t));
  json::object out{{"content", std::move(content)}, {"refusal", nullptr}};
  if (!thinking.empty()) out["reasoning_content"] = std::move(thinking);
  return out;
}

std::string call_id(size_t choice, size_t index, const std::string& id) {
  return cat("call_", index < 10 ? "0" : "", index, "_", id, choice);
}

json::object call_json(const ToolCall& call, std::string id) {
  return {
      {"id", std::move(id)}, {"type", "function"}, {"function", {{"name", call.name}, {"arguments", call.arguments}}}};
}

/// What chat and text completions have in common.
class OpenAiReply : public Reply {
 public:
  OpenAiReply(ReplyContext context, const std::string& prefix, std::string whole, std::string chunk)
      : Reply(std::move(context)), whole_(std::move(whole)), chunk_(std::move(chunk)), tokens_(context_.choices) {
    context_.id = prefix + context_.id;
  }

  void begin() override {
    if (!context_.stream) return;
    context_.responder->begin(200, "text/event-stream", context_.headers);
  }
  void token(size_t choice, const ReplyToken& token) override { tokens_[choice].push_back(token); }
  void fail(const ApiError& error) override {
    if (context_.stream && context_.responder->begun()) {
      context_.responder->write(sse_event(to_json(openai_error(error))));
      context_.responder->end();
      return;
    }
    HttpHeaders headers = context_.headers;
    if (error.retry_after_s) headers.emplace_back("Retry-After", std::to_string(*error.retry_after_s));
    context_.responder->send(error.status, "application/json", to_json(openai_error(error)), std::move(headers));
  }
  void finish(const std::vector<Answer>& answers) override {
    if (!context_.stream) {
      json::array choices;
      for (size_t i = 0; i < answers.size(); ++i) choices.push_back(whole_choice(i, answers[i]));
      json::object out = head(whole_);
      out["choices"] = std::move(choices);
      out["usage"] = openai_usage(answers, context_.n);
      context_.responder->send(200, "application/json", to_json(out), context_.headers);
      return;
    }
    if (context_.include_usage) {
      json::object out = head(chunk_);
      out["choices"] = json::array();
      out["usage"] = openai_usage(answers, context_.n);
      context_.responder->write(sse_event(to_json(out)));
    }
    context_.responder->write(sse_event("[DONE]"));
    context_.responder->end();
  }

 protected:
  virtual json::object whole_choice(size_t choice, const Answer& answer) = 0;

  json::object head(const std::string& object) const {
    const std::string& numerics = context_.loaded->engine().info().numerics_id;
    return {{"id", context_.id},
            {"object", object},
            {"created", context_.created},
            {"model", context_.model},
            {"system_fingerprint", numerics.empty() ? json::value(nullptr) : json::value(numerics.substr(0, 16))}};
  }
  void write_chunk(json::object choice) {
    json::object out = head(chunk_);
    out["choices"] = json::array{std::move(choice)};
    if (context_.include_usage) out["usage"] = nullptr;
    context_.responder->write(sse_event(to_json(out)));
  }
  std::vector<ReplyToken> take_tokens(size_t choice) { return std::exchange(tokens_[choice], {}); }

 private:
  std::string whole_, chunk_;
  std::vector<std::vector<ReplyToken>> tokens_;  // of each choice, not yet reported
};

class ChatReply final : public OpenAiReply {
 public:
  explicit ChatReply(ReplyContext context)
      : OpenAiReply(std::move(context), "chatcmpl-", "chat.completion", "chat.completion.chunk") {}

  void begin() override {
    OpenAiReply::begin();
    for (size_t i = 0; context_.stream && i < context_.choices; ++i)
      write_delta(i, {{"role", "assistant"}, {"content", ""}});
  }
  void thinking(size_t choice, std::string_view text) override { write_delta(choice, {{"reasoning_content", text}}); }
  void text(size_t choice, std::string_view text) override { write_delta(choice, {{"content", text}}); }
  void tool_call(size_t choice, size_t index, const ToolCall& call) override {
    json::object out = call_json(call, call_id(choice, index, context_.id.substr(9, 12)));
    json::object with_index{{"index", index}};
    for (auto& [key, value] : out) with_index[key] = std::move(value);
    write_delta(choice, {{"tool_calls", json::array{std::move(with_index)}}});
  }
  void done(size_t choice, const Answer& answer) override {
    if (context_.stream) write_delta(choice, {}, openai_finish_reason(answer.finish_reason));
  }

 private:
  void write_delta(size_t choice, json::object delta, std::optional<std::string> finish_reason = {}) {
    if (!context_.stream) return;
    json::value logprobs = nullptr;
    if (std::vector<ReplyToken> tokens = take_tokens(choice); !tokens.empty())
      logprobs = logprobs_json(tokenizer(), tokens);
    write_chunk({{"index", choice},
                 {"delta", std::move(delta)},
                 {"logprobs", std::move(logprobs)},
                 {"finish_reason", finish_reason ? json::value(*finish_reason) : json::value(nullptr)}});
  }
  json::object whole_choice(size_t choice, const Answer& answer) override {
    json::object message{{"role", "assistant"}, {"content", answer.text}, {"refusal", nullptr}};
    if (!answer.thinking.empty()) message["reasoning_content"] = answer.thinking;
    if (!answer.tool_calls.empty()) {
      json::array calls;
      for (size_t i = 0; i < answer.tool_calls.size(); ++i)
        calls.push_back(call_json(answer.tool_calls[i], call_id(choice, i, context_.id.substr(9, 12))));
      message["tool_calls"] = std::move(calls);
      if (answer.text.empty()) message["content"] = nullptr;
    }
    json::value logprobs = nullptr;
    if (context_.logprobs) logprobs = logprobs_json(tokenizer(), take_tokens(choice));
    return {{"index", choice},
            {"message", std::move(message)},
            {"logprobs", std::move(logprobs)},
            {"finish_reason", openai_finish_reason(answer.finish_reason)}};
  }
};

/// Plain completions: what the model thinks is part of the text.
class CompletionReply final : public OpenAiReply {
 public:
  CompletionReply(ReplyContext context, std::vector<std::string> prompts)
      : OpenAiReply(std::move(context), "cmpl-", "text_completion", "text_completion"),
        prompts_(std::move(prompts)),
        offsets_(context_.choices) {}

  void begin() override {
    OpenAiReply::begin();
    for (size_t i = 0; i < prompts_.size(); ++i) {
      offsets_[i] = prompts_[i].size();
      if (context_.stream) write_text(i, prompts_[i]);
    }
  }
  void text(size_t choice, std::string_view text) override {
    if (context_.stream) write_text(choice, text);
  }
  void done(size_t choice, const Answer& answer) override {
    if (context_.stream) write_text(choice, "", openai_finish_reason(answer.finish_reason));
  }

 private:
  /// The older form: four lists side by side.
  json::value logprobs(size_t choice) {
    const std::vector<ReplyToken> tokens = take_tokens(choice);
    if (tokens.empty()) return nullptr;
    json::array texts, values, tops, offsets;
    for (const ReplyToken& t : tokens) {
      const auto text = [&](TokenId id) { return utf8_lossy(tokenizer().token_view(id)); };
      texts.push_back(json::string(text(t.id)));
      values.push_back(t.logprobs.chosen.logprob);
      offsets.push_back(offsets_[choice]);
      offsets_[choice] += tokenizer().token_view(t.id).size();
      json::object top;
      for (const TokenLogprob& alternative : t.logprobs.top) top[text(alternative.id)] = alternative.logprob;
      tops.push_back(std::move(top));
    }
    return {{"tokens", std::move(texts)},
            {"token_logprobs", std::move(values)},
            {"top_logprobs", std::move(tops)},
            {"text_offset", std::move(offsets)}};
  }
  void write_text(size_t choice, std::string_view text, std::optional<std::string> finish_reason = {}) {
    write_chunk({{"index", choice},
                 {"text", text},
                 {"logprobs", logprobs(choice)},
                 {"finish_reason", finish_reason ? json::value(*finish_reason) : json::value(nullptr)}});
  }
  json::object whole_choice(size_t choice, const Answer& answer) override {
    return {{"index", choice},
            {"text", prompts_.empty() ? answer.text : prompts_[choice] + answer.text},
            {"logprobs", logprobs(choice)},
            {"finish_reason", openai_finish_reason(answer.finish_reason)}};
  }

  std::vector<std::string> prompts_;
  std::vector<size_t> offsets_;
};

}  // namespace

std::unique_ptr<Reply> make_chat_reply(ReplyContext context) { return std::make_unique<ChatReply>(std::move(context)); }

std::unique_ptr<Reply> make_completion_reply(ReplyContext context, std::vector<std::string> prompts) {
  return std::make_unique<CompletionReply>(std::move(context), std::move(prompts));
}

}  // namespace fathom

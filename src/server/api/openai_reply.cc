// Chat completions and text completions, as OpenAI's API writes them; spec/api.md 1.4 and 2.
#include <algorithm>

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

/// As vLLM writes it: for each token of the prompt {id: {logprob, rank, decoded_token}} of itself and the likeliest at
/// its place; null for the first.
json::array prompt_logprobs_json(const Tokenizer& tokenizer, const std::vector<PromptToken>& prompt) {
  json::array out;
  for (const PromptToken& token : prompt) {
    if (!token.logprobs) {
      out.emplace_back(nullptr);
      continue;
    }
    json::object entry;
    const auto add = [&](const TokenLogprob& t, size_t rank) {
      entry[std::to_string(t.id)] = {
          {"logprob", t.logprob}, {"rank", rank}, {"decoded_token", utf8_lossy(tokenizer.token_view(t.id))}};
    };
    add(token.logprobs->chosen, token.rank);
    for (size_t i = 0; i < token.logprobs->top.size(); ++i) add(token.logprobs->top[i], i + 1);
    out.push_back(std::move(entry));
  }
  return out;
}

/// vLLM's stop_reason: the stop string or the request's own stop token that ended the answer; null: nothing of them.
json::value stop_reason(const ReplyContext& context, const Answer& answer) {
  if (answer.stop) return json::value(*answer.stop);
  if (answer.finish_reason != FinishReason::kStop || answer.ids.empty()) return nullptr;
  const bool named = std::ranges::find(context.stop_ids, answer.ids.back()) != context.stop_ids.end();
  return named ? json::value(answer.ids.back()) : json::value(nullptr);
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
      for (size_t i = 0; i < answers.size(); ++i)
        choices.push_back(whole_choice(i, answers[i], answers[i - i % context_.n].prompt));
      json::object out = head(whole_);
      out["choices"] = std::move(choices);
      add_prompt(out, answers);
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
  /// `prompt`: the choice's, where its log-probabilities were asked for.
  virtual json::object whole_choice(size_t choice, const Answer& answer, const std::vector<PromptToken>& prompt) = 0;
  /// What a whole reply says of the only prompt.
  virtual void add_prompt(json::object& /*reply*/, const std::vector<Answer>& /*answers*/) {}

  json::object head(const std::string& object) const {
    const std::string& numerics = context_.loaded->numerics_id();
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
  /// Why an answer ended; null: it goes on.
  void add_end(json::object& choice, const Answer* done) const {
    choice["finish_reason"] = done ? json::value(openai_finish_reason(done->finish_reason)) : json::value(nullptr);
    if (done) choice["stop_reason"] = stop_reason(context_, *done);
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
    if (context_.stream) write_delta(choice, {}, &answer);
  }

 private:
  /// `done`: the answer that has ended; null: it goes on.
  void write_delta(size_t choice, json::object delta, const Answer* done = nullptr) {
    if (!context_.stream) return;
    json::value logprobs = nullptr;
    if (std::vector<ReplyToken> tokens = take_tokens(choice); !tokens.empty())
      logprobs = logprobs_json(tokenizer(), tokens);
    json::object out{{"index", choice}, {"delta", std::move(delta)}, {"logprobs", std::move(logprobs)}};
    add_end(out, done);
    write_chunk(std::move(out));
  }
  void add_prompt(json::object& reply, const std::vector<Answer>& answers) override {
    if (const std::vector<PromptToken>& prompt = answers.front().prompt; !prompt.empty())
      reply["prompt_logprobs"] = prompt_logprobs_json(tokenizer(), prompt);
  }
  json::object whole_choice(size_t choice, const Answer& answer, const std::vector<PromptToken>&) override {
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
    json::object out{{"index", choice}, {"message", std::move(message)}, {"logprobs", std::move(logprobs)}};
    add_end(out, &answer);
    return out;
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
    if (context_.stream) write_text(choice, "", &answer);
  }

 private:
  /// The older form: four lists side by side. `prompt`: of an echo.
  json::value logprobs(size_t choice, const std::vector<PromptToken>& prompt = {}) {
    const std::vector<ReplyToken> tokens = take_tokens(choice);
    if (tokens.empty() && prompt.empty()) return nullptr;
    json::array texts, values, tops, offsets;
    const auto text = [&](TokenId id) { return utf8_lossy(tokenizer().token_view(id)); };
    const auto add = [&](TokenId id, const TopLogprobs* logprobs, size_t& offset) {
      texts.push_back(json::string(text(id)));
      values.push_back(logprobs ? json::value(logprobs->chosen.logprob) : json::value(nullptr));
      offsets.push_back(offset);
      offset += tokenizer().token_view(id).size();
      if (!logprobs) return tops.push_back(nullptr);
      json::object top;
      for (const TokenLogprob& alternative : logprobs->top) top[text(alternative.id)] = alternative.logprob;
      top.insert_or_assign(text(id), logprobs->chosen.logprob);  // one more where it is none of them, as OpenAI has it
      tops.push_back(std::move(top));
    };
    size_t offset = 0;  // in the prompt, whose control tokens are no text
    for (const PromptToken& t : prompt) {
      size_t none = offset;
      const bool control = tokenizer().kind(t.id) == TokenKind::kControl;
      add(t.id, t.logprobs ? &*t.logprobs : nullptr, control ? none : offset);
    }
    for (const ReplyToken& t : tokens) add(t.id, &t.logprobs, offsets_[choice]);
    return {{"tokens", std::move(texts)},
            {"token_logprobs", std::move(values)},
            {"top_logprobs", std::move(tops)},
            {"text_offset", std::move(offsets)}};
  }
  void write_text(size_t choice, std::string_view text, const Answer* done = nullptr) {
    json::object out{{"index", choice}, {"text", text}, {"logprobs", logprobs(choice)}};
    add_end(out, done);
    write_chunk(std::move(out));
  }
  json::object whole_choice(size_t choice, const Answer& answer, const std::vector<PromptToken>& prompt) override {
    const bool echo = !prompts_.empty();
    json::object out{{"index", choice},
                     {"text", echo ? prompts_[choice] + answer.text : answer.text},
                     {"logprobs", logprobs(choice, echo && context_.logprobs ? prompt : std::vector<PromptToken>())}};
    add_end(out, &answer);
    if (!prompt.empty() && context_.prompt_logprobs) out["prompt_logprobs"] = prompt_logprobs_json(tokenizer(), prompt);
    return out;
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

#include "cli/answer_json.h"

#include <algorithm>
#include <climits>

#include "base/error.h"
#include "engine/conversation.h"

namespace fathom {
namespace {

json::object logprob_json(const TokenLogprob& token, const Tokenizer& tokenizer) {
  return {{"id", token.id}, {"token", tokenizer.decode({&token.id, 1})}, {"logprob", token.logprob}};
}

json::value logprobs_json(const Answer& answer, const Tokenizer& tokenizer) {
  if (answer.logprobs.empty()) return nullptr;
  json::array out;
  for (const TopLogprobs& step : answer.logprobs) {
    json::object entry = logprob_json(step.chosen, tokenizer);
    json::array top;
    for (const TokenLogprob& token : step.top) top.push_back(logprob_json(token, tokenizer));
    entry["top"] = std::move(top);
    out.push_back(std::move(entry));
  }
  return out;
}

std::string rounded(double x, int digits) {
  std::ostringstream out;
  out.precision(digits);
  out << std::fixed << x;
  return out.str();
}

/// A whole number from `least` to `most`, or the fallback.
int64_t whole(const JsonObject& request, std::string_view key, int64_t fallback, int64_t least, int64_t most) {
  const int64_t x = request.integer_or(key, fallback);
  if (request.has(key) && (x < least || x > most))
    throw Error(cat("run: ", key, ": expected a whole number from ", least, " to ", most, ", found ", x));
  return x;
}

uint64_t seed_of(const JsonObject& request, uint64_t fallback) {
  const json::value* seed = request.find("seed");
  if (!seed) return fallback;
  if (const uint64_t* large = seed->if_uint64()) return *large;
  return static_cast<uint64_t>(whole(request, "seed", 0, 0, INT64_MAX));
}

std::vector<std::string> stop_strings(const JsonObject& request, const std::vector<std::string>& fallback) {
  const json::value* stop = request.find("stop");
  if (!stop) return fallback;
  if (stop->is_string()) return {request.string("stop")};
  std::vector<std::string> out;
  for (const json::value& text : request.array("stop")) {
    if (!text.is_string()) throw Error(cat("run: stop: expected strings, found ", to_json(text)));
    out.emplace_back(text.as_string());
  }
  return out;
}

void read_logprobs(const JsonObject& request, AnswerOptions& options) {
  const json::value* wanted = request.find("logprobs");
  if (wanted && wanted->is_int64()) {
    options.logprobs = true;
    options.top_logprobs = static_cast<size_t>(whole(request, "logprobs", 0, 0, 1000));
  } else {
    options.logprobs = request.boolean_or("logprobs", options.logprobs);
  }
  options.top_logprobs =
      static_cast<size_t>(whole(request, "top_logprobs", static_cast<int64_t>(options.top_logprobs), 0, 1000));
}

constexpr std::string_view kFields[] = {"prompt",
                                        "messages",
                                        "tools",
                                        "raw",
                                        "seed",
                                        "max_tokens",
                                        "temperature",
                                        "top_p",
                                        "top_k",
                                        "min_p",
                                        "repetition_penalty",
                                        "presence_penalty",
                                        "frequency_penalty",
                                        "stop",
                                        "logprobs",
                                        "top_logprobs",
                                        "thinking",
                                        "thinking_budget",
                                        "ignore_eos",
                                        "language",
                                        "id"};

void refuse_unknown_fields(const JsonObject& request) {
  for (const auto& [key, value] : request.raw())
    if (std::find(std::begin(kFields), std::end(kFields), std::string_view(key)) == std::end(kFields))
      throw Error(cat("run: expected fields of a request, found an unknown one, '", std::string_view(key), "'"));
}

/// `thinking` for templates that have a switch of that name or transformers' enable_thinking.
json::object thinking_switch(const Engine& engine, bool think) {
  json::object extra;
  for (const char* variable : {"enable_thinking", "thinking"})
    if (engine.chat_template().mentions(variable)) extra[variable] = think;
  return extra;
}

}  // namespace

json::object answer_json(const Answer& answer, const Tokenizer& tokenizer, uint64_t seed) {
  const AnswerStats& s = answer.stats;
  json::object out{
      {"thinking", answer.thinking}, {"text", answer.text}, {"ids", json::array(answer.ids.begin(), answer.ids.end())}};
  out["logprobs"] = logprobs_json(answer, tokenizer);
  out["finish_reason"] = name(answer.finish_reason);
  if (!answer.tool_calls.empty()) {
    json::array calls;
    for (const ToolCall& call : answer.tool_calls)
      calls.push_back({{"name", call.name}, {"arguments", call.arguments}});
    out["tool_calls"] = std::move(calls);
  }
  out["seed"] = seed;
  out["usage"] = {{"prompt_tokens", s.prompt_tokens},
                  {"cached_tokens", s.cached_tokens},
                  {"new_tokens", s.new_tokens},
                  {"thinking_tokens", s.thinking_tokens}};
  out["speculation"] = {{"passes", s.speculation.passes},
                        {"drafted_tokens", s.speculation.drafted},
                        {"accepted_tokens", s.speculation.accepted}};
  out["timings"] = {{"first_token_s", s.first_token_s},
                    {"decode_s", s.decode_s},
                    {"thinking_s", s.thinking_s},
                    {"prompt_tokens_per_s", s.prompt_tokens_per_s()},
                    {"new_tokens_per_s", s.new_tokens_per_s()}};
  return out;
}

std::string stats_line(const AnswerStats& s) {
  std::string line = cat("prompt ", s.prompt_tokens, s.prompt_tokens == 1 ? " token" : " tokens");
  if (s.cached_tokens > 0) line += cat(", ", s.cached_tokens, " of them cached");
  line += cat(" (", rounded(s.prompt_tokens_per_s(), 1), " tok/s), answer ", s.new_tokens,
              s.new_tokens == 1 ? " token" : " tokens");
  if (s.thinking_tokens > 0) line += cat(", ", s.thinking_tokens, " of them thinking");
  line += cat(" (", rounded(s.new_tokens_per_s(), 1), " tok/s");
  if (s.speculation.drafted > 0) line += cat(", ", rounded(s.tokens_per_pass(), 2), " tokens per pass");
  return line + cat("), first token after ", rounded(s.first_token_s, 2), " s");
}

std::vector<TextPiece> user_prompt(const Engine& engine, const std::string& text, const std::string& system, bool think,
                                   bool raw) {
  if (raw || !engine.has_chat_template()) {
    std::vector<TextPiece> pieces = plain_prompt(engine, text);
    if (raw) pieces = {{text, true}};
    return pieces;
  }
  json::array messages;
  if (!system.empty()) messages.push_back({{"role", "system"}, {"content", system}});
  messages.push_back({{"role", "user"}, {"content", text}});
  return render_prompt(engine, messages, {}, true, thinking_switch(engine, think));
}

RunRequest run_request(const Engine& engine, const json::value& line, const AnswerOptions& defaults,
                       const std::string& system, bool think, bool raw) {
  const JsonObject request(line, "run");
  refuse_unknown_fields(request);
  RunRequest out{.prompt = {}, .options = defaults};
  SamplingParams& p = out.options.sampling;
  p.seed = seed_of(request, p.seed);
  p.temperature = request.number_or("temperature", p.temperature);
  p.top_p = request.number_or("top_p", p.top_p);
  p.top_k = static_cast<int>(whole(request, "top_k", p.top_k, 0, INT_MAX));
  p.min_p = request.number_or("min_p", p.min_p);
  p.repetition_penalty = request.number_or("repetition_penalty", p.repetition_penalty);
  p.presence_penalty = request.number_or("presence_penalty", p.presence_penalty);
  p.frequency_penalty = request.number_or("frequency_penalty", p.frequency_penalty);
  p.validate();
  out.options.max_tokens =
      static_cast<size_t>(whole(request, "max_tokens", static_cast<int64_t>(defaults.max_tokens), 1, INT64_MAX));
  if (request.has("thinking_budget"))
    out.options.thinking_budget = static_cast<size_t>(whole(request, "thinking_budget", 0, 0, INT64_MAX));
  out.options.stop = stop_strings(request, defaults.stop);
  if (request.has("language")) {
    const std::string language = request.string("language");
    const std::optional<ScriptSet> scripts = scripts_of_language(language);
    if (!scripts) throw Error(cat("run: language: expected ", kScriptNames, ", found '", language, "'"));
    out.options.language = engine.script_mask(*scripts);
  }
  out.options.ignore_eos = request.boolean_or("ignore_eos", defaults.ignore_eos);
  read_logprobs(request, out.options);
  think = request.boolean_or("thinking", think);
  if (request.has("messages") == request.has("prompt"))
    throw Error(cat("run: expected prompt or messages, found ", request.has("prompt") ? "both" : "neither"));
  if (request.has("prompt")) {
    out.prompt = user_prompt(engine, request.string("prompt"), system, think, request.boolean_or("raw", raw));
  } else {
    const json::array tools = request.has("tools") ? request.array("tools") : json::array{};
    out.prompt = render_prompt(engine, request.array("messages"), tools, true, thinking_switch(engine, think));
  }
  return out;
}

}  // namespace fathom

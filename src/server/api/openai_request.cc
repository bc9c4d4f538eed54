#include "server/api/openai_request.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "server/api/error.h"
#include "server/api/fields.h"
#include "server/api/openai_messages.h"

namespace fathom {
namespace {

TokenId token_id(const json::value& value, const std::string& param) {
  const json::value wrapped = json::object{{"id", value}};
  Fields f(wrapped, param);
  return static_cast<TokenId>(*f.integer("id", 0, INT32_MAX));
}

/// {"1234": -100}: values as llama-server takes them too, false for never.
std::map<TokenId, double> read_logit_bias(const json::object& bias, const std::string& param) {
  std::map<TokenId, double> out;
  if (bias.size() > 4096) throw wrong_field(param, cat(param, ": expected at most 4096 tokens, found ", bias.size()));
  for (const auto& [key, value] : bias) {
    TokenId id = -1;
    const std::string text(key);
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
    if (error != std::errc() || end != text.data() + text.size() || id < 0)
      throw wrong_field(param, cat(param, ": expected token ids as keys, found '", text.substr(0, 40), "'"));
    if (value.is_bool() && !value.get_bool()) {
      out[id] = -std::numeric_limits<double>::infinity();
    } else {
      const json::value wrapped = json::object{{"bias", value}};
      Fields f(wrapped, param);
      const double b = f.number("bias", -100, 100).value_or(0);
      out[id] = b <= -100 ? -std::numeric_limits<double>::infinity() : b;
    }
  }
  return out;
}

void read_sampling(Fields& f, GenerateRequest& r) {
  SamplingWishes& s = r.sampling;
  s.temperature = f.number("temperature", 0, 100);
  s.top_p = f.number("top_p", 0, 1);
  if (const auto k = f.integer("top_k", -1, INT32_MAX)) s.top_k = static_cast<int>(std::max<int64_t>(*k, 0));
  s.min_p = f.number("min_p", 0, 1);
  s.repetition_penalty = f.number("repetition_penalty", 0.01, 100);
  if (const auto p = f.number("repeat_penalty", 0.01, 100)) s.repetition_penalty = p;
  if (const auto n = f.integer("repeat_last_n", -1, INT32_MAX))
    s.penalty_window = static_cast<int>(std::max<int64_t>(*n, 0));
  s.presence_penalty = f.number("presence_penalty", -2, 2);
  s.frequency_penalty = f.number("frequency_penalty", -2, 2);
  if (const json::object* bias = f.object("logit_bias")) s.logit_bias = read_logit_bias(*bias, f.path("logit_bias"));
  if (const auto seed = f.integer("seed", INT64_MIN, INT64_MAX)) s.seed = static_cast<uint64_t>(*seed);
  r.min_tokens = static_cast<size_t>(f.integer("min_tokens", 0, kMostTokens).value_or(0));
  r.stop = f.strings("stop", 16);
  for (const std::string& stop : r.stop)
    if (stop.empty()) throw wrong_field(f.path("stop"), "stop: expected strings that are not empty");
  if (const json::array* ids = f.array("stop_token_ids")) {
    if (ids->size() > 256) throw wrong_field(f.path("stop_token_ids"), "stop_token_ids: expected at most 256");
    for (const json::value& id : *ids) r.stop_ids.push_back(token_id(id, f.path("stop_token_ids")));
  }
  if (const auto language = f.string("language")) r.language = scripts_of_wish(*language);
  r.include_stop = f.boolean("include_stop_str_in_output").value_or(false);
  r.ignore_eos = f.boolean("ignore_eos").value_or(false);
  r.priority = static_cast<int>(-f.integer("priority", -1000, 1000).value_or(0));  // vLLM's: lower comes first
  r.salt = f.string("cache_salt").value_or("");
}

void read_stream(Fields& f, GenerateRequest& r) {
  r.stream = f.boolean("stream").value_or(false);
  if (const json::value* options = f.any("stream_options")) {
    if (!r.stream)
      throw wrong_field("stream_options", "stream_options: expected only together with stream, found without");
    Fields o(*options, "stream_options");
    r.include_usage = o.boolean("include_usage").value_or(false);
    o.silent({"include_obfuscation"});
    o.name_left_over(r.warnings);
  }
  if (const auto n = f.integer("prompt_logprobs", 0, kMostTopLogprobs)) {
    if (r.stream) throw wrong_field("prompt_logprobs", "prompt_logprobs: expected only without stream");
    r.prompt_logprobs = static_cast<size_t>(*n);
  }
  r.keep = f.boolean("keep").value_or(false);
  r.n = static_cast<size_t>(f.integer("n", 1, kMostChoices).value_or(1));
}

/// How the answer is bound: OpenAI's response_format, vLLM's structured_outputs and guided_*, llama-server's.
void read_form(Fields& f, GenerateRequest& r) {
  const auto set = [&](AnswerForm form, const std::string& param) {
    if (r.form.kind != AnswerForm::Kind::kText)
      throw wrong_field(param, cat(param, ": expected one form for the answer, found another beside it"));
    r.form = std::move(form);
  };
  using Kind = AnswerForm::Kind;
  if (const json::value* format = f.any("response_format")) {
    Fields o(*format, "response_format");
    const std::string type = o.string("type").value_or("text");
    if (type == "json_schema") {
      const json::value* wrapped = o.any("json_schema");
      if (!wrapped)
        throw wrong_field("response_format.json_schema", "response_format.json_schema: expected an object, found none");
      Fields s(*wrapped, "response_format.json_schema");
      s.silent({"name", "strict", "description"});
      const json::value* schema = s.any("schema");
      if (!schema)
        throw wrong_field("response_format.json_schema.schema",
                          "response_format.json_schema.schema: expected a schema, found none");
      s.name_left_over(r.warnings);
      set({.kind = Kind::kSchema, .schema = *schema}, "response_format");
    } else if (type == "json_object") {
      const json::value* schema = o.any("schema");  // llama-server's
      set(schema ? AnswerForm{.kind = Kind::kSchema, .schema = *schema} : AnswerForm{.kind = Kind::kJson},
          "response_format");
    } else if (type != "text") {
      throw wrong_field("response_format.type",
                        cat("response_format.type: expected text, json_object or json_schema, found '", type, "'"));
    }
    o.name_left_over(r.warnings);
  }
  const auto structured = [&](Fields& o, const std::string& prefix) {
    const auto name = [&](const char* key) { return prefix + key; };
    if (const json::value* schema = o.any(name("json"))) {
      json::value parsed =
          schema->is_string() ? parse_json(std::string_view(schema->get_string()), o.path(name("json"))) : *schema;
      set({.kind = Kind::kSchema, .schema = std::move(parsed)}, o.path(name("json")));
    }
    if (const auto regex = o.string(name("regex")))
      set({.kind = Kind::kRegex, .grammar = *regex}, o.path(name("regex")));
    if (const auto grammar = o.string(name("grammar")))
      set({.kind = Kind::kGrammar, .grammar = *grammar}, o.path(name("grammar")));
    if (o.has(name("choice")))
      set({.kind = Kind::kChoice, .choices = o.strings(name("choice"), 4096)}, o.path(name("choice")));
  };
  structured(f, "guided_");
  if (const json::value* outputs = f.any("structured_outputs")) {
    Fields o(*outputs, "structured_outputs");
    structured(o, "");
    if (o.boolean("json_object").value_or(false)) set({.kind = Kind::kJson}, "structured_outputs.json_object");
    o.name_left_over(r.warnings);
  }
  if (const auto grammar = f.string("grammar")) set({.kind = Kind::kGrammar, .grammar = *grammar}, "grammar");
  if (const json::value* schema = f.any("json_schema")) set({.kind = Kind::kSchema, .schema = *schema}, "json_schema");
}

void read_thinking(Fields& f, GenerateRequest& r, ChatPrompt& chat) {
  ThinkingWish wish;
  const auto merge = [&](const ThinkingWish& other) {
    if (other.on) wish.on = other.on;
    if (other.budget) wish.budget = other.budget;
  };
  if (const auto effort = f.string("reasoning_effort")) merge(thinking_of_effort(*effort, "reasoning_effort"));
  if (const json::value* reasoning = f.any("reasoning")) {
    Fields o(*reasoning, "reasoning");
    if (const auto effort = o.string("effort")) merge(thinking_of_effort(*effort, "reasoning.effort"));
    if (const auto on = o.boolean("enabled")) wish.on = on;
    if (const auto n = o.integer("max_tokens", 0, kMostTokens)) wish.budget = static_cast<size_t>(*n);
    o.name_left_over(r.warnings);
  }
  if (const json::value* thinking = f.any("thinking")) {
    if (thinking->is_bool()) {
      wish.on = thinking->get_bool();
    } else {
      Fields o(*thinking, "thinking");
      const std::string type = o.string("type").value_or("enabled");
      if (type != "enabled" && type != "disabled" && type != "adaptive" && type != "auto")
        throw wrong_field("thinking.type", cat("thinking.type: expected enabled or disabled, found '", type, "'"));
      wish.on = type != "disabled";
      if (const auto n = o.integer("budget_tokens", 0, kMostTokens)) wish.budget = static_cast<size_t>(*n);
      o.name_left_over(r.warnings);
    }
  }
  for (const char* key : {"thinking_budget", "reasoning_budget", "thinking_token_budget"})
    if (const auto n = f.integer(key, -1, kMostTokens); n && *n >= 0) wish.budget = static_cast<size_t>(*n);
  if (const json::value* variables = f.any("chat_template_kwargs")) {
    Fields o(*variables, "chat_template_kwargs");
    for (const char* key : {"enable_thinking", "thinking"})
      if (const auto on = o.boolean(key)) wish.on = on;
    if (const std::vector<std::string> unknown = o.left_over(); !unknown.empty())
      throw wrong_field(unknown.front(),
                        cat("chat_template_kwargs: expected enable_thinking or thinking, found ", unknown.front()));
  }
  chat.thinking = wish.on;
  r.thinking_budget = wish.budget;
}

void read_tool_choice(Fields& f, GenerateRequest& r, ChatPrompt& chat) {
  if (const json::array* tools = f.array("tools")) chat.tools = read_tools(*tools, "tools", r.warnings);
  r.parallel_tool_calls = f.boolean("parallel_tool_calls").value_or(true);
  const json::value* choice = f.any("tool_choice");
  if (!choice) return;
  if (choice->is_string()) {
    const std::string_view word = choice->get_string();
    if (word != "auto" && word != "none" && word != "required")
      throw wrong_field("tool_choice", cat("tool_choice: expected auto, none, required or a function, found '",
                                           word.substr(0, 60), "'"));
    r.tool_use = word == "auto" ? ToolUse::kAuto : word == "none" ? ToolUse::kNone : ToolUse::kRequired;
  } else {
    Fields o(*choice, "tool_choice");
    o.silent({"type"});
    const json::value* function = o.any("function");
    std::optional<std::string> name = o.string("name");
    if (function) {
      Fields g(*function, "tool_choice.function");
      name = g.string("name");
      g.name_left_over(r.warnings);
    }
    o.name_left_over(r.warnings);
    if (!name) throw wrong_field("tool_choice", "tool_choice: expected the name of a function, found none");
    const auto named = [&](const json::value& tool) { return tool.at("function").at("name").as_string() == *name; };
    if (std::ranges::none_of(chat.tools, named))
      throw wrong_field("tool_choice", cat("tool_choice: expected one of the tools, found '", *name, "'"));
    r.tool_use = ToolUse::kRequired;
    r.tool_name = *name;
  }
  if (r.tool_use == ToolUse::kRequired && chat.tools.empty())
    throw wrong_field("tool_choice", "tool_choice: expected tools to choose from, found none");
  if (r.tool_use == ToolUse::kNone) chat.tools.clear();
}

/// DeepSeek's own refusals (spec/api.md 1.2 and 1.3).
void refuse_as_deepseek(const json::value& body, const GenerateRequest& r, const ChatPrompt& chat) {
  const bool thinks = chat.thinking.value_or(true);
  if (thinks && r.tool_use == ToolUse::kRequired)
    throw wrong_field("tool_choice", "tool_choice: expected auto or none in thinking mode");
  if (r.form.kind == AnswerForm::Kind::kSchema)
    throw wrong_field("response_format", "response_format: expected text or json_object");
  if (!thinks) return;
  for (const json::value& m : body.at("messages").as_array()) {
    const json::object& message = m.as_object();
    if (message.contains("tool_calls") && !message.contains("reasoning_content"))
      throw wrong_field("messages", "The reasoning_content in the thinking mode must be passed back to the API.");
  }
}

}  // namespace

GenerateRequest read_chat_request(const json::value& body, const OpenAiDialect& dialect) {
  Fields f(body);
  GenerateRequest r;
  ChatPrompt chat;
  r.model = f.string("model").value_or("");
  if (f.has("chat_template"))
    throw wrong_field("chat_template", "chat_template: templates come with the model, not with requests");
  const json::value* messages = f.any("messages");
  if (!messages) throw wrong_field("messages", "messages: expected a list of at least one message, found none");
  chat.messages = read_messages(*messages, "messages", r.warnings);
  const json::object& last = messages->get_array().back().get_object();
  const bool prefix = last.contains("prefix") && last.at("prefix").is_bool() && last.at("prefix").get_bool();
  chat.continue_last = prefix || f.boolean("continue_final_message").value_or(false);
  chat.add_generation_prompt = f.boolean("add_generation_prompt").value_or(true);
  read_sampling(f, r);
  read_stream(f, r);
  read_form(f, r);
  read_thinking(f, r, chat);
  read_tool_choice(f, r, chat);
  for (const char* key : {"max_tokens", "max_completion_tokens"})
    if (const auto n = f.integer(key, 1, kMostTokens)) r.max_tokens = static_cast<size_t>(*n);
  r.logprobs = f.boolean("logprobs").value_or(false);
  r.top_logprobs = static_cast<size_t>(f.integer("top_logprobs", 0, kMostTopLogprobs).value_or(0));
  if (r.top_logprobs != 0 && !r.logprobs)
    throw wrong_field("top_logprobs", "top_logprobs: expected only together with logprobs: true");
  if (dialect.strict) refuse_as_deepseek(body, r, chat);
  f.silent({"user", "user_id", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key",
            "cache_prompt"});
  f.name_left_over(r.warnings);
  r.prompt = std::move(chat);
  return r;
}

std::vector<GenerateRequest> read_completion_requests(const json::value& body) {
  Fields f(body);
  GenerateRequest r;
  r.model = f.string("model").value_or("");
  read_sampling(f, r);
  read_stream(f, r);
  read_form(f, r);
  if (const auto n = f.integer("logprobs", 0, kMostTopLogprobs))
    r.logprobs = true, r.top_logprobs = static_cast<size_t>(*n);
  r.echo = f.boolean("echo").value_or(false);
  const int64_t new_tokens = f.integer("max_tokens", 0, kMostTokens).value_or(16);
  r.only_prompt = new_tokens == 0;  // one is drawn all the same, and not told
  r.max_tokens = static_cast<size_t>(std::max<int64_t>(new_tokens, 1));
  if (r.echo && r.logprobs && r.stream)
    throw wrong_field("logprobs", "logprobs: expected without echo in a stream, or without stream");
  r.suffix = f.string("suffix");
  f.silent({"user", "user_id", "metadata"});
  if (const auto best = f.integer("best_of", 1, kMostChoices); best && *best != static_cast<int64_t>(r.n))
    throw wrong_field("best_of", "best_of: expected the same as n");
  const json::value* prompt = f.any("prompt");
  f.name_left_over(r.warnings);
  if (!prompt) throw wrong_field("prompt", "prompt: expected a string, a list of strings or token ids, found none");
  // Of many prompts the first request bears what is the same for all, and may be large.
  const bool many = prompt->is_array() && prompt->get_array().size() > 1 && !prompt->get_array().front().is_number();
  if (r.suffix && many) throw wrong_field("suffix", "suffix: expected only together with one text");
  AnswerForm form = std::exchange(r.form, {});
  std::string salt = std::exchange(r.salt, {});
  std::vector<std::string> warnings = std::exchange(r.warnings, {});
  std::vector<GenerateRequest> out;
  const auto add_ids = [&](const json::array& ids) {
    std::vector<TokenId> read;
    for (const json::value& id : ids) read.push_back(token_id(id, "prompt"));
    out.push_back(r), out.back().prompt = std::move(read);
  };
  const auto add_text = [&](const json::value& text) {
    out.push_back(r), out.back().prompt = std::string(text.get_string());
  };
  if (prompt->is_string()) {
    add_text(*prompt);
  } else if (prompt->is_array() && !prompt->get_array().empty()) {
    const json::array& list = prompt->get_array();
    if (list.front().is_number()) {
      add_ids(list);
    } else {
      if (list.size() > kMostChoices)
        throw wrong_field("prompt", cat("prompt: expected at most ", kMostChoices, ", found ", list.size()));
      for (const json::value& item : list) {
        if (item.is_string())
          add_text(item);
        else if (item.is_array())
          add_ids(item.get_array());
        else
          throw wrong_field("prompt", "prompt: expected strings or lists of token ids");
      }
    }
  } else {
    throw wrong_field("prompt", "prompt: expected a string, a list of strings or token ids");
  }
  if (r.suffix && !std::holds_alternative<std::string>(out.front().prompt))
    throw wrong_field("suffix", "suffix: expected only together with a text");
  out.front().form = std::move(form), out.front().salt = std::move(salt), out.front().warnings = std::move(warnings);
  return out;
}

}  // namespace fathom

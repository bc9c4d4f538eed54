#include "server/api/ollama_request.h"

#include <algorithm>
#include <functional>

#include "server/api/error.h"
#include "server/api/fields.h"
#include "server/api/openai_messages.h"

namespace fathom {
namespace {

void read_options(const json::value& options, GenerateRequest& r) {
  Fields f(options, "options");
  SamplingWishes& s = r.sampling;
  s.temperature = f.number("temperature", 0, 100);
  s.top_p = f.number("top_p", 0, 1);
  s.min_p = f.number("min_p", 0, 1);
  if (const auto k = f.integer("top_k", -1, INT32_MAX)) s.top_k = static_cast<int>(std::max<int64_t>(*k, 0));
  s.repetition_penalty = f.number("repeat_penalty", 0.01, 100);
  if (const auto n = f.integer("repeat_last_n", -1, INT32_MAX))
    s.penalty_window = static_cast<int>(std::max<int64_t>(*n, 0));
  s.presence_penalty = f.number("presence_penalty", -2, 2);
  s.frequency_penalty = f.number("frequency_penalty", -2, 2);
  if (const auto seed = f.integer("seed", INT64_MIN, INT64_MAX)) s.seed = static_cast<uint64_t>(*seed);
  if (const auto n = f.integer("num_predict", -2, kMostTokens); n && *n != 0)
    r.max_tokens = static_cast<size_t>(std::max<int64_t>(*n, 0));  // 0: what the context leaves
  r.stop = f.strings("stop", 16);
  for (const std::string& stop : r.stop)
    if (stop.empty()) throw wrong_field("options.stop", "options.stop: expected strings that are not empty");
  // They would change the answer.
  for (const auto& [key, neutral] : {std::pair("mirostat", 0.0), std::pair("typical_p", 1.0), std::pair("tfs_z", 1.0)})
    if (const auto x = f.number(key, -1e9, 1e9); x && *x != neutral)
      throw wrong_field(f.path(key),
                        cat(f.path(key), ": expected ", neutral, " (there is no such sampler), found ", *x));
  f.name_left_over(r.warnings);
}

/// The model's name, which each request must have.
std::string read_model(Fields& f) {
  std::string name = ollama_model(f.string("model").value_or(""));
  if (name.empty()) throw wrong_field("model", "model: expected the name of a model, found none");
  return name;
}

/// What both kinds of requests have.
void read_common(Fields& f, GenerateRequest& r) {
  r.model = read_model(f);
  r.stream = f.boolean("stream").value_or(true);
  if (const auto language = f.string("language")) r.language = scripts_of_wish(*language);
  if (f.has("template")) throw wrong_field("template", "template: templates come with the model, not with requests");
  if (const json::value* options = f.any("options")) read_options(*options, r);
  if (const json::value* format = f.any("format"); format && !(format->is_string() && format->get_string().empty())) {
    if (format->is_object())
      r.form = {.kind = AnswerForm::Kind::kSchema, .schema = *format};
    else if (*format == "json")
      r.form = {.kind = AnswerForm::Kind::kJson};
    else
      throw wrong_field("format", cat("format: expected \"json\" or a schema, found ", to_json(*format).substr(0, 60)));
  }
  r.logprobs = f.boolean("logprobs").value_or(false);
  r.top_logprobs = static_cast<size_t>(f.integer("top_logprobs", 0, kMostTopLogprobs).value_or(0));
  if (r.top_logprobs != 0 && !r.logprobs)
    throw wrong_field("top_logprobs", "top_logprobs: expected only together with logprobs: true");
}

/// keep_alive: 0, or a text such as "0s".
bool wants_unloaded(Fields& f) {
  const json::value* keep = f.any("keep_alive");
  if (!keep) return false;
  if (keep->is_string()) return keep->get_string() == "0" || keep->get_string() == "0s";
  return *keep == 0 || *keep == 0.0;
}

void read_think(Fields& f, GenerateRequest& r, ChatPrompt& chat) {
  const json::value* think = f.any("think");
  if (!think) return;
  if (think->is_bool()) {
    chat.thinking = think->get_bool();
  } else if (think->is_string()) {
    const ThinkingWish wish = thinking_of_effort(std::string(think->get_string()), "think");
    chat.thinking = wish.on;
    r.thinking_budget = wish.budget;
  } else {
    throw wrong_field("think",
                      cat("think: expected true, false, low, medium or high, found ", json::to_string(think->kind())));
  }
}

void refuse_images(Fields& f) {
  if (const json::array* images = f.array("images"); images && !images->empty())
    throw wrong_field(f.path("images"), cat(f.path("images"), ": expected none: the model reads no images"));
}

/// Ollama's messages differ from OpenAI's in the images beside the content and in the name of a tool's result.
json::value openai_message(const json::value& message, const std::string& path) {
  Fields f(message, path);
  refuse_images(f);
  json::object out = message.get_object();
  out.erase("images");
  out.erase("tool_name");
  if (const auto name = f.string("tool_name")) out["name"] = *name;
  return out;
}

/// `read` reads what only its kind of request has, and makes the prompt.
OllamaRequest read_request(const json::value& body,
                           const std::function<void(Fields&, OllamaRequest&, ChatPrompt&)>& read) {
  Fields f(body);
  OllamaRequest out;
  ChatPrompt chat;
  read_common(f, out.generate);
  read_think(f, out.generate, chat);
  read(f, out, chat);
  f.name_left_over(out.generate.warnings);
  return out;
}

}  // namespace

std::string ollama_model(std::string name) {
  constexpr std::string_view kTag = ":latest";
  if (name.ends_with(kTag)) name.resize(name.size() - kTag.size());
  return name;
}

OllamaRequest read_ollama_chat(const json::value& body) {
  return read_request(body, [](Fields& f, OllamaRequest& out, ChatPrompt& chat) {
    std::vector<std::string>& warnings = out.generate.warnings;
    const json::array* messages = f.array("messages");
    out.only_load = !messages || messages->empty();
    out.unload = wants_unloaded(f);
    if (!out.only_load) {
      json::array written;
      for (size_t i = 0; i < messages->size(); ++i)
        written.push_back(openai_message((*messages)[i], cat("messages[", i, "]")));
      chat.messages = read_messages(written, "messages", warnings);
      chat.continue_last = std::string_view(chat.messages.back().at("role").as_string()) == "assistant" &&
                           !chat.messages.back().get_object().contains("tool_calls");
    }
    if (const json::array* tools = f.array("tools")) chat.tools = read_tools(*tools, "tools", warnings);
    out.generate.prompt = std::move(chat);
  });
}

OllamaRequest read_ollama_generate(const json::value& body) {
  return read_request(body, [](Fields& f, OllamaRequest& out, ChatPrompt& chat) {
    GenerateRequest& r = out.generate;
    refuse_images(f);
    if (const json::array* context = f.array("context"); context && !context->empty())
      throw wrong_field("context", "context: expected none: earlier turns are messages of /api/chat");
    const std::string prompt = f.string("prompt").value_or(""), system = f.string("system").value_or("");
    r.suffix = f.string("suffix");
    if (r.suffix && r.suffix->empty()) r.suffix.reset();
    const bool raw = f.boolean("raw").value_or(false);
    out.only_load = prompt.empty() && !r.suffix;
    out.unload = wants_unloaded(f);
    if (raw || r.suffix) {  // a text as it is has no place for either
      for (const char* key : {"system", "think"})
        if (f.has(key)) r.warnings.emplace_back(key);
      r.thinking_budget.reset();
      r.prompt = prompt;
      return;
    }
    if (!system.empty()) chat.messages.push_back({{"role", "system"}, {"content", system}});
    chat.messages.push_back({{"role", "user"}, {"content", prompt}});
    r.prompt = std::move(chat);
  });
}

EmbeddingRequest read_ollama_embed(const json::value& body) {
  Fields f(body);
  EmbeddingRequest r;
  r.model = read_model(f);
  const json::value* input = f.any("input");
  if (!input) throw wrong_field("input", "input: expected a string or a list of strings, found none");
  r.inputs = read_embedding_inputs(*input);
  if (const auto n = f.integer("dimensions", 1, 1 << 20)) r.dimensions = static_cast<size_t>(*n);
  if (f.boolean("truncate").value_or(false)) r.warnings.emplace_back("truncate");
  if (const json::value* options = f.any("options")) Fields(*options, "options").name_left_over(r.warnings);
  f.silent({"keep_alive"});
  f.name_left_over(r.warnings);
  return r;
}

}  // namespace fathom

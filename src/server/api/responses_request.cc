#include "server/api/responses_request.h"

#include <algorithm>
#include <set>

#include "server/api/fields.h"
#include "server/api/openai_messages.h"
#include "server/api/openai_request.h"
#include "server/store/response_store.h"

namespace fathom {
namespace {

/// A chat's fields that have another name or no meaning here.
const std::set<std::string_view> kNotHere = {"messages",
                                             "n",
                                             "max_tokens",
                                             "max_completion_tokens",
                                             "response_format",
                                             "keep",
                                             "continue_final_message",
                                             "add_generation_prompt",
                                             "logprobs",
                                             "functions",
                                             "function_call"};

std::string required(Fields& f, std::string_view key) {
  std::optional<std::string> text = f.string(key);
  if (!text) throw wrong_field(f.path(key), cat(f.path(key), ": expected a string, found none"));
  return std::move(*text);
}

/// A string, or parts of text.
std::string text_of(Fields& f, std::string_view key) {
  const json::value* value = f.any(key);
  if (value && value->is_string()) return std::string(value->get_string());
  std::vector<std::string> unused;  // parts that come back from answers have annotations and log-probabilities
  if (value && value->is_array()) return text_of_parts(value->get_array(), f.path(key), unused);
  throw wrong_field(f.path(key), cat(f.path(key), ": expected a string or a list of parts, found ",
                                     value ? std::string(json::to_string(value->kind())) : "none"));
}

/// Items, one after the other, as the messages of a chat: thoughts, text and calls of one turn are one message.
class Messages {
 public:
  void add(const json::value& value, const std::string& param) {
    Fields item(value, param);
    const std::string type = item.string("type").value_or("message");
    if (type == "message") return add_message(item);
    if (type == "reasoning") return add_thoughts(item);
    if (type == "function_call") return add_call(item);
    if (type == "function_call_output") {
      thoughts_.clear();
      out_.push_back(json::object{
          {"role", "tool"}, {"tool_call_id", required(item, "call_id")}, {"content", text_of(item, "output")}});
      return;
    }
    throw wrong_field(item.path("type"), cat(item.path("type"),
                                             ": expected message, reasoning, function_call, function_call_output or "
                                             "item_reference, found '",
                                             type.substr(0, 60), "'"));
  }
  void add_system(const std::string& text) { out_.push_back(json::object{{"role", "system"}, {"content", text}}); }
  json::array take() { return std::move(out_); }

 private:
  void add_message(Fields& item) {
    const std::string role = required(item, "role");
    json::object message{{"role", role}, {"content", text_of(item, "content")}};
    if (role == "assistant" && !thoughts_.empty()) message["reasoning_content"] = thoughts_;
    thoughts_.clear();
    out_.push_back(std::move(message));
  }
  void add_thoughts(Fields& item) {
    for (const char* key : {"content", "summary"}) {
      const json::array* parts = item.array(key);
      for (size_t i = 0; parts && i < parts->size(); ++i) {
        Fields part((*parts)[i], cat(item.path(key), "[", i, "]"));
        thoughts_ += required(part, "text");
      }
      if (!thoughts_.empty()) return;  // a summary stands for thoughts that are not there
    }
  }
  void add_call(Fields& item) {
    json::object call{
        {"id", required(item, "call_id")},
        {"type", "function"},
        {"function", {{"name", required(item, "name")}, {"arguments", item.string("arguments").value_or("{}")}}}};
    const bool goes_on = thoughts_.empty() && !out_.empty() && out_.back().at("role").as_string() == "assistant";
    if (!goes_on) {
      json::object message{{"role", "assistant"}, {"content", nullptr}};
      if (!thoughts_.empty()) message["reasoning_content"] = thoughts_;
      thoughts_.clear();
      out_.push_back(std::move(message));
    }
    json::object& message = out_.back().as_object();
    if (!message.contains("tool_calls")) message["tool_calls"] = json::array();
    message["tool_calls"].as_array().push_back(std::move(call));
  }

  json::array out_;
  std::string thoughts_;  // of the turn that has begun
};

/// This request's items; references are replaced by what they name.
json::array read_input(const json::value* input, const EarlierItems& earlier) {
  if (!input) throw wrong_field("input", "input: expected a string or a list of items, found none");
  if (input->is_string())
    return json::array{json::object{{"type", "message"},
                                    {"role", "user"},
                                    {"status", "completed"},
                                    {"content", json::array{json::object{{"type", "input_text"}, {"text", *input}}}}}};
  if (!input->is_array() || input->get_array().empty())
    throw wrong_field("input", "input: expected a string or a list of at least one item");
  json::array items;
  for (size_t i = 0; i < input->get_array().size(); ++i) {
    const json::value& given = input->get_array()[i];
    Fields item(given, cat("input[", i, "]"));
    if (item.string("type").value_or("") == "item_reference") {
      items.push_back(earlier.item(required(item, "id")));
      continue;
    }
    json::object whole = given.get_object();
    if (!item.has("type")) whole["type"] = "message";
    items.push_back(std::move(whole));
  }
  return items;
}

/// {type: function, name, ...} -> {type: function, function: {name, ...}}; others are refused where chats' are.
json::array nested_tools(const json::array& tools) {
  json::array out;
  for (size_t i = 0; i < tools.size(); ++i) {
    Fields tool(tools[i], cat("tools[", i, "]"));
    json::object function = tools[i].get_object();
    function.erase("type");
    out.push_back(json::object{{"type", tool.string("type").value_or("function")}, {"function", std::move(function)}});
  }
  return out;
}

/// allowed_tools leaves only some of the tools to be called.
void read_allowed(const json::value& choice, json::object& chat) {
  Fields f(choice, "tool_choice");
  if (f.string("type").value_or("") != "allowed_tools") return;
  std::set<std::string, std::less<>> names;
  const json::array* allowed = f.array("tools");
  for (size_t i = 0; allowed && i < allowed->size(); ++i) {
    Fields one((*allowed)[i], cat("tool_choice.tools[", i, "]"));
    names.insert(required(one, "name"));
  }
  json::array kept;
  if (const json::value* tools = chat.if_contains("tools"))
    for (const json::value& tool : tools->as_array()) {
      const json::value* name = tool.at("function").as_object().if_contains("name");
      if (name && name->is_string() && names.contains(std::string_view(name->get_string()))) kept.push_back(tool);
    }
  chat["tools"] = std::move(kept);
  chat["tool_choice"] = f.string("mode").value_or("auto");
}

/// text.format in the form of response_format.
json::value read_format(Fields& text) {
  const json::value* format = text.any("format");
  if (!format) return json::object{{"type", "text"}};
  Fields f(*format, "text.format");
  const std::string type = f.string("type").value_or("text");
  if (type == "json_schema") return json::object{{"type", type}, {"json_schema", *format}};
  if (type == "text" || type == "json_object") return json::object{{"type", type}};
  throw wrong_field("text.format.type", cat("text.format.type: expected text, json_object or json_schema, found '",
                                            type.substr(0, 60), "'"));
}

/// What the chat's reading takes, under its names.
json::object chat_fields(const json::value& body, Fields& f, json::object& echo, std::vector<std::string>& warnings) {
  json::object chat;
  if (const json::array* tools = f.array("tools")) chat["tools"] = nested_tools(*tools);
  if (const json::value* choice = f.any("tool_choice")) {
    chat["tool_choice"] = *choice;
    if (choice->is_object()) read_allowed(*choice, chat);
  }
  json::value format = json::object{{"type", "text"}};
  if (const json::value* text = f.any("text")) {
    Fields t(*text, "text");
    format = read_format(t);
    for (std::string& name : t.left_over()) warnings.push_back(std::move(name));
  }
  echo["text"] = json::object{{"format", format.at("type") == "json_schema" ? format.at("json_schema") : format}};
  if (format.at("type") == "json_schema") format.at("json_schema").get_object().erase("type");  // its own place
  if (format.at("type") != "text") chat["response_format"] = std::move(format);
  if (const auto n = f.integer("max_output_tokens", 1, 1 << 30)) chat["max_tokens"] = *n;
  bool logprobs = false;
  for (const std::string& what : f.strings("include", 32)) {
    if (what == "message.output_text.logprobs")
      logprobs = true;
    else  // thoughts are there as they are
      warnings.push_back("include." + what.substr(0, 60));
  }
  if (const json::value* top = f.any("top_logprobs")) chat["top_logprobs"] = *top, logprobs = logprobs || *top != 0;
  if (logprobs) chat["logprobs"] = true;
  f.silent({"stream_options"});  // obfuscation, and nothing else
  for (const std::string& name : f.left_over()) {
    if (kNotHere.contains(name))
      warnings.push_back(name);
    else
      chat[name] = body.at(name);
  }
  return chat;
}

json::value or_null(const json::value& body, std::string_view key) {
  const json::value* value = body.get_object().if_contains(key);
  return value ? *value : json::value(nullptr);
}

}  // namespace

ResponsesRequest read_responses_request(const json::value& body, const EarlierItems& earlier, bool stateless) {
  ResponsesRequest r;
  Fields f(body);
  for (const char* key : {"conversation", "prompt"})
    if (f.any(key)) throw wrong_field(key, cat(key, ": expected none, this server keeps no such objects"));
  std::vector<std::string> warnings;
  const std::optional<bool> store = f.boolean("store");
  r.store = !stateless && store.value_or(true);
  if (stateless && store.value_or(false)) warnings.emplace_back("store");
  r.background = f.boolean("background").value_or(false);
  if (r.background && !r.store)
    throw wrong_field("background", "background: expected only together with store, under /v1");
  r.previous_id = f.string("previous_response_id").value_or("");
  if (stateless && !r.previous_id.empty())
    throw wrong_field("previous_response_id",
                      "previous_response_id: expected none here, where nothing is stored; POST /v1/responses stores");
  const std::string truncation = f.string("truncation").value_or("disabled");
  if (truncation != "auto" && truncation != "disabled")
    throw wrong_field("truncation", "truncation: expected auto or disabled");
  if (truncation == "auto") warnings.emplace_back("truncation");  // what is too long is refused, never cut

  r.input = read_input(f.any("input"), earlier);
  if (r.store && to_json(r.input).size() > ResponseStore::kMostBytes / 2)
    throw wrong_field("input", cat("input: expected at most ", ResponseStore::kMostBytes / 2,
                                   " bytes to store; with store: false it may be longer"));
  Messages messages;
  const std::optional<std::string> instructions = f.string("instructions");
  if (instructions) messages.add_system(*instructions);
  if (!r.previous_id.empty())
    for (const json::value& item : earlier.conversation(r.previous_id)) messages.add(item, "previous_response_id");
  for (size_t i = 0; i < r.input.size(); ++i) messages.add(r.input[i], cat("input[", i, "]"));

  r.echo = {{"background", r.background},
            {"instructions", instructions ? json::value(*instructions) : json::value(nullptr)},
            {"max_output_tokens", or_null(body, "max_output_tokens")},
            {"max_tool_calls", nullptr},
            {"metadata", f.metadata()},
            {"parallel_tool_calls", true},
            {"previous_response_id", r.previous_id.empty() ? json::value(nullptr) : json::value(r.previous_id)},
            {"service_tier", "default"},
            {"store", r.store},
            {"tool_choice", f.has("tool_choice") ? or_null(body, "tool_choice") : json::value("auto")},
            {"tools", f.has("tools") ? or_null(body, "tools") : json::value(json::array())},
            {"top_logprobs", f.has("top_logprobs") ? or_null(body, "top_logprobs") : json::value(0)},
            {"truncation", "disabled"},
            {"user", or_null(body, "user")}};
  json::object chat = chat_fields(body, f, r.echo, warnings);
  chat["messages"] = messages.take();
  if (json::value* reasoning = chat.if_contains("reasoning"); reasoning && reasoning->is_object()) {
    const json::object& given = reasoning->get_object();
    r.echo["reasoning"] = json::object{{"effort", given.contains("effort") ? given.at("effort") : json::value(nullptr)},
                                       {"summary", nullptr}};
  } else {
    r.echo["reasoning"] = json::object{{"effort", nullptr}, {"summary", nullptr}};
  }
  try {
    r.generate = read_chat_request(chat, {});
  } catch (const ApiError& e) {
    throw in_responses_words(e);
  }
  r.echo["parallel_tool_calls"] = r.generate.parallel_tool_calls;
  r.generate.keep = r.background;
  warnings.insert(warnings.end(), r.generate.warnings.begin(), r.generate.warnings.end());
  r.generate.warnings = std::move(warnings);
  return r;
}

ApiError in_responses_words(const ApiError& error) {
  static constexpr std::pair<std::string_view, std::string_view> kNames[] = {
      {"response_format.json_schema", "text.format"},
      {"response_format", "text.format"},
      {"messages", "input"},
      {"max_tokens", "max_output_tokens"},
      {".function", ""},
  };
  if (!error.param) return error;
  const auto renamed = [](std::string text) {
    for (const auto& [chat, here] : kNames) {
      const size_t at = text.find(chat);
      if (at == std::string::npos || (at != 0 && !chat.starts_with('.'))) continue;
      text.replace(at, chat.size(), here);
      break;
    }
    return text;
  };
  ApiError out(error.status, renamed(error.what()), error.type, renamed(*error.param), error.code);
  out.retry_after_s = error.retry_after_s;
  return out;
}

}  // namespace fathom

#include "server/api/anthropic_request.h"

#include <algorithm>

#include "server/api/anthropic_messages.h"
#include "server/api/error.h"
#include "server/api/fields.h"

namespace fathom {
namespace {

/// {name, description, input_schema} -> OpenAI's form, which ChatPrompt wants.
json::array read_anthropic_tools(const json::array& tools, std::vector<std::string>& warnings) {
  if (tools.size() > kMostTools)
    throw wrong_field("tools", cat("tools: expected at most ", kMostTools, " tools, found ", tools.size()));
  json::array out;
  for (size_t i = 0; i < tools.size(); ++i) {
    Fields tool(tools[i], cat("tools[", i, "]"));
    if (const std::string type = tool.string("type").value_or("custom"); type != "custom")
      throw wrong_field(tool.path("type"),
                        cat(tool.path("type"), ": expected custom (the server has no tools of its own), found '",
                            type.substr(0, 60), "'"));
    const std::string name = tool.string("name").value_or("");
    const auto allowed = [](unsigned char c) { return std::isalnum(c) || c == '_' || c == '-'; };
    if (name.empty() || name.size() > 128 || !std::ranges::all_of(name, allowed))
      throw wrong_field(tool.path("name"), cat(tool.path("name"),
                                               ": expected 1 to 128 letters, digits, '_' or '-', "
                                               "found '",
                                               name.substr(0, 140), "'"));
    const json::object* schema = tool.object("input_schema");
    if (!schema)
      throw wrong_field(tool.path("input_schema"), cat(tool.path("input_schema"), ": expected a schema, found none"));
    json::object function{{"name", name}};
    if (const auto description = tool.string("description")) function["description"] = *description;
    function["parameters"] = *schema;
    if (const auto strict = tool.boolean("strict")) function["strict"] = *strict;
    tool.silent({"cache_control"});
    tool.name_left_over(warnings);
    out.push_back({{"type", "function"}, {"function", std::move(function)}});
  }
  return out;
}

void read_tool_choice(Fields& f, GenerateRequest& r, ChatPrompt& chat) {
  if (const json::array* tools = f.array("tools")) chat.tools = read_anthropic_tools(*tools, r.warnings);
  const json::value* choice = f.any("tool_choice");
  if (!choice) return;
  Fields o(*choice, "tool_choice");
  const std::string type = o.string("type").value_or("");
  r.parallel_tool_calls = !o.boolean("disable_parallel_tool_use").value_or(false);
  if (type == "any" || type == "tool") {
    r.tool_use = ToolUse::kRequired;
  } else if (type == "none") {
    r.tool_use = ToolUse::kNone;
  } else if (type != "auto") {
    throw wrong_field("tool_choice.type",
                      cat("tool_choice.type: expected auto, any, tool or none, found '", type.substr(0, 60), "'"));
  }
  if (type == "tool") {
    r.tool_name = o.string("name").value_or("");
    const auto named = [&](const json::value& t) { return t.at("function").at("name").as_string() == r.tool_name; };
    if (std::ranges::none_of(chat.tools, named))
      throw wrong_field("tool_choice.name",
                        cat("tool_choice.name: expected one of the tools, found '", r.tool_name.substr(0, 140), "'"));
  }
  o.name_left_over(r.warnings);
  if (r.tool_use == ToolUse::kRequired && chat.tools.empty())
    throw wrong_field("tool_choice", "tool_choice: expected tools to choose from, found none");
  if (r.tool_use == ToolUse::kNone) chat.tools.clear();
}

void read_thinking(Fields& f, GenerateRequest& r, ChatPrompt& chat) {
  if (const json::value* thinking = f.any("thinking")) {
    Fields o(*thinking, "thinking");
    const std::string type = o.string("type").value_or("");
    if (type != "enabled" && type != "disabled" && type != "adaptive")
      throw wrong_field("thinking.type",
                        cat("thinking.type: expected enabled, disabled or adaptive, found '", type.substr(0, 60), "'"));
    chat.thinking = type != "disabled";
    if (const auto n = o.integer("budget_tokens", 0, kMostTokens); n && *chat.thinking)
      r.thinking_budget = static_cast<size_t>(*n);
    o.name_left_over(r.warnings);
    if (r.thinking_budget && r.max_tokens && *r.thinking_budget >= *r.max_tokens)
      throw wrong_field("thinking.budget_tokens",
                        cat("thinking.budget_tokens: expected less than max_tokens, which is ", *r.max_tokens,
                            " and counts the thinking too, found ", *r.thinking_budget));
  }
}

void read_schema(const json::value& format, const std::string& path, GenerateRequest& r) {
  Fields o(format, path);
  if (const std::string type = o.string("type").value_or(""); type != "json_schema")
    throw wrong_field(o.path("type"), cat(o.path("type"), ": expected json_schema, found '", type.substr(0, 60), "'"));
  const json::value* schema = o.any("schema");
  if (!schema) throw wrong_field(o.path("schema"), cat(o.path("schema"), ": expected a schema, found none"));
  r.form = {.kind = AnswerForm::Kind::kSchema, .schema = *schema};
  o.name_left_over(r.warnings);
}

/// output_config: {effort, format}, and output_format, which it replaced.
void read_output(Fields& f, GenerateRequest& r, const ChatPrompt& chat) {
  if (const json::value* config = f.any("output_config")) {
    Fields o(*config, "output_config");
    if (const auto effort = o.string("effort")) {
      const ThinkingWish wish = thinking_of_effort(*effort, o.path("effort"));
      if (chat.thinking != false && !r.thinking_budget) r.thinking_budget = wish.budget;
    }
    if (const json::value* format = o.any("format")) read_schema(*format, o.path("format"), r);
    o.name_left_over(r.warnings);
  }
  if (const json::value* format = f.any("output_format")) read_schema(*format, "output_format", r);
}

void read_sampling(Fields& f, GenerateRequest& r) {
  r.sampling.temperature = f.number("temperature", 0, 2);
  r.sampling.top_p = f.number("top_p", 0, 1);
  if (const auto k = f.integer("top_k", 0, INT32_MAX)) r.sampling.top_k = static_cast<int>(*k);
  r.stop = f.strings("stop_sequences", 16);
  for (const std::string& stop : r.stop)
    if (stop.empty()) throw wrong_field("stop_sequences", "stop_sequences: expected strings that are not empty");
  if (const auto language = f.string("language")) r.language = scripts_of_wish(*language);
  r.stream = f.boolean("stream").value_or(false);
}

json::array read_conversation(Fields& f, GenerateRequest& r, const ThinkingSignature& signature) {
  AnthropicMessages messages(signature, r.warnings);
  if (const json::value* system = f.any("system")) {
    std::string text = read_anthropic_text(*system, "system", r.warnings);
    if (!text.empty()) messages.system(std::move(text));
  }
  const json::array* list = f.array("messages");
  if (!list || list->empty()) throw wrong_field("messages", "messages: expected a list of at least one message");
  for (size_t i = 0; i < list->size(); ++i) messages.add((*list)[i], cat("messages[", i, "]"));
  return messages.take();
}

GenerateRequest read_request(const json::value& body, const ThinkingSignature& signature, bool answered) {
  Fields f(body);
  GenerateRequest r;
  ChatPrompt chat;
  r.model = f.string("model").value_or("");
  if (const auto n = f.integer("max_tokens", 1, kMostTokens)) r.max_tokens = static_cast<size_t>(*n);
  if (answered && !r.max_tokens)
    throw wrong_field("max_tokens", "max_tokens: expected an integer of at least 1, found none");
  chat.messages = read_conversation(f, r, signature);
  if (chat.messages.empty()) throw wrong_field("messages", "messages: expected a message with content, found none");
  chat.continue_last = std::string_view(chat.messages.back().at("role").as_string()) == "assistant";
  read_sampling(f, r);
  read_thinking(f, r, chat);
  read_output(f, r, chat);
  read_tool_choice(f, r, chat);
  f.silent({"metadata", "cache_control"});
  f.name_left_over(r.warnings);
  r.prompt = std::move(chat);
  return r;
}

}  // namespace

GenerateRequest read_anthropic_request(const json::value& body, const ThinkingSignature& signature) {
  return read_request(body, signature, true);
}

GenerateRequest read_anthropic_count(const json::value& body, const ThinkingSignature& signature) {
  return read_request(body, signature, false);
}

}  // namespace fathom

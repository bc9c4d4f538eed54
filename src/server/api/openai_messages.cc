#include "server/api/openai_messages.h"

#include <algorithm>
#include <cctype>

#include "server/api/error.h"
#include "server/api/fields.h"

namespace fathom {

std::string text_of_parts(const json::array& parts, const std::string& param, std::vector<std::string>& warnings) {
  std::string text;
  for (size_t i = 0; i < parts.size(); ++i) {
    Fields part(parts[i], cat(param, "[", i, "]"));
    const std::string type = part.string("type").value_or("text");
    if (type != "text" && type != "input_text" && type != "output_text")
      throw wrong_field(part.path("type"),
                        cat(part.path("type"), ": expected text (the model reads no other), found '", type, "'"));
    const std::optional<std::string> piece = part.string("text");
    if (!piece) throw wrong_field(part.path("text"), cat(part.path("text"), ": expected a string, found none"));
    if (!text.empty()) text += "\n";
    text += *piece;
    part.name_left_over(warnings);
  }
  return text;
}

namespace {

json::array read_tool_calls(const json::array& calls, const std::string& param, std::vector<std::string>& warnings) {
  json::array out;
  for (size_t i = 0; i < calls.size(); ++i) {
    Fields call(calls[i], cat(param, "[", i, "]"));
    const json::value* function = call.any("function");
    if (!function)
      throw wrong_field(call.path("function"), cat(call.path("function"), ": expected an object, found none"));
    Fields f(*function, call.path("function"));
    const std::optional<std::string> name = f.string("name");
    if (!name) throw wrong_field(f.path("name"), cat(f.path("name"), ": expected a string, found none"));
    const json::value* arguments = f.any("arguments");
    json::value text = !arguments               ? json::value("{}")
                       : arguments->is_string() ? *arguments
                                                : json::value(to_json(*arguments));
    json::object written{{"type", "function"}, {"function", {{"name", *name}, {"arguments", std::move(text)}}}};
    if (const auto id = call.string("id")) written["id"] = *id;
    call.silent({"type", "index"});
    f.name_left_over(warnings);
    call.name_left_over(warnings);
    out.push_back(std::move(written));
  }
  return out;
}

json::object read_message(const json::value& value, const std::string& param, bool last,
                          std::vector<std::string>& warnings) {
  Fields f(value, param);
  std::string role = f.string("role").value_or("");
  if (role == "developer") role = "system";
  if (role == "function") role = "tool";
  if (role != "system" && role != "user" && role != "assistant" && role != "tool")
    throw wrong_field(f.path("role"), cat(f.path("role"), ": expected system, user, assistant or tool, found '",
                                          role.substr(0, 60), "'"));
  json::object out{{"role", role}};
  const json::value* content = f.any("content");
  if (content && !content->is_string() && !content->is_array())
    throw wrong_field(f.path("content"), cat(f.path("content"), ": expected a string or a list of parts, found ",
                                             json::to_string(content->kind())));
  const json::array* calls = role == "assistant" ? f.array("tool_calls") : nullptr;
  if (!content && role != "assistant")
    throw wrong_field(f.path("content"), cat(f.path("content"), ": expected a string, found none"));
  if (!content)
    out["content"] = calls && !calls->empty() ? json::value(nullptr) : json::value("");
  else
    out["content"] = content->is_string() ? std::string(content->get_string())
                                          : text_of_parts(content->get_array(), f.path("content"), warnings);
  if (role == "assistant") {
    std::optional<std::string> thinking;
    for (const char* key : {"reasoning_content", "reasoning", "thinking"})
      if (const auto found = f.string(key); found && !thinking) thinking = found;
    if (thinking && !thinking->empty()) out["reasoning_content"] = *thinking;
    if (calls && !calls->empty()) out["tool_calls"] = read_tool_calls(*calls, f.path("tool_calls"), warnings);
  }
  if (role == "tool")
    if (const auto id = f.string("tool_call_id")) out["tool_call_id"] = *id;
  if (const auto name = f.string("name")) out["name"] = *name;
  if (last) f.silent({"prefix"});
  f.name_left_over(warnings);
  return out;
}

/// The thinking of answered turns is not shown to the model again; that of a turn whose tools have just answered is.
void drop_old_thinking(json::array& messages) {
  size_t last_user = 0;
  for (size_t i = 0; i < messages.size(); ++i)
    if (messages[i].at("role").as_string() == "user") last_user = i;
  for (size_t i = 0; i < last_user; ++i) messages[i].as_object().erase("reasoning_content");
}

}  // namespace

json::array read_messages(const json::value& messages, const std::string& param, std::vector<std::string>& warnings) {
  if (!messages.is_array() || messages.get_array().empty())
    throw wrong_field(param, cat(param, ": expected a list of at least one message"));
  json::array out;
  const json::array& list = messages.get_array();
  for (size_t i = 0; i < list.size(); ++i)
    out.push_back(read_message(list[i], cat(param, "[", i, "]"), i + 1 == list.size(), warnings));
  drop_old_thinking(out);
  return out;
}

json::array read_tools(const json::array& tools, const std::string& param, std::vector<std::string>& warnings) {
  if (tools.size() > kMostTools)
    throw wrong_field(param, cat(param, ": expected at most ", kMostTools, " tools, found ", tools.size()));
  json::array out;
  for (size_t i = 0; i < tools.size(); ++i) {
    Fields tool(tools[i], cat(param, "[", i, "]"));
    if (const std::string type = tool.string("type").value_or("function"); type != "function")
      throw wrong_field(tool.path("type"), cat(tool.path("type"), ": expected function, found '", type, "'"));
    const json::value* function = tool.any("function");
    if (!function)
      throw wrong_field(tool.path("function"), cat(tool.path("function"), ": expected an object, found none"));
    Fields f(*function, tool.path("function"));
    const std::string name = f.string("name").value_or("");
    const auto allowed = [](char c) {
      return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '-' || c == '.';
    };
    if (name.empty() || name.size() > 64 || !std::ranges::all_of(name, allowed))
      throw wrong_field(
          f.path("name"),
          cat(f.path("name"), ": expected 1 to 64 letters, digits, '_', '-' or '.', found '", name.substr(0, 80), "'"));
    json::object written{{"name", name}};
    if (const auto description = f.string("description")) written["description"] = *description;
    const json::object* parameters = f.object("parameters");
    written["parameters"] = parameters ? json::value(*parameters)
                                       : json::value(json::object{{"type", "object"}, {"properties", json::object{}}});
    if (const auto strict = f.boolean("strict")) written["strict"] = *strict;
    f.name_left_over(warnings);
    tool.name_left_over(warnings);
    out.push_back({{"type", "function"}, {"function", std::move(written)}});
  }
  return out;
}

}  // namespace fathom

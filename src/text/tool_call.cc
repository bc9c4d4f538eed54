#include "text/tool_call.h"

#include "base/error.h"
#include "base/json.h"
#include "base/trimmed.h"

namespace fathom {
namespace {

constexpr std::string_view kSpace = " \t\r\n";

std::optional<json::value> parsed_object(std::string_view text) {
  try {
    json::value value = parse_json(text, "tool call");
    if (value.is_object()) return value;
  } catch (const Error&) {  // models write all sorts of things: no call then, and the caller shows the text
  }
  return std::nullopt;
}

// The end of the JSON value that begins at `at` in valid JSON.
size_t value_end(std::string_view text, size_t at) {
  size_t depth = 0;
  bool in_string = false;
  for (; at < text.size(); ++at) {
    const char c = text[at];
    if (in_string) {
      if (c == '\\') ++at;
      if (c == '"') in_string = false;
      continue;
    }
    if (depth == 0 && (c == ',' || c == '}' || c == ']')) return at;
    if (c == '"') in_string = true;
    if (c == '{' || c == '[') ++depth;
    if (c == '}' || c == ']') --depth;
  }
  return at;
}

// The text of a member of a valid JSON object, numbers and spacing untouched; empty if it is not there.
std::string_view raw_member(std::string_view object, std::string_view key) {
  std::string_view found;
  for (size_t at = object.find('{') + 1; at < object.size();) {
    at = object.find_first_not_of(" \t\r\n,", at);
    if (at == std::string_view::npos || object[at] != '"') break;
    size_t end = at + 1;
    while (end < object.size() && object[end] != '"') end += object[end] == '\\' ? 2 : 1;
    const std::string_view name = object.substr(at + 1, end - at - 1);
    const size_t begin = object.find(':', end) + 1;
    at = value_end(object, begin);
    if (name == key) found = trimmed(object.substr(begin, at - begin));  // the last one counts, as in the parser
  }
  return found;
}

// What stands before the arguments, less the code fence.
std::string_view without_fence(std::string_view text) {
  text = trimmed(text);
  const size_t fence = text.rfind("```");
  if (fence != std::string_view::npos) return trimmed(text.substr(0, fence));
  if (text == "json") return {};
  if (text.ends_with("\njson")) text.remove_suffix(5);
  return trimmed(text);
}

}  // namespace

std::optional<ToolCall> parse_deepseek_call(std::string_view head, std::string_view body) {
  const size_t begin = body.find('{'), end = body.rfind('}');
  if (begin == std::string_view::npos || end == std::string_view::npos || end < begin) return std::nullopt;
  if (!trimmed(body.substr(end + 1), " \t\r\n`").empty()) return std::nullopt;
  const std::string_view arguments = body.substr(begin, end + 1 - begin), before = without_fence(body.substr(0, begin));
  const std::string_view name = before.empty() ? trimmed(head) : before;
  if (name.empty() || name.find_first_of(kSpace) != std::string_view::npos || !parsed_object(arguments))
    return std::nullopt;
  return ToolCall{std::string(name), std::string(arguments)};
}

std::optional<ToolCall> parse_json_call(std::string_view text) {
  text = trimmed(text);
  const std::optional<json::value> call = parsed_object(text);
  if (!call) return std::nullopt;
  const json::object& object = call->get_object();
  const json::value* name = object.if_contains("name");
  const std::string_view key = object.contains("arguments") ? "arguments" : "parameters";
  const json::value* arguments = object.if_contains(key);
  if (!name || !name->is_string() || name->get_string().empty() || !arguments) return std::nullopt;
  ToolCall out{std::string(name->get_string()), std::string(raw_member(text, key))};
  if (arguments->is_object() && !out.arguments.empty()) return out;
  if (arguments->is_object()) out.arguments = to_json(*arguments);  // the key was written with escapes
  if (arguments->is_null()) out.arguments = "{}";
  if (arguments->is_string()) out.arguments = std::string(trimmed(arguments->get_string()));
  if (!parsed_object(out.arguments)) return std::nullopt;
  return out;
}

std::optional<std::vector<ToolCall>> parse_json_calls(std::string_view text) {
  std::vector<ToolCall> out;
  for (text = trimmed(text); !text.empty();) {
    if (text[0] != '{') return std::nullopt;
    const std::optional<size_t> end = ObjectScanner().scan(text);
    const std::optional<ToolCall> call = end ? parse_json_call(text.substr(0, *end)) : std::nullopt;
    if (!call) return std::nullopt;
    out.push_back(*call);
    text.remove_prefix(*end);
    const size_t next = text.find_first_not_of(" \t\r\n,;");
    text = next == std::string_view::npos ? std::string_view() : text.substr(next);
  }
  if (out.empty()) return std::nullopt;
  return out;
}

std::optional<size_t> ObjectScanner::scan(std::string_view text) {
  for (; at_ < text.size(); ++at_) {
    const char c = text[at_];
    if (in_string_) {
      if (escaped_)
        escaped_ = false;
      else if (c == '\\')
        escaped_ = true;
      else if (c == '"')
        in_string_ = false;
      continue;
    }
    if (c == '"') in_string_ = true;
    if (c == '{' || c == '[') ++depth_;
    if ((c == '}' || c == ']') && depth_ > 0 && --depth_ == 0) return at_ + 1;
  }
  return std::nullopt;
}

}  // namespace fathom

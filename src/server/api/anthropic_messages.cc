#include "server/api/anthropic_messages.h"

#include "server/api/error.h"

namespace fathom {
namespace {

std::string required_string(Fields& f, std::string_view key) {
  std::optional<std::string> text = f.string(key);
  if (!text) throw wrong_field(f.path(key), cat(f.path(key), ": expected a string, found none"));
  return std::move(*text);
}

[[noreturn]] void wrong_type(Fields& block, const std::string& expected, const std::string& found) {
  throw wrong_field(block.path("type"),
                    cat(block.path("type"), ": expected ", expected, ", found '", found.substr(0, 60), "'"));
}

void append(json::object& message, std::string_view key, std::string_view text) {
  json::value& value = message[key];
  if (!value.is_string() || value.get_string().empty())
    value = text;
  else
    value.get_string().append("\n").append(text);
}

}  // namespace

std::string read_anthropic_text(const json::value& content, const std::string& path,
                                std::vector<std::string>& warnings) {
  if (content.is_string()) return std::string(content.get_string());
  if (!content.is_array())
    throw wrong_field(path,
                      cat(path, ": expected a string or a list of blocks, found ", json::to_string(content.kind())));
  std::string text;
  for (size_t i = 0; i < content.get_array().size(); ++i) {
    Fields block(content.get_array()[i], cat(path, "[", i, "]"));
    if (const std::string type = block.string("type").value_or(""); type != "text") wrong_type(block, "text", type);
    if (i != 0) text += "\n";
    text += required_string(block, "text");
    block.silent({"cache_control"});
    block.name_left_over(warnings);
  }
  return text;
}

void AnthropicMessages::add_text(std::string_view role, std::string text) {
  if (!out_.empty() && same_turn_ && std::string_view(out_.back().at("role").as_string()) == role)
    return append(out_.back().as_object(), "content", text);
  out_.push_back({{"role", role}, {"content", text}});
  same_turn_ = true;
}

json::object& AnthropicMessages::assistant() {
  if (out_.empty() || std::string_view(out_.back().at("role").as_string()) != "assistant") {
    out_.push_back({{"role", "assistant"}, {"content", ""}});
    same_turn_ = true;
  }
  return out_.back().as_object();
}

void AnthropicMessages::add(const json::value& message, const std::string& path) {
  Fields f(message, path);
  const std::string role = required_string(f, "role");
  if (role != "user" && role != "assistant" && role != "system")
    throw wrong_field(f.path("role"),
                      cat(f.path("role"), ": expected user or assistant, found '", role.substr(0, 60), "'"));
  const json::value* content = f.any("content");
  if (!content) throw wrong_field(f.path("content"), cat(f.path("content"), ": expected a string, found none"));
  f.name_left_over(warnings_);
  if (content->is_string() || role == "system") {
    std::string text = read_anthropic_text(*content, f.path("content"), warnings_);
    return role == "assistant" ? append(assistant(), "content", text) : add_text(role, std::move(text));
  }
  if (!content->is_array())
    throw wrong_field(f.path("content"), cat(f.path("content"), ": expected a string or a list of blocks, found ",
                                             json::to_string(content->kind())));
  for (size_t i = 0; i < content->get_array().size(); ++i) {
    Fields block(content->get_array()[i], cat(f.path("content"), "[", i, "]"));
    const std::string type = required_string(block, "type");
    role == "user" ? add_user_block(block, type) : add_assistant_block(block, type);
    block.silent({"cache_control"});
    block.name_left_over(warnings_);
  }
}

void AnthropicMessages::add_user_block(Fields& block, const std::string& type) {
  if (type == "text") return add_text("user", required_string(block, "text"));
  if (type == "tool_result") return add_tool_result(block);
  wrong_type(block, "text or tool_result (the model reads no other)", type);
}

void AnthropicMessages::add_assistant_block(Fields& block, const std::string& type) {
  if (type == "text") {
    append(assistant(), "content", required_string(block, "text"));
  } else if (type == "thinking") {
    const std::string thinking = required_string(block, "thinking");
    const std::string signed_by = block.string("signature").value_or("");
    if (thinking.empty()) return;
    if (assistant().contains("reasoning_content"))  // of a step before, in the same turn: each is signed by itself
      out_.push_back({{"role", "assistant"}, {"content", ""}});
    assistant()["reasoning_content"] = thinking;
    thinking_.push_back({out_.size() - 1, signed_by, block.path("signature")});
  } else if (type == "redacted_thinking") {
    block.silent({"data"});
    if (warnings_.size() < kMostNamed) warnings_.push_back(block.path("type"));
  } else if (type == "tool_use") {
    add_tool_use(block);
  } else {
    wrong_type(block, "text, thinking, redacted_thinking or tool_use", type);
  }
}

void AnthropicMessages::add_tool_use(Fields& block) {
  const std::string id = required_string(block, "id"), name = required_string(block, "name");
  const json::object* input = block.object("input");
  if (!input) throw wrong_field(block.path("input"), cat(block.path("input"), ": expected an object, found none"));
  json::object& message = assistant();
  json::value& calls = message["tool_calls"];
  if (!calls.is_array()) calls = json::array();
  calls.get_array().push_back(
      {{"id", id}, {"type", "function"}, {"function", {{"name", name}, {"arguments", to_json(*input)}}}});
  tool_names_[id] = name;
}

void AnthropicMessages::add_tool_result(Fields& block) {
  const std::string id = required_string(block, "tool_use_id");
  const auto name = tool_names_.find(id);
  if (name == tool_names_.end())
    throw wrong_field(block.path("tool_use_id"), cat(block.path("tool_use_id"),
                                                     ": expected the id of a tool_use block that has no result yet, "
                                                     "found '",
                                                     id.substr(0, 100), "'"));
  const json::value* content = block.any("content");
  std::string text = content ? read_anthropic_text(*content, block.path("content"), warnings_) : "";
  if (block.boolean("is_error").value_or(false)) text = "Error: " + text;  // templates have no other way to say it
  out_.push_back({{"role", "tool"}, {"content", text}, {"tool_call_id", id}, {"name", name->second}});
  same_turn_ = false;
  tool_names_.erase(name);
}

json::array AnthropicMessages::take() {
  if (!tool_names_.empty())
    throw wrong_field("messages", cat("messages: expected a tool_result for each tool_use, found none for '",
                                      tool_names_.begin()->first.substr(0, 100), "'"));
  size_t last_user = 0;
  for (size_t i = 0; i < out_.size(); ++i)
    if (std::string_view(out_[i].at("role").as_string()) == "user") last_user = i;
  for (const Thinking& t : thinking_) {
    json::object& message = out_[t.message].as_object();
    if (t.message < last_user) {
      message.erase("reasoning_content");
      continue;
    }
    const json::value* text = message.if_contains("reasoning_content");
    if (text && !signature_.holds(text->as_string(), t.signature))
      throw wrong_field(t.path, cat(t.path, ": expected the signature of this thinking as the server gave it"));
  }
  return std::move(out_);
}

}  // namespace fathom

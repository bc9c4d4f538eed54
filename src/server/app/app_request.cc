#include "server/app/app_request.h"

#include <algorithm>

#include "server/api/error.h"
#include "server/api/openai_request.h"

namespace fathom {
namespace {

/// What a setting is called in a request of the API.
constexpr std::pair<const char*, const char*> kNames[] = {
    {"model", "model"}, {"thinking", "thinking"}, {"effort", "reasoning_effort"}, {"budget", "thinking_budget"},
    {"top_p", "top_p"}, {"seed", "seed"},         {"max_tokens", "max_tokens"},   {"temperature", "temperature"},
};

/// The first `bytes` of a text, or less, for a length from a file may be any: whole characters.
std::string beginning_of(const std::string& text, size_t bytes) {
  if (bytes >= text.size()) return text;
  while (bytes > 0 && (static_cast<unsigned char>(text[bytes]) & 0xC0) == 0x80) --bytes;
  return text.substr(0, bytes);
}

}  // namespace

std::optional<std::string> read_text(Fields& f, std::string_view key, size_t most) {
  std::optional<std::string> text = f.string(key);
  if (text && text->size() > most)
    throw wrong_field(f.path(key),
                      cat(f.path(key), ": expected at most ", most, " bytes of text, found ", text->size()));
  return text;
}

void refuse_left_over(const Fields& f) {
  if (const std::vector<std::string> unknown = f.left_over(); !unknown.empty())
    throw wrong_field(unknown.front().substr(0, 200), cat(unknown.front().substr(0, 200), ": no such field"));
}

json::object read_chat_settings(const json::value& settings, const std::string& path) {
  Fields f(settings, path);
  json::object out;
  const auto put = [&out](const char* key, const auto& value) {
    if (value) out[key] = *value;
  };
  put("model", f.string("model"));
  put("thinking", f.boolean("thinking"));
  put("effort", f.string("effort"));
  put("budget", f.integer("budget", 0, 1 << 30));
  put("temperature", f.number("temperature", 0, 100));
  put("top_p", f.number("top_p", 0, 1));
  put("seed", f.integer("seed", 0, INT64_MAX));
  put("max_tokens", f.integer("max_tokens", 1, 1 << 30));
  if (const json::value* effort = out.if_contains("effort"))
    thinking_of_effort(std::string(effort->get_string()), f.path("effort"));
  refuse_left_over(f);
  return out;
}

json::array read_tags(const json::array& tags, const std::string& path) {
  if (tags.size() > kMostTags)
    throw wrong_field(path, cat(path, ": expected at most ", kMostTags, ", found ", tags.size()));
  json::array out;
  for (const json::value& tag : tags) {
    if (!tag.is_string() || tag.get_string().empty() || tag.get_string().size() > kMostTag)
      throw wrong_field(path, cat(path, ": expected texts of 1 to ", kMostTag, " bytes"));
    if (std::ranges::find(out, tag) == out.end()) out.push_back(tag);
  }
  return out;
}

json::object asked_json(const std::string& system, json::object settings, size_t thinking, size_t content) {
  return {{"system", system},
          {"settings", std::move(settings)},
          {"prefix", {{"thinking", thinking}, {"content", content}}}};
}

json::object read_asked(const json::value& asked, const std::string& path) {
  Fields f(asked, path);
  const std::string system = read_text(f, "system", kMostSystem).value_or("");
  json::object settings;
  if (const json::value* value = f.any("settings")) settings = read_chat_settings(*value, f.path("settings"));
  int64_t thinking = 0, content = 0;
  if (const json::value* value = f.any("prefix")) {
    Fields p(*value, f.path("prefix"));
    thinking = p.integer("thinking", 0, INT64_MAX).value_or(0),
    content = p.integer("content", 0, INT64_MAX).value_or(0);
  }
  return asked_json(system, std::move(settings), static_cast<size_t>(thinking), static_cast<size_t>(content));
}

GenerateRequest answer_request(const std::vector<AppMessage>& branch, const AppMessage& answer) {
  json::array messages;
  const auto add = [&](const std::string& role, const std::string& content, const std::string& thinking) {
    json::object m{{"role", role}, {"content", content}};
    if (!thinking.empty()) m["reasoning_content"] = thinking;
    messages.push_back(std::move(m));
  };
  if (const std::string system(answer.asked.at("system").as_string()); !system.empty()) add("system", system, "");
  for (const AppMessage& m : branch) add(m.role, m.content, m.thinking);
  const json::object& prefix = answer.asked.at("prefix").as_object();
  const auto length = [&](const char* key) { return prefix.at(key).to_number<size_t>(); };
  const std::string thinking = beginning_of(answer.thinking, length("thinking")),
                    content = beginning_of(answer.content, length("content"));
  json::object body;
  for (const auto& [setting, field] : kNames)
    if (const json::value* value = answer.asked.at("settings").as_object().if_contains(setting)) body[field] = *value;
  if (!thinking.empty() || !content.empty()) {
    add("assistant", content, thinking);
    messages.back().as_object()["prefix"] = true;
  }
  body["messages"] = std::move(messages);
  return read_chat_request(body, {});
}

}  // namespace fathom

#include "server/app/import_formats.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>

#include "base/error.h"
#include "server/app/import_tree.h"

namespace fathom {
namespace {

/// Null where it is absent or of another kind.
const json::object* object_at(const json::object& o, std::string_view key) {
  const json::value* v = o.if_contains(key);
  return v ? v->if_object() : nullptr;
}
const json::array* array_at(const json::object& o, std::string_view key) {
  const json::value* v = o.if_contains(key);
  return v ? v->if_array() : nullptr;
}
std::string text_at(const json::object& o, std::string_view key) {
  const json::value* v = o.if_contains(key);
  return v && v->is_string() ? std::string(v->get_string()) : std::string();
}
bool flag_at(const json::object& o, std::string_view key) {
  const json::value* v = o.if_contains(key);
  return v && v->is_bool() && v->get_bool();
}

/// Unix time in ms, from seconds, milliseconds, or "2025-04-29T11:59:11.635000+08:00"; 0: none.
int64_t time_of(const json::value* value) {
  if (!value) return 0;
  if (value->is_number()) {
    double t = value->to_number<double>();
    if (!(t > 0 && t < 1e14)) return 0;
    if (t < 1e11) t *= 1000;
    return static_cast<int64_t>(t);
  }
  if (!value->is_string()) return 0;
  const std::string text(value->get_string());
  int year = 0, month = 0, day = 0, hour = 0, minute = 0, used = 0;
  double second = 0;
  if (std::sscanf(text.c_str(), "%4d-%2d-%2dT%2d:%2d:%lf%n", &year, &month, &day, &hour, &minute, &second, &used) < 6)
    return 0;
  const std::chrono::year_month_day date{std::chrono::year(year), std::chrono::month(static_cast<unsigned>(month)),
                                         std::chrono::day(static_cast<unsigned>(day))};
  if (!date.ok() || !(second >= 0 && second < 61)) return 0;
  int zone_hour = 0, zone_minute = 0;
  char sign = '+';
  if (std::sscanf(text.c_str() + used, "%c%2d:%2d", &sign, &zone_hour, &zone_minute) < 3) zone_hour = zone_minute = 0;
  const int zone = (sign == '-' ? -1 : 1) * (zone_hour * 60 + zone_minute);
  const int64_t minutes = int64_t{hour} * 60 + minute - zone;
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::sys_days(date).time_since_epoch()).count() +
         minutes * 60'000 + std::llround(second * 1000);
}

std::string cut(std::string text, size_t most) {
  if (text.size() <= most) return text;
  while (most > 0 && (static_cast<unsigned char>(text[most]) & 0xC0) == 0x80) --most;
  text.resize(most);
  return text;
}

// ---- ChatGPT

/// The texts among `parts`; what is no text (a picture, a file) is named.
std::string chatgpt_parts(const json::object& content) {
  std::string out;
  const auto add = [&out](std::string_view text) {
    if (text.empty()) return;
    out += out.empty() ? "" : "\n\n";
    out += text;
  };
  if (const json::array* parts = array_at(content, "parts"))
    for (const json::value& part : *parts) {
      if (part.is_string()) {
        add(std::string_view(part.get_string()));
      } else if (const json::object* o = part.if_object()) {
        const std::string text = text_at(*o, "text");
        add(text.empty() ? cat("[", text_at(*o, "content_type"), "]") : text);
      }
    }
  return out;
}

/// A node's message: nullopt for what a person does not see. Thoughts are put into `thinking`.
std::optional<AppMessage> chatgpt_message(const json::object& message, std::string& thinking) {
  const json::object* content = object_at(message, "content");
  const json::object* author = object_at(message, "author");
  if (!content || !author) return std::nullopt;
  const std::string type = text_at(*content, "content_type");
  if (type == "thoughts") {
    if (const json::array* thoughts = array_at(*content, "thoughts"))
      for (const json::value& thought : *thoughts)
        if (const json::object* t = thought.if_object())
          thinking += cat(thinking.empty() ? "" : "\n\n", text_at(*t, "summary"), "\n", text_at(*t, "content"));
    return std::nullopt;
  }
  AppMessage out;
  out.role = text_at(*author, "role");
  if (out.role != "user" && out.role != "assistant") return std::nullopt;
  const json::object* metadata = object_at(message, "metadata");
  if (metadata && flag_at(*metadata, "is_visually_hidden_from_conversation")) return std::nullopt;
  if (const std::string to = text_at(message, "recipient"); !to.empty() && to != "all") return std::nullopt;
  if (type == "code")
    out.content = cat("```\n", text_at(*content, "text"), "\n```");
  else if (type == "text" || type == "multimodal_text")
    out.content = chatgpt_parts(*content);
  if (out.content.empty()) return std::nullopt;
  if (metadata && out.role == "assistant") out.model = cut(text_at(*metadata, "model_slug"), kMostTitle);
  out.created = time_of(message.if_contains("create_time"));
  return out;
}

// ---- DeepSeek

std::optional<AppMessage> deepseek_message(const json::object& message) {
  AppMessage out;
  out.role = "assistant";
  const auto add = [](std::string& to, const std::string& text) {
    to += to.empty() || text.empty() ? "" : "\n\n";
    to += text;
  };
  if (const json::array* fragments = array_at(message, "fragments")) {
    for (const json::value& value : *fragments) {
      const json::object* fragment = value.if_object();
      if (!fragment) continue;
      const std::string type = text_at(*fragment, "type"), text = text_at(*fragment, "content");
      if (type == "REQUEST") out.role = "user", add(out.content, text);
      if (type == "RESPONSE") add(out.content, text);
      if (type == "THINK") add(out.thinking, text);
    }
  } else {  // as older exports have it
    const std::string role = text_at(message, "role");
    if (role == "USER" || role == "user") out.role = "user";
    out.content = text_at(message, "content");
    out.thinking = text_at(message, "reasoning_content");
    if (out.thinking.empty()) out.thinking = text_at(message, "thinking_content");
  }
  if (out.role == "user") out.thinking.clear();
  if (out.content.empty() && out.thinking.empty()) return std::nullopt;
  if (out.role == "assistant") out.model = cut(text_at(message, "model"), kMostTitle);
  out.created = time_of(message.if_contains("inserted_at"));
  return out;
}

/// ChatGPT's and DeepSeek's: {title, mapping}.
ImportedChat read_mapping(const json::object& conversation, const json::object& mapping) {
  ImportedChat out;
  out.chat.title = cut(text_at(conversation, "title"), kMostTitle);
  for (const char* key : {"create_time", "inserted_at"})
    out.chat.created = std::max(out.chat.created, time_of(conversation.if_contains(key)));
  for (const char* key : {"update_time", "updated_at"})
    out.chat.updated = std::max(out.chat.updated, time_of(conversation.if_contains(key)));
  out.chat.archived = flag_at(conversation, "is_archived");
  ImportTree tree;
  for (const auto& [id, value] : mapping) {
    const json::object* node = value.if_object();
    if (!node) continue;
    std::string thinking;
    std::optional<AppMessage> message;
    if (const json::object* m = object_at(*node, "message"))
      message = m->contains("author") ? chatgpt_message(*m, thinking) : deepseek_message(*m);
    tree.add(std::string(id), text_at(*node, "parent"), std::move(message), std::move(thinking));
  }
  out.chat.leaf = text_at(conversation, "current_node");
  out.messages = tree.take(out.chat.leaf);
  return out;
}

// ---- Open WebUI

/// Thinking stands in the text: <details type="reasoning" ...><summary>...</summary> then quoted lines </details>.
void split_reasoning(AppMessage& message) {
  constexpr std::string_view kOpen = "<details type=\"reasoning\"", kClose = "</details>", kSummary = "</summary>";
  std::string text;
  std::string_view rest = message.content;
  for (size_t open = rest.find(kOpen); open != std::string_view::npos; open = rest.find(kOpen)) {
    const size_t close = rest.find(kClose, open);
    if (close == std::string_view::npos) break;
    text += rest.substr(0, open);
    std::string_view inside = rest.substr(open, close - open);
    const size_t summary = inside.find(kSummary);
    inside.remove_prefix(summary == std::string_view::npos ? std::min(inside.find('>'), inside.size() - 1) + 1
                                                           : summary + kSummary.size());
    std::string thought;
    while (!inside.empty()) {
      std::string_view line = inside.substr(0, inside.find('\n'));
      inside.remove_prefix(std::min(line.size() + 1, inside.size()));
      if (line.starts_with("> "))
        line.remove_prefix(2);
      else if (line == ">")
        line = "";
      thought += cat(line, "\n");
    }
    const size_t first = thought.find_first_not_of('\n');
    if (first != std::string::npos)
      message.thinking +=
          (message.thinking.empty() ? "" : "\n\n") + thought.substr(first, thought.find_last_not_of('\n') + 1 - first);
    rest.remove_prefix(close + kClose.size());
    rest.remove_prefix(std::min(rest.find_first_not_of('\n'), rest.size()));
  }
  text += rest;
  message.content = std::move(text);
}

ImportedChat read_open_webui(const json::object& entry, const json::object& chat, const json::object& history) {
  ImportedChat out;
  out.chat.title = text_at(chat, "title");
  if (out.chat.title.empty()) out.chat.title = text_at(entry, "title");
  out.chat.title = cut(std::move(out.chat.title), kMostTitle);
  out.chat.created = time_of(entry.if_contains("created_at"));
  if (out.chat.created == 0) out.chat.created = time_of(chat.if_contains("timestamp"));
  out.chat.updated = time_of(entry.if_contains("updated_at"));
  out.chat.pinned = flag_at(entry, "pinned"), out.chat.archived = flag_at(entry, "archived");
  out.chat.system = cut(text_at(chat, "system"), kMostSystem);
  if (const json::object* meta = object_at(entry, "meta"))
    if (const json::array* tags = array_at(*meta, "tags"))
      for (const json::value& tag : *tags)
        if (tag.is_string() && !tag.get_string().empty() && tag.get_string().size() <= kMostTag &&
            out.chat.tags.size() < kMostTags)
          out.chat.tags.push_back(tag);
  ImportTree tree;
  if (const json::object* messages = object_at(history, "messages"))
    for (const auto& [id, value] : *messages) {
      const json::object* m = value.if_object();
      if (!m) continue;
      std::optional<AppMessage> message(std::in_place);
      message->role = text_at(*m, "role");
      message->content = text_at(*m, "content");
      message->created = time_of(m->if_contains("timestamp"));
      if (message->role == "assistant") {
        message->model = cut(text_at(*m, "model"), kMostTitle);
        split_reasoning(*message);
      }
      if (message->role != "user" && message->role != "assistant" && message->role != "system") message.reset();
      tree.add(std::string(id), text_at(*m, "parentId"), std::move(message));
    }
  out.chat.leaf = text_at(history, "currentId");
  out.messages = tree.take(out.chat.leaf);
  return out;
}

}  // namespace

std::optional<ImportedChat> read_foreign_chat(const json::value& conversation) {
  const json::object* o = conversation.if_object();
  if (!o) return std::nullopt;
  if (const json::object* mapping = object_at(*o, "mapping")) return read_mapping(*o, *mapping);
  const json::object* chat = object_at(*o, "chat");
  if (!chat) chat = o;
  if (const json::object* history = object_at(*chat, "history")) return read_open_webui(*o, *chat, *history);
  return std::nullopt;
}

}  // namespace fathom

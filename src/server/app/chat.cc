#include "server/app/chat.h"

#include <chrono>

#include "text/utf8.h"

namespace fathom {
namespace {

constexpr size_t kTitleCharacters = 60;

json::value or_null(const std::string& text) { return text.empty() ? json::value(nullptr) : json::value(text); }

}  // namespace

json::object chat_json(const AppChat& chat, bool running) {
  return {{"id", chat.id},           {"title", chat.title},       {"folder", or_null(chat.folder)},
          {"pinned", chat.pinned},   {"archived", chat.archived}, {"tags", chat.tags},
          {"system", chat.system},   {"settings", chat.settings}, {"leaf", or_null(chat.leaf)},
          {"created", chat.created}, {"updated", chat.updated},   {"running", running}};
}

json::object message_json(const AppMessage& message) {
  json::object out{{"id", message.id},         {"chat", message.chat},       {"parent", or_null(message.parent)},
                   {"role", message.role},     {"content", message.content}, {"thinking", message.thinking},
                   {"status", message.status}, {"created", message.created}};
  if (!message.error.empty()) out["error"] = message.error;
  if (!message.model.empty()) out["model"] = message.model;
  if (!message.info.empty()) out["info"] = message.info;
  return out;
}

std::string title_of(std::string_view text) {
  std::string title;  // words with one space between them
  size_t characters = 0, last_word = 0;
  for (size_t at = 0; at < text.size();) {
    const auto byte = static_cast<unsigned char>(text[at]);
    if (byte <= ' ' || byte == 0x7f) {
      if (!title.empty() && title.back() != ' ') last_word = title.size(), title += ' ', ++characters;
      ++at;
      continue;
    }
    if (characters >= kTitleCharacters) {  // more of a word is to come: it goes, unless it is the only one
      if (title.back() != ' ' && last_word != 0) title.resize(last_word);
      break;
    }
    const size_t size = next_utf8_unit(text.substr(at)).size;
    title += text.substr(at, size), ++characters, at += size;
  }
  if (!title.empty() && title.back() == ' ') title.pop_back();
  return title;
}

int64_t unix_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace fathom

#include "server/app/chat_export.h"

#include <algorithm>
#include <array>
#include <unordered_map>

#include "base/error.h"
#include "text/utf8.h"

namespace fathom {
namespace {

const char* speaker(const AppMessage& message) {
  return message.role == "user" ? "You" : message.role == "system" ? "System" : "Assistant";
}

std::string title_or(const AppChat& chat) { return chat.title.empty() ? "Chat" : chat.title; }

/// Every line as part of a quotation.
std::string quoted(const std::string& text) {
  std::string out = "> ";
  for (const char c : text) {
    out += c;
    if (c == '\n') out += "> ";
  }
  return out;
}

std::string escaped(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char c : text) switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      case '\0': out += "\xEF\xBF\xBD"; break;
      default: out += c;
    }
  return out;
}

constexpr std::string_view kPage = R"html(<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<style>
  :root { color-scheme: light dark; }
  body { max-width: 46rem; margin: 2rem auto; padding: 0 1rem; font: 1rem/1.6 system-ui, sans-serif; }
  h2 { font-size: .85rem; margin: 2rem 0 .3rem; opacity: .65; }
  .text { white-space: pre-wrap; overflow-wrap: anywhere; }
  details { border-left: .2rem solid #8886; padding-left: 1rem; margin-bottom: 1rem; opacity: .8; }
</style>
)html";

}  // namespace

std::string chat_markdown(const AppChat& chat, const std::vector<AppMessage>& branch, bool thinking) {
  std::string title = title_or(chat);
  std::replace(title.begin(), title.end(), '\n', ' ');
  std::string out = cat("# ", title, "\n");
  if (!chat.system.empty()) out += cat("\n## System\n\n", chat.system, "\n");
  for (const AppMessage& m : branch) {
    out += cat("\n## ", speaker(m), "\n\n");
    if (thinking && !m.thinking.empty()) out += cat(quoted(m.thinking), "\n\n");
    out += m.content + "\n";
  }
  return out;
}

std::string chat_html(const AppChat& chat, const std::vector<AppMessage>& branch, bool thinking) {
  const std::string title = escaped(title_or(chat));
  std::string out =
      cat("<!doctype html>\n<meta charset=\"utf-8\">\n<title>", title, "</title>\n", kPage, "<h1>", title, "</h1>\n");
  const auto text = [](const std::string& t) { return cat("<div class=\"text\">", escaped(t), "</div>\n"); };
  if (!chat.system.empty()) out += "<h2>System</h2>\n" + text(chat.system);
  for (const AppMessage& m : branch) {
    out += cat("<h2>", speaker(m), "</h2>\n");
    if (thinking && !m.thinking.empty())
      out += cat("<details><summary>Thinking</summary>\n", text(m.thinking), "</details>\n");
    out += text(m.content);
  }
  return out;
}

json::object chat_export_json(const AppChat& chat, const std::vector<AppMessage>& messages, const std::string& folder,
                              bool thinking) {
  json::object out = chat_json(chat, false);
  out.erase("running");
  out["folder"] = folder.empty() ? json::value(nullptr) : json::value(folder);
  json::array list;
  for (const AppMessage& m : messages) {
    json::object entry = message_json(m);
    if (!thinking) entry["thinking"] = "";
    if (!m.asked.empty()) entry["asked"] = m.asked;
    list.push_back(std::move(entry));
  }
  out["messages"] = std::move(list);
  return out;
}

std::string attachment_header(const std::string& title, const std::string& extension) {
  std::string plain, encoded;
  constexpr std::string_view kHex = "0123456789ABCDEF";
  for (const char c : utf8_lossy(title.substr(0, 100))) {
    const auto byte = static_cast<unsigned char>(c);
    const bool letter = (byte < 0x80 && std::isalnum(byte) != 0) || c == '-' || c == '_';
    plain += letter ? c : '_';
    if (letter || c == '.')
      encoded += c;
    else if (byte < 0x20 || c == '/' || c == '\\' || byte == 0x7f)
      encoded += '_';
    else
      encoded += {'%', kHex[byte >> 4], kHex[byte & 15]};
  }
  if (plain.empty()) plain = encoded = "chat";
  return cat("attachment; filename=\"", plain, ".", extension, "\"; filename*=UTF-8''", encoded, ".", extension);
}

std::vector<AppMessage> branch_to(const std::vector<AppMessage>& messages, const std::string& leaf) {
  std::unordered_map<std::string_view, const AppMessage*> by_id;
  for (const AppMessage& m : messages) by_id[m.id] = &m;
  std::vector<AppMessage> out;
  for (auto at = by_id.find(leaf); at != by_id.end(); at = by_id.find(at->second->parent)) out.push_back(*at->second);
  std::reverse(out.begin(), out.end());
  return out;
}

}  // namespace fathom

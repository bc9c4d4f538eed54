// The app's routes for chats that leave and come: exports, imports.
#include <algorithm>
#include <chrono>
#include <map>
#include <set>
#include <thread>
#include <utility>

#include "base/log.h"
#include "server/api/error.h"
#include "server/api/reply.h"
#include "server/app/app_api.h"
#include "server/app/chat_export.h"
#include "server/app/chat_import.h"

namespace fathom {
namespace {

json::object export_file(json::array chats) {
  return {{"format", kExportFormat}, {"version", kExportVersion}, {"chats", std::move(chats)}};
}

std::map<std::string, std::string> names_of(const json::array& folders) {
  std::map<std::string, std::string> names;
  for (const json::value& folder : folders)
    names[std::string(folder.at("id").as_string())] = std::string(folder.at("name").as_string());
  return names;
}

/// Throws ApiError where the folders that the chats name would be too many, or have names that are too long.
void check_folders(const std::vector<ImportedChat>& chats, const json::array& folders) {
  std::set<std::string> names;
  for (const auto& [id, name] : names_of(folders)) names.insert(name);
  for (const ImportedChat& chat : chats) {
    if (chat.chat.folder.size() > AppShelf::kMostName)
      throw ApiError(400, cat("the file: expected names of folders of at most ", AppShelf::kMostName, " bytes, found ",
                              chat.chat.folder.size()));
    if (!chat.chat.folder.empty()) names.insert(chat.chat.folder);
    if (names.size() > std::max(AppShelf::kMostFolders, folders.size()))
      throw ApiError(400, cat("the file: expected at most ", AppShelf::kMostFolders, " folders in all, found more"));
  }
}

HttpHeaders file_headers(const std::string& title, const std::string& extension) {
  return {{"Content-Disposition", attachment_header(title, extension)},
          {"Cache-Control", "no-store"},
          {"X-Content-Type-Options", "nosniff"}};
}

}  // namespace

void AppApi::send_file(Call& call, std::string_view type, std::string body, const std::string& title,
                       const std::string& extension) {
  call.responder->send(200, type, std::move(body), file_headers(title, extension));
}

AppApi::Answer AppApi::export_chat(Call& call) {
  const AppChat chat = store_.chat(call.ids[0]);
  std::vector<AppMessage> messages = store_.messages(chat.id);
  for (AppMessage& m : messages) m = answers_.current(std::move(m));
  const std::string format = call.query("format").value_or("md");
  const bool thinking = call.number("thinking", 1, 0, 1) == 1;
  const std::string title = chat.title.empty() ? "chat" : chat.title;
  if (format == "json") {
    json::object entry = chat_export_json(chat, messages, names_of(shelf_.folders())[chat.folder], thinking);
    send_file(call, "application/json", to_json(export_file({std::move(entry)})), title, "json");
  } else if (format == "md") {
    send_file(call, "text/markdown; charset=utf-8", chat_markdown(chat, branch_to(messages, chat.leaf), thinking),
              title, "md");
  } else if (format == "html") {
    send_file(call, "text/html; charset=utf-8", chat_html(chat, branch_to(messages, chat.leaf), thinking), title,
              "html");
  } else {
    throw wrong_field("format", cat("format: expected md, json or html, found '", format.substr(0, 40), "'"));
  }
  return std::nullopt;
}

AppApi::Answer AppApi::export_all(Call& call) {
  if (const std::string format = call.query("format").value_or("json"); format != "json")
    throw wrong_field("format", cat("format: expected json, found '", format.substr(0, 40), "'"));
  exports_.post([this, to = call.responder] {
    try {
      stream_chats(*to);
    } catch (const std::exception& e) {
      log(LogLevel::kError, cat("an export was cut off: ", e.what()));
      if (!to->begun()) send_error(*to, api_error(std::current_exception()));
    }
  });
  return std::nullopt;
}

/// One chat after the other, so that memory holds a few of them only, however many there are.
void AppApi::stream_chats(Responder& to) {
  constexpr size_t kMostQueued = size_t{1} << 20;
  constexpr std::chrono::milliseconds kPause{5};
  std::map<std::string, std::string> folders = names_of(shelf_.folders());
  const std::vector<std::string> ids = store_.ids();
  to.begin(200, "application/json", file_headers("chats", "json"));
  std::string piece = to_json(export_file({}));
  piece.resize(piece.size() - 2);  // "]}", which come last
  bool first = true;
  for (const std::string& id : ids) {
    try {
      const AppChat chat = store_.chat(id);
      piece += first ? "" : ",";
      piece += to_json(chat_export_json(chat, store_.messages(id), folders[chat.folder], /*thinking=*/true));
      first = false;
    } catch (const ApiError& e) {
      if (e.status != 404) throw;  // else it was deleted meanwhile
    }
    if (piece.size() > kMostQueued) to.write(std::exchange(piece, {}));
    while (to.queued_bytes() > kMostQueued && !to.closed() && !ends_) std::this_thread::sleep_for(kPause);
    if (to.closed() || ends_) return;
  }
  to.write(piece + "]}");
  to.end();
}

AppApi::Answer AppApi::import_chats(Call& call) {
  std::vector<ImportedChat> chats = read_chats(call.body());
  check_folders(chats, shelf_.folders());
  const size_t count = chats.size();
  size_t left_out = 0;
  for (ImportedChat& chat : chats) {
    left_out += chat.left_out;
    store_.insert(std::move(chat.chat), std::move(chat.messages));
  }
  feed_.tell("folders", "");
  feed_.tell("chat", "");
  return json::object{{"chats", count}, {"left_out", left_out}};
}

}  // namespace fathom

#include "server/app/chat_import.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "server/api/error.h"
#include "server/api/fields.h"
#include "server/app/answer_info.h"
#include "server/app/app_request.h"
#include "server/app/chat_export.h"
#include "server/app/import_formats.h"
#include "server/app/import_tree.h"

namespace fathom {
namespace {

constexpr size_t kMostChats = 100'000;

/// A chat of our own export. Its fields are checked as the page's are.
ImportedChat read_own(const json::value& value, const std::string& path) {
  Fields f(value, path);
  ImportedChat out;
  AppChat& c = out.chat;
  c.title = read_text(f, "title", kMostTitle).value_or("");
  c.folder = read_text(f, "folder", kMostTitle).value_or("");
  c.system = read_text(f, "system", kMostSystem).value_or("");
  c.leaf = read_text(f, "leaf", kMostId).value_or("");
  c.pinned = f.boolean("pinned").value_or(false);
  c.archived = f.boolean("archived").value_or(false);
  if (const json::array* tags = f.array("tags")) c.tags = read_tags(*tags, f.path("tags"));
  if (const json::value* settings = f.any("settings")) c.settings = read_chat_settings(*settings, f.path("settings"));
  constexpr int64_t kLatest = int64_t{1} << 53;
  c.created = f.integer("created", 0, kLatest).value_or(0);
  c.updated = f.integer("updated", 0, kLatest).value_or(0);
  ImportTree tree;
  const json::array* messages = f.array("messages");
  for (size_t i = 0; messages && i < messages->size(); ++i) {
    Fields m((*messages)[i], cat(path, ".messages[", i, "]"));
    AppMessage message;
    message.role = m.string("role").value_or("");
    if (message.role != "user" && message.role != "assistant" && message.role != "system")
      throw wrong_field(m.path("role"), cat(m.path("role"), ": expected user, assistant or system, found '",
                                            message.role.substr(0, 60), "'"));
    message.content = m.string("content").value_or("");
    message.thinking = m.string("thinking").value_or("");
    message.model = read_text(m, "model", kMostTitle).value_or("");
    message.error = read_text(m, "error", kMostTitle).value_or("");
    message.status = m.string("status").value_or("done");
    if (message.status == "running") message.status = "stopped";
    if (message.status != "done" && message.status != "stopped" && message.status != "failed")
      throw wrong_field(m.path("status"), cat(m.path("status"), ": expected done, stopped or failed"));
    message.created = m.integer("created", 0, kLatest).value_or(0);
    if (const json::value* info = m.any("info")) {
      if (info->is_object())
        message.info = checked_info(info->get_object(), out.left_out);
      else
        ++out.left_out;
    }
    if (const json::value* asked = m.any("asked")) message.asked = read_asked(*asked, m.path("asked"));
    tree.add(read_text(m, "id", kMostId).value_or(""), read_text(m, "parent", kMostId).value_or(""),
             std::move(message));
  }
  out.messages = tree.take(c.leaf);
  return out;
}

void check_count(size_t chats) {
  if (chats > kMostChats)
    throw ApiError(400, cat("the file: expected at most ", kMostChats, " conversations, found ", chats));
}

}  // namespace

std::vector<ImportedChat> read_chats(const json::value& file) {
  std::vector<ImportedChat> out;
  const json::object* object = file.if_object();
  if (object && object->contains("format")) {
    Fields f(file);
    const std::string format = f.string("format").value_or("");
    const int64_t version = f.integer("version", 1, INT32_MAX).value_or(1);
    if (format != kExportFormat || version > kExportVersion)
      throw wrong_field("format", cat("format: expected ", kExportFormat, " of version ", kExportVersion, ", found '",
                                      format.substr(0, 60), "' of version ", version));
    const json::array* chats = f.array("chats");
    check_count(chats ? chats->size() : 0);
    for (size_t i = 0; chats && i < chats->size(); ++i) out.push_back(read_own((*chats)[i], cat("chats[", i, "]")));
    return out;
  }
  // One conversation or a list of them.
  const json::array one = object ? json::array{file} : json::array();
  const json::array* list = object ? &one : file.if_array();
  if (!list) throw ApiError(400, "the file: expected a list of conversations, found none");
  check_count(list->size());
  for (const json::value& conversation : *list)
    if (std::optional<ImportedChat> chat = read_foreign_chat(conversation)) out.push_back(std::move(*chat));
  if (out.empty() && !list->empty())
    throw ApiError(
        400,
        "the file: expected an export of Fathom, ChatGPT (conversations.json), DeepSeek or Open WebUI, found "
        "no conversation in one of their forms");
  return out;
}

}  // namespace fathom

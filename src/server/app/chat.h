// The app's conversations as values, and as the JSON that the page sees (docs/app-api.md). A chat is a tree of
// messages: an edit or another answer is a new sibling, nothing is written over. Pure functions; any thread.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "base/json.h"

namespace fathom {

/// Bounds on what is kept, in bytes.
inline constexpr size_t kMostId = 200, kMostTitle = 2000, kMostTags = 64, kMostTag = 200, kMostSystem = size_t{1} << 20,
                        kMostContent = size_t{8} << 20;

struct AppChat {
  std::string id;
  std::string title;   ///< empty: the first message of the user gives one
  std::string folder;  ///< id; empty: none
  bool pinned = false, archived = false;
  json::array tags;       ///< strings
  std::string system;     ///< the system message
  json::object settings;  ///< as app_request.h reads them
  std::string leaf;       ///< the message up to which the page shows the tree; empty: there is none
  int64_t created = 0, updated = 0;
};

struct AppMessage {
  std::string id, chat;
  std::string parent;  ///< empty: the first of its branch
  std::string role;    ///< "user", "assistant", "system"
  std::string content, thinking;
  std::string status = "done";  ///< "running", "done", "stopped", "failed"
  std::string error;            ///< why it failed
  std::string model;            ///< of answers: as it was asked for
  json::object info;            ///< of answers that are over: what they took
  json::object asked;  ///< of answers: {system, settings, prefix: {thinking, content}}, the prefix as lengths in bytes
  std::string tokens;  ///< of an answer that has just ended: as answer_tokens.h packs them. The store gives them apart
  int64_t created = 0;
};

/// CHAT of the page's API. `running`: one of its answers is being made.
json::object chat_json(const AppChat& chat, bool running);
/// MESSAGE of the page's API.
json::object message_json(const AppMessage& message);

/// The beginning of a text for a list of chats: one line of at most 60 characters that ends with a word.
std::string title_of(std::string_view text);

/// Unix time, ms.
int64_t unix_ms();

}  // namespace fathom

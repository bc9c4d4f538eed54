// Chats from files of other programs, and from our own exports: the JSON is recognised by its shape, trees stay trees,
// thinking stays thinking. Files are hostile: what is no message is left out, parents that are missing or run in a
// circle begin a new branch. Pure functions; any thread.
//   Fathom:      {format: "fathom.chats", version, chats: [...]} (chat_export.h)
//   ChatGPT:     [{title, create_time, mapping: {id: {parent, message: {author, content}}}, current_node}]
//   DeepSeek:    [{title, inserted_at, mapping: {id: {parent, message: {fragments: [{type, content}]}}}}]
//   Open WebUI:  [{title, chat: {history: {messages: {id: {parentId, role, content}}, currentId}}}]
#pragma once
#include <vector>

#include "server/app/chat.h"

namespace fathom {

/// A chat to be stored. Its messages have ids and parents as in the file; parents come before their children. `folder`
/// is a name.
struct ImportedChat {
  AppChat chat;
  std::vector<AppMessage> messages;
  size_t left_out = 0;  ///< numbers and names about answers that were not of their types
};

/// Throws ApiError where the file is none of these, or of a newer version.
std::vector<ImportedChat> read_chats(const json::value& file);

}  // namespace fathom

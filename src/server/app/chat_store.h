// Chats and their messages in the server's database: what app_api.cc asks for and app_answers.cc writes. Deleted chats
// stay for a while, so that a person can have them back. Thread-safe.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "server/app/chat.h"
#include "server/store/database.h"

namespace fathom {

/// Which chats a list has.
struct ChatQuery {
  bool archived = false;
  std::optional<std::string> folder = {};  ///< "": those in none
  size_t limit = 200;
  std::optional<int64_t> before = {};  ///< the next page: those that changed before; then without the pinned ones
};
struct ChatPage {
  std::vector<AppChat> chats;   ///< the pinned ones, then the others, of each the latest first
  std::optional<int64_t> next;  ///< `before` of the next page; nullopt: this was the last
};

/// What is to be changed of a chat.
struct ChatChange {
  std::optional<std::string> title, folder, system, leaf;
  std::optional<bool> pinned, archived;
  std::optional<json::array> tags;
  std::optional<json::object> settings;
};

class ChatStore {
 public:
  /// Makes or upgrades the tables. Answers that a server left behind when it died are stopped.
  explicit ChatStore(std::shared_ptr<Database> database);

  // Each throws ApiError 404 for an id that is unknown or deleted, 400 for one that does not belong there.
  ChatPage chats(const ChatQuery& query);
  AppChat chat(const std::string& id);
  size_t count();
  /// Gives it id and times.
  AppChat create(AppChat chat);
  /// A chat from elsewhere, with its messages, parents before children; ids become new ones, times stay, but for
  /// those still to come and those that another chat has. `folder` is a name: it is made if there is none of it.
  AppChat insert(AppChat chat, std::vector<AppMessage> messages);
  /// Of all chats, the oldest first.
  std::vector<std::string> ids();
  AppChat change(const std::string& id, const ChatChange& change);
  /// It can be restored.
  void remove(const std::string& id);
  AppChat restore(const std::string& id);
  /// For good, deleted before or not.
  void erase(const std::string& id);
  /// For good: all that were deleted before that time (Unix time, ms). Returns how many.
  size_t purge(int64_t deleted_before);

  /// The whole tree, in the order in which the messages were made.
  std::vector<AppMessage> messages(const std::string& chat);
  AppMessage message(const std::string& id);
  /// From the first message of the branch to this one.
  std::vector<AppMessage> branch(const std::string& id);
  /// Gives it id and time; it becomes its chat's leaf, and gives it a title if it has none. The parent must be of the
  /// same chat.
  AppMessage add(AppMessage message);
  /// What an answer has so far. A message that is gone, or over, stays as it is.
  void keep_progress(const std::string& id, const std::string& content, const std::string& thinking);
  /// The end of an answer, with its tokens, which is returned; nullopt: the message is gone. (Another server over the
  /// same store may have taken it for one that was left behind.)
  std::optional<AppMessage> finish(const AppMessage& answer);
  /// Of an answer, as answer_tokens.h packs them; empty: none were kept.
  std::string tokens(const std::string& id);
  /// With its descendants, whose ids are returned, its own first.
  std::vector<std::string> remove_message(const std::string& id);

 private:
  const std::shared_ptr<Database> database_;
};

}  // namespace fathom

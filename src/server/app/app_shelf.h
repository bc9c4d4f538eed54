// What a person keeps besides chats: folders, templates for prompts, preferences. In the tables of chat_tables.h.
// Thread-safe.
#pragma once
#include <memory>
#include <optional>
#include <string>

#include "base/json.h"
#include "server/store/database.h"

namespace fathom {

class AppShelf {
 public:
  static constexpr size_t kMostName = 200, kMostTemplate = size_t{1} << 20, kMostPreferences = size_t{64} << 10;
  static constexpr size_t kMostFolders = 1000, kMostTemplates = 1000;

  explicit AppShelf(std::shared_ptr<Database> database) : database_(std::move(database)) {}

  // Each throws ApiError: 404 for an unknown id, 400 for what is out of bounds.
  json::array folders() const;  ///< [{id, name, position}] by position
  json::object add_folder(const std::string& name);
  json::object change_folder(const std::string& id, const std::optional<std::string>& name,
                             std::optional<int64_t> position);
  /// Its chats stay, in no folder.
  void remove_folder(const std::string& id);

  json::array templates() const;  ///< [{id, name, text}] by name
  json::object add_template(const std::string& name, const std::string& text);
  json::object change_template(const std::string& id, const std::optional<std::string>& name,
                               const std::optional<std::string>& text);
  void remove_template(const std::string& id);

  json::object preferences() const;
  /// Puts `change` into them, key by key; null takes a key away.
  json::object change_preferences(const json::object& change);

 private:
  const std::shared_ptr<Database> database_;
};

}  // namespace fathom

// The app's tables, as migrations of the server's database (store/database.h): chats, messages, folders, templates,
// preferences, the full-text index over titles, messages and thinking, and the tokens of answers.
#pragma once
#include <span>
#include <string_view>

namespace fathom {

std::span<const std::string_view> app_migrations();

}  // namespace fathom

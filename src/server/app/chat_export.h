// A chat as a file: Markdown and a web page for people (the branch that is shown), JSON for machines (the whole tree;
// chat_import.h reads it back without loss). Pure functions; any thread.
#pragma once
#include <string>
#include <vector>

#include "server/app/chat.h"

namespace fathom {

inline constexpr const char* kExportFormat = "fathom.chats";
inline constexpr int kExportVersion = 1;

/// `branch`: from its first message on. `thinking`: the thinking is shown too.
std::string chat_markdown(const AppChat& chat, const std::vector<AppMessage>& branch, bool thinking);
/// A whole page without scripts, in which no text is markup.
std::string chat_html(const AppChat& chat, const std::vector<AppMessage>& branch, bool thinking);
/// One of the entries of `chats` in {format, version, chats}; `folder`: its name, empty for none.
json::object chat_export_json(const AppChat& chat, const std::vector<AppMessage>& messages, const std::string& folder,
                              bool thinking);

/// "attachment; filename=..." for the title, in any language.
std::string attachment_header(const std::string& title, const std::string& extension);

/// The messages from the first to `leaf`, in a list in which parents come before children.
std::vector<AppMessage> branch_to(const std::vector<AppMessage>& messages, const std::string& leaf);

}  // namespace fathom

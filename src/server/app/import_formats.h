// The exports of other chat programs, a conversation at a time; chat_import.h has their shapes. Sources: files that
// those programs write, and readers of them in public. Pure functions; any thread.
#pragma once
#include <optional>

#include "server/app/chat_import.h"

namespace fathom {

/// nullopt: no conversation of a known form. What is not understood in one is left out.
std::optional<ImportedChat> read_foreign_chat(const json::value& conversation);

}  // namespace fathom

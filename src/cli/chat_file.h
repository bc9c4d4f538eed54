// A conversation as a file: {"format": "fathom.chat", "version": 1, "model", "messages": [{role, content, thinking,
// tool_calls}]}. Thread-safe: no state.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "engine/conversation.h"

namespace fathom {

/// Written aside and renamed. Throws Error naming the path.
void save_chat(const std::filesystem::path& path, const std::string& model, const std::vector<Message>& messages);
/// Throws Error naming the path and what is not as expected.
std::vector<Message> load_chat(const std::filesystem::path& path);

/// Removes the oldest question and its answers; the system message stays. False: only one question is there.
bool drop_oldest_exchange(std::vector<Message>& messages);

}  // namespace fathom

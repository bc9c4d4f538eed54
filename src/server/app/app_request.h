// What the app asks a model for: a chat's settings, and a branch of its tree as a request of the API. The app's answers
// are made as those to /v1/chat/completions are, so the request is written in that form and read by its reader. Pure
// functions; any thread.
#pragma once
#include <vector>

#include "server/api/fields.h"
#include "server/api/request.h"
#include "server/app/chat.h"

namespace fathom {

/// A text; absent or null: nullopt. Throws ApiError for one of more than `most` bytes.
std::optional<std::string> read_text(Fields& f, std::string_view key, size_t most);
/// Throws ApiError naming a field that nobody has asked for.
void refuse_left_over(const Fields& f);

/// {model?, thinking?, effort?, budget?, temperature?, top_p?, seed?, max_tokens?}, with what is null left out. Throws
/// ApiError naming the field, also for one that is unknown.
json::object read_chat_settings(const json::value& settings, const std::string& path);

/// At most kMostTags texts, each once. Throws ApiError.
json::array read_tags(const json::array& tags, const std::string& path);

/// What is kept of a wish for an answer (AppMessage::asked); the lengths are those of the beginning, in bytes.
json::object asked_json(const std::string& system, json::object settings, size_t thinking, size_t content);
/// The same from a file. Throws ApiError.
json::object read_asked(const json::value& asked, const std::string& path);

/// The request for the answer to `branch`. `answer` has what was asked (AppMessage::asked) and the beginning that is
/// to be continued. Throws ApiError.
GenerateRequest answer_request(const std::vector<AppMessage>& branch, const AppMessage& answer);

}  // namespace fathom

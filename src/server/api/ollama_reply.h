// Replies in Ollama's form: one JSON line, or a stream of them, the last with the counts and durations. Source:
// spec/api.md 5.
#pragma once
#include <chrono>
#include <memory>
#include <string>

#include "server/api/reply.h"

namespace fathom {

/// `started`: when the request came, so that the last line tells the time until its model and prompt were ready.
std::unique_ptr<Reply> make_ollama_chat_reply(ReplyContext context, std::chrono::steady_clock::time_point started);
std::unique_ptr<Reply> make_ollama_generate_reply(ReplyContext context, std::chrono::steady_clock::time_point started);

/// {"error": text}
json::object ollama_error(const ApiError& error);
/// "2026-11-29T17:00:00.000000Z"
std::string utc_time(std::chrono::system_clock::time_point time);

}  // namespace fathom

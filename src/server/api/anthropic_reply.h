// Replies in Anthropic's form: the message, its stream of events, the errors. Source: spec/api.md 4.
#pragma once
#include <memory>
#include <string>

#include "server/api/reply.h"
#include "server/api/thinking_signature.h"

namespace fathom {

/// `request_id`: of the request, for errors. `signature` outlives the reply.
std::unique_ptr<Reply> make_anthropic_reply(ReplyContext context, std::string request_id,
                                            const ThinkingSignature& signature);

/// {"type": "error", "error": {type, message}, "request_id"}
json::object anthropic_error(const ApiError& error, const std::string& request_id);
/// The status that Anthropic's clients expect: 529 where the server has too much to do.
int anthropic_status(const ApiError& error);

}  // namespace fathom

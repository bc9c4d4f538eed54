// What the replies of all protocols share.
#include "server/api/reply.h"

#include "server/http/sse.h"

namespace fathom {

std::string Reply::heartbeat() const { return context_.stream ? sse_comment("keep-alive") : "\n"; }

json::object arguments_object(const ToolCall& call) {
  json::error_code error;
  json::value parsed = json::parse(call.arguments, error);
  return !error && parsed.is_object() ? std::move(parsed.get_object()) : json::object();
}

}  // namespace fathom

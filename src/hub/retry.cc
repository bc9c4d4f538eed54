#include "hub/retry.h"

#include <algorithm>
#include <ctime>

#include "base/error.h"
#include "hub/headers.h"

namespace fathom {
namespace {

constexpr std::chrono::milliseconds kFirstWait{200}, kLongestWait{30'000};
constexpr uint64_t kMostAskedSeconds = 600;

/// The hub refuses an object store's signature (403) when it has expired: asking the hub again gives a new one.
bool is_expired_signature(const HttpReply& reply, const Endpoint& endpoint) {
  return reply.status == 403 && origin_of(reply.url) != endpoint.origin;
}

bool is_temporary(const HttpReply& reply, const Endpoint& endpoint) {
  if (!reply.problem.empty()) return reply.temporary;
  return reply.status == 408 || reply.status == 425 || reply.status == 429 || reply.status >= 500 ||
         is_expired_signature(reply, endpoint);
}

/// "status 404" and what the hub says of it, at most 300 bytes.
std::string status_text(const HttpReply& reply) {
  const std::string* message = reply.header("x-error-message");
  return cat("status ", reply.status, message && !message->empty() ? cat(" (", message->substr(0, 300), ")") : "");
}

std::string seconds_text(std::chrono::milliseconds wait) { return cat(static_cast<double>(wait.count()) / 1000, " s"); }

std::string how_to_get_a_token(const Endpoint& endpoint) {
  return cat("make a token at ", endpoint.url, "/settings/tokens and set HF_TOKEN to it");
}

}  // namespace

std::string refusal_text(const HttpReply& reply, const std::string& what, bool with_token, const Endpoint& endpoint) {
  const std::string where = shown_url(reply.url);
  if (!reply.problem.empty()) return cat(what, ": ", where, ": ", reply.problem);
  const std::string* code_header = reply.header("x-error-code");
  const std::string code = code_header ? *code_header : "";
  const std::string said = status_text(reply);
  if (code == "GatedRepo")
    return cat(what, ": its owner asks for consent first: ", said, "; accept the terms on the model's page at ",
               endpoint.url,
               with_token ? " with the account that the token belongs to" : cat(", ", how_to_get_a_token(endpoint)));
  if (reply.status == 401 && !with_token)
    return cat(what, ": no such model, or one that needs a token: ", said, "; check the name, or ",
               how_to_get_a_token(endpoint));
  if (reply.status == 401) return cat(what, ": no such model, or the token is not accepted: ", said);
  if (reply.status == 403)
    return cat(what, ": refused: ", said, with_token ? "; the token has no right to it" : "; it may need a token: ",
               with_token ? "" : how_to_get_a_token(endpoint));
  if (code == "RevisionNotFound") return cat(what, ": no such revision: ", said);
  if (code == "EntryNotFound") return cat(what, ": no such file: ", said);
  if (reply.status == 404) return cat(what, ": no such model at ", endpoint.url, ": ", said);
  return cat(what, ": ", where, ": expected status 200, found ", said);
}

std::chrono::milliseconds Retry::wait_after(const HttpReply& reply, const std::string& what, const HttpClient& client,
                                            const Notice& notice) {
  const std::string why = refusal_text(reply, what, client.sends_token(), client.endpoint());
  if (!is_temporary(reply, client.endpoint())) throw Error(why);
  if (failures_ >= most_) throw Error(most_ ? cat(why, "; tried ", most_ + 1, " times") : why);
  std::chrono::milliseconds wait = std::min(kFirstWait * (1 << std::min(failures_, 10)), kLongestWait);
  ++failures_;
  if (const std::string* after = reply.header("retry-after"); after && reply.problem.empty()) {
    const uint64_t asked = retry_after_s(*after, std::time(nullptr)).value_or(0);
    if (asked > kMostAskedSeconds)
      throw Error(cat(why, "; the server asks to wait ", asked, " s (at most ", kMostAskedSeconds, " s are waited)"));
    wait = std::max<std::chrono::milliseconds>(wait, std::chrono::seconds(asked));
  }
  notice(cat(why, "; trying again in ", seconds_text(wait), " (", failures_, " of ", most_, ")"));
  return wait;
}

}  // namespace fathom

// When a request is repeated, and how long to wait first: broken connections, 408, 429 and 5xx are worth it, everything
// else is an answer. Each wait is a sentence for the person (DESIGN.md law 5). Called by hub/repository.cc and
// hub/download.cc. One thread per object.
#pragma once
#include <chrono>
#include <functional>
#include <string>

#include "hub/http.h"

namespace fathom {

/// A sentence for the person who waits.
using Notice = std::function<void(const std::string&)>;

/// What the hub's refusal means and what to do about it; `what` names the thing asked for. For replies without `thrown`
/// that are no 2xx or were broken off.
std::string refusal_text(const HttpReply& reply, const std::string& what, bool with_token, const Endpoint& endpoint);

class Retry {
 public:
  explicit Retry(int most) : most_(most) {}
  /// The last request brought data: the count of failures begins anew.
  void progressed() { failures_ = 0; }
  /// How long to wait before the next try. Throws Error with refusal_text() where there is none: the reply is an
  /// answer, or `most` tries in a row brought nothing, or the server asks for more than ten minutes.
  std::chrono::milliseconds wait_after(const HttpReply& reply, const std::string& what, const HttpClient& client,
                                       const Notice& notice);

 private:
  int most_, failures_ = 0;
};

}  // namespace fathom

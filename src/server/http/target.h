// What a request is aimed at: the target of the request line, host names, percent-encoding. Called by
// request_parser.cc and access.cc. Thread-safe: no state. Source: RFC 9112 section 3.2, RFC 3986 section 2.
#pragma once
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/trimmed.h"

namespace fathom::http {

/// A request that is refused before the handler sees it: the answer's status, and what() says why.
class Refused : public Error {
 public:
  Refused(int status, const std::string& why) : Error(why), status_(status) {}
  int status() const { return status_; }

 private:
  int status_;
};

struct Target {
  std::string path;       ///< decoded
  std::string query;      ///< as sent
  std::string authority;  ///< "host:port" where the target was a whole address (as sent to a proxy), else empty
};
/// "/path?query", "http://host/path?query", or "*" with OPTIONS. Throws Refused (400) where it is none of these, has a
/// fragment or bytes outside ASCII, or its path is badly encoded, not UTF-8 or has control characters.
Target parse_target(std::string_view method, std::string_view target);

/// Undoes %XX; nullopt where two hexadecimal digits do not follow a '%'. plus_is_space: as in queries.
std::optional<std::string> percent_decode(std::string_view text, bool plus_is_space = false);

/// Whether `text` has the form of a Host header: a name, an IPv4 address or a bracketed IPv6 address, then maybe a
/// port.
bool valid_host(std::string_view text);
/// The host without its port, in lower case: "[::1]:80" is "[::1]".
std::string host_name(std::string_view host);

/// Equal but for the case of ASCII letters.
bool same_letters(std::string_view a, std::string_view b);
/// Whether one of the comma-separated words of `list` is `word`, in any case.
bool has_word(std::string_view list, std::string_view word);
/// What trimmed() takes away from a header's words.
inline constexpr std::string_view kBlank = " \t";

}  // namespace fathom::http

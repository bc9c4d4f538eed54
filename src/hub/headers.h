// The HTTP headers that the hub's interface relies on, parsed from text that a stranger wrote: nullopt where they say
// nothing usable. Called by hub/http.cc, hub/repository.cc and hub/download.cc. Thread-safe: no state.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace fathom {

/// The target of rel="next" in a Link header: `<https://hub/x?cursor=a>; rel="next"`. Source: RFC 8288.
std::optional<std::string> next_link(std::string_view header);

/// Seconds to wait: a number, or a date relative to `now_s` (seconds since 1970), at least 0. Source: RFC 9110, 10.2.3.
std::optional<uint64_t> retry_after_s(std::string_view header, int64_t now_s);

struct ContentRange {
  uint64_t first = 0, last = 0;   ///< both inclusive
  std::optional<uint64_t> total;  ///< nullopt: the server wrote '*'
};
/// "bytes 0-99/1000". Source: RFC 9110, 14.4.
std::optional<ContentRange> content_range(std::string_view header);

/// A strong entity tag with its quotes, as If-Range may carry it; nullopt for a weak or malformed one.
std::optional<std::string> strong_etag(std::string_view header);

/// A whole decimal number and nothing else.
std::optional<uint64_t> decimal(std::string_view text);

}  // namespace fathom

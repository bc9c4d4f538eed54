// Server-sent events, framed so that no text from outside can end an event or begin another (R12). Called by the wire
// formats in server/, which pass the result to Responder::write. Thread-safe: no state.
// Source: the HTML standard, section 9.2 "Server-sent events".
#pragma once
#include <string>
#include <string_view>

namespace fathom {

/// One event: "event: NAME" unless `event` is empty, then one "data: " line per line of `data` (CRLF, CR and LF all
/// break lines, as they do for the reader, who sees each as LF), then an empty line. `event` loses CR, LF and NUL.
std::string sse_event(std::string_view data, std::string_view event = "");

/// A comment, which readers skip: ": text" per line of `text`, then an empty line.
std::string sse_comment(std::string_view text);

}  // namespace fathom

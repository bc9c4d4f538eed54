// Inline Markdown (emphasis, code, links) for a terminal: where a line that is still growing may be cut, and the styled
// text of a piece. cli/markdown.cc calls it. Thread-safe: no state.
#pragma once
#include <cstddef>
#include <string>
#include <string_view>

#include "cli/terminal.h"

namespace fathom {

/// Bytes from the front of a growing line that can be rendered now: up to the last blank (or CJK character) at which no
/// emphasis, code span, link or formula is open. Where something stays open for long, it is taken as literal.
size_t inline_safe_cut(std::string_view text);

struct StyledText {
  std::string text;  ///< with escape sequences
  size_t width = 0;  ///< columns
};

/// Renders a piece of a line by CommonMark's rules (libcmark). `base` is the style around it, restored after every
/// span. \( ... \), \[ ... \] and $$ ... $$ are kept as they are. Control characters that entities spell are made safe.
StyledText render_inline(std::string_view text, const Styles& styles, std::string_view base = "");

}  // namespace fathom

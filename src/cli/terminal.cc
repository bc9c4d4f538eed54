#include "cli/terminal.h"

#include <langinfo.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <utf8proc.h>

#include <algorithm>
#include <clocale>
#include <cstdlib>

#include "text/utf8.h"

namespace fathom {

TerminalSize Terminal::size() const {
  winsize size{};
  if (ioctl(descriptor, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0) return {};
  return {size.ws_col, size.ws_row};
}

Terminal terminal_of(int descriptor) {
  const char *term = std::getenv("TERM"), *no_color = std::getenv("NO_COLOR");
  const std::string_view kind = term ? term : "";
  Terminal t{.descriptor = descriptor, .is_terminal = isatty(descriptor) == 1};
  t.can_move = t.is_terminal && !kind.empty() && kind != "dumb";
  t.has_styles = t.can_move && (no_color == nullptr || *no_color == '\0');
  return t;
}

namespace {

size_t width_of(char32_t c) {
  const int width = utf8proc_charwidth(static_cast<utf8proc_int32_t>(c));
  return width < 0 ? 0 : static_cast<size_t>(width);
}

/// Calls f(character) for each; bytes that are no UTF-8 count as one U+FFFD each.
template <class F>
void for_each_char(std::string_view text, F&& f) {
  for (size_t at = 0; at < text.size();) {
    const Utf8Unit unit = next_utf8_unit(text.substr(at));
    f(unit.status == Utf8Status::kValid ? decode_valid_utf8(text.data() + at).code_point : char32_t{0xFFFD});
    at += unit.size;
  }
}

}  // namespace

size_t display_width(std::string_view text) {
  size_t width = 0;
  for_each_char(text, [&width](char32_t c) { width += width_of(c); });
  return width;
}

void CursorModel::write(std::string_view text) {
  for_each_char(text, [this](char32_t c) {
    if (c == '\n') {
      ++row_, column_ = 0;
    } else if (c == '\t') {
      column_ = std::min((column_ / 8 + 1) * 8, columns_ - 1);
    } else if (const size_t width = width_of(c); width > 0) {
      if (column_ + width > columns_) ++row_, column_ = 0;
      column_ += width;
    }
  });
}

void use_utf8_locale() {
  std::setlocale(LC_CTYPE, "");
  if (std::string_view(nl_langinfo(CODESET)) != "UTF-8") std::setlocale(LC_CTYPE, "C.UTF-8");
}

}  // namespace fathom

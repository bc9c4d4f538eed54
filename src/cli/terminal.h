// What is known of the terminal: whether there is one, its size, whether it wants colours; styles; and how many rows a
// text takes on it. Reading is safe from any thread; nothing here writes.
#pragma once
#include <cstddef>
#include <string>
#include <string_view>

namespace fathom {

struct TerminalSize {
  size_t columns = 80, rows = 24;
  bool operator==(const TerminalSize&) const = default;
};

/// Of one output stream.
struct Terminal {
  int descriptor = 1;
  bool is_terminal = false;  ///< a person looks at it
  bool can_move = false;     ///< the cursor can be moved: a terminal that is not TERM=dumb
  bool has_styles = false;   ///< can_move, and NO_COLOR (no-color.org) is not set

  /// The size now; 80 x 24 where there is no terminal.
  TerminalSize size() const;
};

/// Looks at the descriptor and the environment (TERM, NO_COLOR).
Terminal terminal_of(int descriptor);

/// Escape sequences, or nothing on a terminal without styles.
class Styles {
 public:
  explicit Styles(bool on) : on_(on) {}
  bool on() const { return on_; }
  const char* reset() const { return on_ ? "\x1b[0m" : ""; }
  const char* dim() const { return on_ ? "\x1b[2m" : ""; }
  const char* bold() const { return on_ ? "\x1b[1m" : ""; }
  const char* italic() const { return on_ ? "\x1b[3m" : ""; }
  const char* underline() const { return on_ ? "\x1b[4m" : ""; }
  const char* code() const { return on_ ? "\x1b[36m" : ""; }
  const char* heading() const { return on_ ? "\x1b[1;4m" : ""; }
  const char* prompt() const { return on_ ? "\x1b[1;32m" : ""; }
  const char* error() const { return on_ ? "\x1b[31m" : ""; }

 private:
  bool on_;
};

/// Columns of one line of printable UTF-8 (no escape sequences): wide characters count 2, combining marks 0.
size_t display_width(std::string_view text);

/// How a text that is written from column 0 moves the cursor on a screen of `columns`. Text comes in pieces. A line
/// that fills the last column leaves the cursor there until the next character (as VT100 and its successors do).
class CursorModel {
 public:
  explicit CursorModel(size_t columns) : columns_(columns < 2 ? 2 : columns) {}
  /// Printable UTF-8, newlines and tabs, in whole characters.
  void write(std::string_view text);
  size_t rows_below_start() const { return row_; }
  size_t column() const { return column_; }

 private:
  size_t columns_, row_ = 0, column_ = 0;
};

/// Switches the C library to UTF-8, which line editing needs, whatever LANG says.
void use_utf8_locale();

}  // namespace fathom

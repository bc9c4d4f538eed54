#include "cli/terminal.h"

#include <gtest/gtest.h>

#include <random>

#include "cli/sanitize.h"
#include "text/utf8.h"

namespace fathom {
namespace {

TEST(Sanitize, EscapeSequencesBecomeVisible) {
  EXPECT_EQ(sanitized("a\x1b[31mb"), "a\u241B[31mb");
  EXPECT_EQ(sanitized("\x1b]0;title\x07"), "\u241B]0;title\u2407");
  EXPECT_EQ(sanitized("tab\tline\nback\b\x7f"), "tab\tline\nback\u2408\u2421");
  EXPECT_EQ(sanitized("progress\r\n"), "progress\n");
}

TEST(Sanitize, C1AndDirectionAndInvalidBytesAreReplaced) {
  EXPECT_EQ(sanitized("\u009b31m"), "\uFFFD31m");
  EXPECT_EQ(sanitized("a\u202Eb\u2067c\u200F"), "a\uFFFDb\uFFFDc\uFFFD");
  EXPECT_EQ(sanitized("\x9b\xff ok"), "\uFFFD\uFFFD ok");
  EXPECT_EQ(sanitized("Grüße, 世界 👩‍💻"), "Grüße, 世界 👩‍💻");
}

TEST(Sanitize, PiecesEqualTheWhole) {
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    std::string text;
    for (size_t n = random() % 60; n > 0; --n)
      append_utf8(text, std::u32string_view(U"a\x1b\n\u0085é世🙂\u202E")[random() % 8]);
    if (random() % 3 == 0) text += "\xE4\xB8";
    Sanitizer sanitizer;
    std::string out;
    for (size_t at = 0; at < text.size();) {
      const size_t n = 1 + random() % 5;
      out += sanitizer.feed(std::string_view(text).substr(at, n));
      at += n;
    }
    out += sanitizer.finish();
    EXPECT_EQ(out, sanitized(text));
    EXPECT_EQ(out.find('\x1b'), std::string::npos);
  }
}

TEST(Terminal, WidthsOfCharacters) {
  EXPECT_EQ(display_width("abc"), 3u);
  EXPECT_EQ(display_width("Grüße"), 5u);
  EXPECT_EQ(display_width("e\u0301"), 1u);  // a combining accent
  EXPECT_EQ(display_width("世界"), 4u);
}

struct Place {
  size_t row, column;
  bool operator==(const Place&) const = default;
};
Place after(size_t columns, std::string_view text) {
  CursorModel cursor(columns);
  cursor.write(text);
  return {cursor.rows_below_start(), cursor.column()};
}

TEST(Terminal, CursorWrapsAsATerminalDoes) {
  EXPECT_EQ(after(10, "12345"), (Place{0, 5}));
  EXPECT_EQ(after(10, "1234567890"), (Place{0, 10})) << "the cursor waits in the last column";
  EXPECT_EQ(after(10, "1234567890\n"), (Place{1, 0}));
  EXPECT_EQ(after(10, "12345678901"), (Place{1, 1}));
  EXPECT_EQ(after(5, "世界世"), (Place{1, 2})) << "a wide character does not fit into the last column";
  EXPECT_EQ(after(10, "a\tb"), (Place{0, 9}));
  EXPECT_EQ(after(10, "one\n\ntwo"), (Place{2, 3}));
}

TEST(Terminal, StylesAreEmptyWhereTheyAreOff) {
  EXPECT_STREQ(Styles(false).bold(), "");
  EXPECT_STREQ(Styles(true).reset(), "\x1b[0m");
}

}  // namespace
}  // namespace fathom

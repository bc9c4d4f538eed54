#include "cli/answer_view.h"

#include <gtest/gtest.h>

namespace fathom {
namespace {

/// A screen of a terminal, as far as AnswerView moves its cursor: printing with wrap, newline, CR, "ESC [ n A", "ESC [
/// J"; styles are ignored; it scrolls.
class Screen {
 public:
  Screen(size_t columns, size_t rows) : columns_(columns), lines_(1), rows_(rows) {}

  void write(std::string_view text) {
    for (size_t i = 0; i < text.size(); ++i) {
      if (text[i] == '\x1b') {
        size_t n = 0;
        for (i += 2; std::isdigit(static_cast<unsigned char>(text[i])) || text[i] == ';'; ++i)
          n = 10 * n + static_cast<size_t>(text[i] - '0');
        if (text[i] == 'A') row_ -= std::min(n, row_ - top());
        if (text[i] == 'J') lines_.resize(row_ + 1), lines_[row_].resize(column_);
      } else if (text[i] == '\n') {
        down();
      } else if (text[i] == '\r') {
        column_ = 0;
      } else {
        if (column_ == columns_) down();
        lines_[row_].resize(std::max(lines_[row_].size(), column_ + 1), ' ');
        lines_[row_][column_++] = text[i];
      }
    }
  }
  /// All lines that were ever seen, without empty ones at the end.
  std::string text() const {
    std::string out;
    for (const std::string& line : lines_) out += line + "\n";
    while (out.ends_with("\n\n")) out.pop_back();
    return out;
  }

 private:
  size_t top() const { return lines_.size() > rows_ ? lines_.size() - rows_ : 0; }
  void down() {
    if (++row_ == lines_.size()) lines_.emplace_back();
    column_ = 0;
  }
  size_t columns_;
  std::vector<std::string> lines_;
  size_t rows_, row_ = 0, column_ = 0;
};

struct Fixture {
  explicit Fixture(size_t columns = 20, size_t rows = 10)
      : size{columns, rows},
        screen(columns, rows),
        view([this](std::string_view text) { screen.write(text); }, [this] { return size; }, Styles(true), true) {}
  TerminalSize size;
  Screen screen;
  AnswerView view;
};

TEST(AnswerView, ThinkingFoldsToOneLine) {
  Fixture f;
  f.screen.write("> question\n");
  for (const char* word : {"\nLet ", "me think ", "about this ", "for some rows\n", "of the screen"})
    f.view.thinking(word);
  EXPECT_NE(f.screen.text().find("Let me think about t\nhis for some rows\nof the screen"), std::string::npos)
      << f.screen.text();
  f.view.end_thinking("[thought]");
  f.view.answer("\n\nThe **answer**.");
  f.view.finish();
  EXPECT_EQ(f.screen.text(), "> question\n[thought]\nThe answer.\n");
}

TEST(AnswerView, LinesThatFillTheWidthAreCounted) {
  for (size_t n = 18; n <= 62; ++n) {
    Fixture f;
    f.screen.write("> q\n");
    for (size_t i = 0; i < n; ++i) f.view.thinking("x");
    f.view.end_thinking("[thought]");
    f.view.answer("a");
    f.view.finish();
    EXPECT_EQ(f.screen.text(), "> q\n[thought]\na\n") << n;
  }
}

TEST(AnswerView, ThinkingThatScrolledAwayStays) {
  Fixture f(20, 4);
  for (int i = 0; i < 6; ++i) f.view.thinking("row\n");
  f.view.end_thinking("[thought]");
  f.view.answer("a");
  f.view.finish();
  EXPECT_EQ(f.screen.text(), "row\nrow\nrow\nrow\nrow\nrow\n[thought]\na\n");
}

TEST(AnswerView, AfterAResizeNothingIsErased) {
  Fixture f;
  f.view.thinking("some thinking");
  f.size.columns = 7;
  f.view.end_thinking("[thought]");
  f.view.answer("a");
  f.view.finish();
  EXPECT_EQ(f.screen.text(), "some thinking\n[thought]\na\n");
}

TEST(AnswerView, NothingFromTheModelMovesTheCursor) {
  std::string out;
  AnswerView view([&](std::string_view text) { out += text; }, [] { return TerminalSize{}; }, Styles(false), false);
  view.thinking("\x1b[2J\x1b]0;x\x07 thinking");
  view.end_thinking("[thought]");
  view.answer("\x1b[31m");
  view.answer("\xC2");
  view.answer("\x9B 1\xE4\xB8");
  view.finish();
  EXPECT_EQ(out.find('\x1b'), std::string::npos) << out;
  EXPECT_EQ(out.find('\x07'), std::string::npos);
  EXPECT_EQ(out.find("\xC2\x9B"), std::string::npos);
}

TEST(AnswerView, TwoAnswersInARow) {
  Fixture f;
  f.view.answer("one");
  f.view.finish();
  f.view.answer("\ntwo\n");
  f.view.finish();
  f.view.thinking("cut off");
  f.view.finish();
  f.screen.write("> ");
  EXPECT_EQ(f.screen.text(), "one\ntwo\ncut off\n> \n");
}

TEST(AnswerView, TheFoldLineSaysTimeTokensAndBudget) {
  EXPECT_EQ(fold_line(3.21, 210, false), "[thought for 3.2 s, 210 tokens]");
  EXPECT_EQ(fold_line(0, 1, true), "[thought for 0.0 s, 1 token, ended by the budget]");
}

}  // namespace
}  // namespace fathom

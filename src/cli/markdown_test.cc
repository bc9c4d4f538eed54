#include "cli/markdown.h"

#include <gtest/gtest.h>

#include <random>
#include <regex>

#include "cli/markdown_inline.h"
#include "cli/sanitize.h"

namespace fathom {
namespace {

/// Styles as readable marks: bold <b>, italic <i>, underlined <u>, code <c>, dim <d>, heading <h>, the end </>.
std::string readable(std::string text) {
  const std::pair<const char*, const char*> marks[] = {{"\x1b[0m", "</>"}, {"\x1b[1;4m", "<h>"}, {"\x1b[1m", "<b>"},
                                                       {"\x1b[3m", "<i>"}, {"\x1b[4m", "<u>"},   {"\x1b[36m", "<c>"},
                                                       {"\x1b[2m", "<d>"}};
  for (const auto& [escape, mark] : marks)
    for (size_t at; (at = text.find(escape)) != std::string::npos;)
      text.replace(at, std::string_view(escape).size(), mark);
  return text;
}

std::string render(std::string_view markdown, size_t piece = std::string::npos, size_t columns = 60) {
  MarkdownStream stream(Styles(true), [columns] { return columns; });
  std::string out;
  const std::string text = sanitized(markdown);
  for (size_t at = 0; at < text.size();) {
    size_t end = std::min(text.size(), piece == std::string::npos ? piece : at + piece);
    while (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) ++end;
    out += stream.feed(std::string_view(text).substr(at, end - at));
    at = end;
  }
  return readable(out + stream.finish());
}

TEST(Markdown, InlineSpans) {
  EXPECT_EQ(render("a **bold** word"), "a <b>bold</> word");
  EXPECT_EQ(render("*it* and _it_ and `co*de*`"), "<i>it</> and <i>it</> and <c>co*de*</>");
  EXPECT_EQ(render("**bold and *both* of it**"), "<b>bold and <i>both</><b> of it</>");
  EXPECT_EQ(render("[text](https://a.b/c)!"), "<u>text</> (https://a.b/c)!");
  EXPECT_EQ(render("<https://a.b>"), "<u>https://a.b</>");
}

TEST(Markdown, WhatIsNoMarkupStays) {
  EXPECT_EQ(render("2 * 3 ** 4, snake_case_name, a < b, f(x)[0], #1, 5. of"),
            "2 * 3 ** 4, snake_case_name, a < b, f(x)[0], #1, 5. of");
  EXPECT_EQ(render("an **open end\nnext"), "an **open end\nnext");
  EXPECT_EQ(render("- not *closed"), "• not *closed");
  EXPECT_EQ(render("x \\*y\\* # - 1."), "x *y* # - 1.");
}

TEST(Markdown, FormulasKeepTheirBackslashes) {
  EXPECT_EQ(render("so \\(a_1 * b_2 * c\\) and $$x*y*z$$."), "so \\(a_1 * b_2 * c\\) and $$x*y*z$$.");
  EXPECT_EQ(render("\\[\n\\frac{a*b*c}{2}\n\\]\n**b**"), "\\[\n\\frac{a*b*c}{2}\n\\]\n<b>b</>");
  EXPECT_EQ(render("$$ x_1*y_1*z $$\nend"), "$$ x_1*y_1*z $$\nend");
}

TEST(Markdown, Blocks) {
  EXPECT_EQ(render("# Title *x*\ntext"), "<h>Title <i>x</><h></>\ntext");
  EXPECT_EQ(render("- one\n  * two\n10. ten\n"), "• one\n  • two\n10. ten\n");
  EXPECT_EQ(render("> said **so**\nx"), "<d>│ said <b>so</><d></>\nx");
  EXPECT_EQ(render("a\n\n---\n\nb", std::string::npos, 6), "a\n\n<d>─────</>\n\nb");
}

TEST(Markdown, FencedCodeIsVerbatim) {
  EXPECT_EQ(render("```python\nx = **2**\n\n# y\n```\nend"),
            "<d>╭── python</>\n<c>x = **2**</>\n<c></>\n<c># y</>\n<d>╰──</>\nend");
  EXPECT_EQ(render("~~~\n```\n~~~\n"), "<d>╭── </>\n<c>```</>\n<d>╰──</>\n");
  EXPECT_EQ(render("```\ncut off"), "<d>╭── </>\n<c>cut off</>");
}

TEST(Markdown, TablesAreAligned) {
  EXPECT_EQ(render("| a | bb |\n|---|---:|\n| **long** | 1 |\n| 世 | 22 |\nend"),
            "<b>a</>   <d> │ </><b>bb</>\n<d>─────┼───</>\n<b>long</><d> │ </> 1\n世  <d> │ </>22\nend");
  EXPECT_EQ(render("| no table\n"), "| no table\n");
}

TEST(Markdown, AWideTableIsNotPadded) {
  const std::string out = render("| a | b |\n|---|---|\n| " + std::string(50, 'x') + " | y |\n", std::string::npos, 20);
  EXPECT_NE(out.find("<b>a</><d> │ </><b>b</>\n"), std::string::npos) << out;
}

TEST(Markdown, EntitiesBringNoEscapeSequences) {
  const std::string out = render_inline("&#27;[31m `&#27;` [a](&#27;]0;x) &amp; &#x9b;", Styles(false)).text;
  EXPECT_EQ(out.find('\x1b'), std::string::npos) << out;
  EXPECT_EQ(out.find("\xC2\x9B"), std::string::npos);
  EXPECT_NE(out.find(" & "), std::string::npos);
}

TEST(Markdown, WithoutStylesTheTextPassesThrough) {
  MarkdownStream stream(Styles(false), [] { return 80; });
  EXPECT_EQ(stream.feed("**b** | `c`\n```\n") + stream.finish(), "**b** | `c`\n```\n");
}

TEST(Markdown, WordsComeAsSoonAsTheyCannotChange) {
  MarkdownStream stream(Styles(true), [] { return 80; });
  EXPECT_EQ(stream.feed("Hello wor"), "Hello ");
  EXPECT_EQ(stream.feed("ld, **bo"), "world, ");
  EXPECT_EQ(readable(stream.feed("ld** x")), "<b>bold</> ");
  EXPECT_EQ(stream.feed("\n"), "x\n");
  EXPECT_EQ(stream.feed("你好"), "你好") << "text without blanks does not wait for one";
}

TEST(Markdown, AnOpenMarkHoldsTextBackForABoundedTimeOnly) {
  MarkdownStream stream(Styles(true), [] { return 80; });
  std::string out;
  for (int i = 0; i < 400; ++i) out += stream.feed(i == 0 ? "*open " : "word ");
  EXPECT_GT(out.size(), 1000u);
}

/// How the text is cut into pieces changes nothing that is seen at the end; and nothing is lost or hangs, whatever
/// comes.
TEST(Markdown, PiecesChangeNothing) {
  const std::string text =
      "# T\n\nA **b** *c `d` e* [l](u) \\(x*y\\)\n\n1. one\n2. two\n   - `x|y`\n\n| a | b |\n|:-:|--|\n| 1 | 2 |\n\n> "
      "q\n\n```c\nint *x;\n```\n***\nend 世界";
  for (const size_t piece : {1, 2, 3, 5, 8, 13}) EXPECT_EQ(render(text, piece), render(text)) << piece;
}

TEST(Markdown, RandomTextKeepsItsLetters) {
  std::mt19937 random(11);
  const std::string alphabet = "ab1 \n*_`[](<>|#-+.~$\\!&;:";
  for (int round = 0; round < 400; ++round) {
    std::string text;
    for (size_t n = random() % 120; n > 0; --n) text += alphabet[random() % alphabet.size()];
    const std::string out = render(text, 1 + random() % 7);
    EXPECT_EQ(out.find('\x1b'), std::string::npos) << text;
  }
}

}  // namespace
}  // namespace fathom

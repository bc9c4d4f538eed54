#include "text/pretokenizer.h"

#include <gtest/gtest.h>

#include <random>

#include "base/error.h"
#include "tests/testing.h"
#include "text/tokenizer_fixture.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace fathom {
namespace {

using Pieces = std::vector<std::string>;

Pieces split(const Pretokenizer& pretokenizer, std::string_view text) {
  Pieces pieces;
  pretokenizer.split(text, [&](std::string_view piece) { pieces.emplace_back(piece); });
  return pieces;
}

/// Whether PCRE2's Unicode version puts `c` into the classes of our table: the versions may differ in new characters.
bool same_class_in_pcre(char32_t c) {
  static const std::vector<std::pair<uint16_t, std::unique_ptr<const Pretokenizer>>> classes = [] {
    std::vector<std::pair<uint16_t, std::unique_ptr<const Pretokenizer>>> out;
    for (const auto& [bit, letter] :
         std::map<uint16_t, char>{{kLetter, 'L'}, {kNumber, 'N'}, {kMark, 'M'}, {kPunctuation, 'P'}, {kSymbol, 'S'}}) {
      const std::vector<std::string> pattern{cat("\\p{", letter, "}")};
      out.emplace_back(bit, make_regex_pretokenizer(pattern));
    }
    return out;
  }();
  std::string text;
  append_utf8(text, c);
  for (const auto& [bit, regex] : classes) {
    // A match is a piece of its own even between equal neighbours; a gap is not.
    const bool matches = split(*regex, text + text).size() == 2;
    if (matches != ((UnicodeClasses::get().of(c) & bit) != 0)) return false;
  }
  return true;
}

/// Characters that the patterns tell apart, then some of everything.
std::vector<std::string> alphabet() {
  const std::vector<CodePointRange> ranges = {
      {0, 0x180},          {0x2B0, 0x2C8},     {0x300, 0x308},     {0x370, 0x3A0},     {0x41F, 0x428},
      {0x560, 0x58A},      {0x5D0, 0x5D8},     {0x660, 0x66B},     {0x904, 0x916},     {0x93E, 0x94D},
      {0x10A0, 0x10D8},    {0x1680, 0x1681},   {0x180B, 0x180E},   {0x1F5D, 0x1F80},   {0x1FD0, 0x1FDB},
      {0x2000, 0x2030},    {0x205F, 0x2070},   {0x20AC, 0x20AC},   {0x2100, 0x2130},   {0x2160, 0x2165},
      {0x2183, 0x2185},    {0x2460, 0x2463},   {0x2C00, 0x2C03},   {0x2CE0, 0x2CF4},   {0x3000, 0x3010},
      {0x3040, 0x3050},    {0x3099, 0x30A8},   {0x30F8, 0x3105},   {0x4DFE, 0x4E08},   {0x9FA0, 0x9FB0},
      {0xA640, 0xA642},    {0xABC0, 0xABC2},   {0xAC00, 0xAC04},   {0xD7F8, 0xD7FB},   {0xE000, 0xE001},
      {0xFB00, 0xFB07},    {0xFE0F, 0xFE0F},   {0xFEFF, 0xFF20},   {0xFF3A, 0xFF42},   {0xFF5A, 0xFF60},
      {0x10400, 0x10402},  {0x118A0, 0x118E2}, {0x1D7CE, 0x1D7D2}, {0x1F600, 0x1F604}, {0x20000, 0x20002},
      {0x10FFFF, 0x10FFFF}};
  std::vector<std::string> out;
  for (const CodePointRange& range : ranges)
    for (char32_t c = range.first; c <= range.last; ++c)
      if (same_class_in_pcre(c)) append_utf8(out.emplace_back(), c);
  return out;
}

TEST(Pretokenizer, ScannersEqualTheirPatternsOnRandomText) {
  const std::vector<std::string> chars = alphabet();
  ASSERT_GT(chars.size(), 900u);
  const std::vector<std::string> common = {" ",  "  ",       "\n", "\r\n", "\t",        "a",  "Z",  "s",  "ll",
                                           "re", "'",        "'s", "'LL",  "'\xC5\xBF", "1",  "23", "!",  "$",
                                           "é",  "ü",        "日", "の",   "・",        "ー", "　", "。", "\xC2\xA0",
                                           "한", "\xCC\x81", "（", "½",    "😀",         "“",  "\v", "ψ"};
  std::mt19937 random(11);
  for (const std::string& name : known_pre_names()) {
    const std::vector<std::string> patterns = patterns_of(name);
    const auto scanner = make_pretokenizer(name, {}), regex = make_regex_pretokenizer(patterns);
    for (int round = 0; round < 6000; ++round) {
      std::string text;
      for (size_t n = 1 + random() % 16; n > 0; --n)
        text += random() % 3 ? common[random() % common.size()] : chars[random() % chars.size()];
      ASSERT_EQ(split(*scanner, text), split(*regex, text)) << name << ": " << ::testing::PrintToString(text);
    }
  }
}

TEST(Pretokenizer, ScannersEqualTheirPatternsOnRealText) {
  const auto path = testing::shared_path("data/text/udhr.jsonl");
  if (!path) GTEST_SKIP() << "needs $FATHOM_SHARED/data/text/udhr.jsonl";
  std::istringstream lines(testing::read_file(*path));
  std::vector<std::string> texts;
  for (std::string line; std::getline(lines, line);) {
    const json::value value = parse_json(line, "udhr.jsonl");
    texts.push_back(JsonObject(value, "udhr").string("text").substr(0, 4000));
    texts.back().resize(valid_utf8_prefix(texts.back()));
  }
  for (const std::string& name : known_pre_names()) {
    const std::vector<std::string> patterns = patterns_of(name);
    const auto scanner = make_pretokenizer(name, {}), regex = make_regex_pretokenizer(patterns);
    for (const std::string& text : texts) EXPECT_EQ(split(*scanner, text), split(*regex, text)) << name;
  }
}

TEST(Pretokenizer, PatternsAreRecognised) {
  for (const std::string& name : known_pre_names()) EXPECT_EQ(known_pre(patterns_of(name)), name);
  // CR and LF as themselves, as DeepSeek-V3's file has them, and a letter set in other words.
  std::vector<std::string> v3 = patterns_of("deepseek-v3");
  for (size_t at; (at = v3[2].find("\\r\\n")) != std::string::npos;) v3[2].replace(at, 4, "\r\n");
  EXPECT_EQ(known_pre(v3), "deepseek-v3");
  std::vector<std::string> llm = patterns_of("deepseek-llm");
  llm[1].replace(llm[1].find("A-Z"), 3, "A-MN-Z");
  EXPECT_EQ(known_pre(llm), "deepseek-llm");
  llm[1].replace(llm[1].find("N-Z"), 3, "N-Y");
  EXPECT_EQ(known_pre(llm), "");
  EXPECT_EQ(known_pre({}), "");
}

TEST(Pretokenizer, EveryTokenizerJsonOfTheSharedDataHasAName) {
  const auto folder = testing::shared_path("data/tokenizers");
  if (!folder) GTEST_SKIP() << "needs $FATHOM_SHARED/data/tokenizers";
  for (const auto& entry : std::filesystem::recursive_directory_iterator(*folder)) {
    if (entry.path().filename() != "tokenizer.json") continue;
    EXPECT_NE(known_pre(testing::load_tokenizer_json(entry.path().parent_path()).patterns), "") << entry.path();
  }
}

TEST(Pretokenizer, OtherPatternsRunInPcre) {
  const std::vector<std::string> patterns = {R"(\d+)", R"([[:alpha:]\s]+)"};
  EXPECT_EQ(split(*make_pretokenizer("", patterns), "ab 12!cd\xE2\x80\x83x"),
            (Pieces{"ab ", "12", "!", "cd\xE2\x80\x83x"}));
  EXPECT_EQ(split(*make_pretokenizer("", {}), "ab 12"), (Pieces{"ab 12"}));
  const std::vector<std::string> empty_matches = {"x*"};
  EXPECT_EQ(split(*make_pretokenizer("", empty_matches), "éxxb"), (Pieces{"é", "xx", "b"}));
  const std::vector<std::string> space = {R"(\s+)"};  // U+180E is no White_Space
  EXPECT_EQ(split(*make_pretokenizer("", space), "a\xE1\xA0\x8E \xC2\x85z"),
            (Pieces{"a\xE1\xA0\x8E", " \xC2\x85", "z"}));
}

TEST(Pretokenizer, WrongNamesAndPatternsAreErrors) {
  EXPECT_THROW(make_pretokenizer("no-such", {}), Error);
  const std::vector<std::string> broken = {"(a"}, long_one = {std::string(1 << 17, 'a')}, many(100, "a");
  EXPECT_THROW(make_pretokenizer("", broken), Error);
  EXPECT_THROW(make_pretokenizer("", long_one), Error);
  EXPECT_THROW(make_pretokenizer("", many), Error);
}

TEST(Pretokenizer, CatastrophicPatternEndsInAnError) {
  const std::vector<std::string> evil = {"(a|aa)+$"};
  const auto pretokenizer = make_pretokenizer("", evil);
  EXPECT_THROW(split(*pretokenizer, std::string(60, 'a') + "b"), Error);
}

}  // namespace
}  // namespace fathom

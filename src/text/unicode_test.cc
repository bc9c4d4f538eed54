#include "text/unicode.h"

#include <gtest/gtest.h>
#include <utf8proc.h>

#include <cstdlib>
#include <random>

#include "tests/testing.h"
#include "text/utf8.h"

namespace fathom {
namespace {

TEST(Utf8, NamesValidInvalidAndIncompleteUnits) {
  struct Case {
    std::string_view bytes;
    Utf8Status status;
    size_t size;
  };
  // The Unicode Standard, table 3-7, and what each limit of it refuses.
  for (const Case& c : std::vector<Case>{{"A", Utf8Status::kValid, 1},
                                         {"\xC3\xBC", Utf8Status::kValid, 2},
                                         {"\xED\x9F\xBF", Utf8Status::kValid, 3},
                                         {"\xF4\x8F\xBF\xBF", Utf8Status::kValid, 4},
                                         {"\x80", Utf8Status::kInvalid, 1},
                                         {"\xC0\x80", Utf8Status::kInvalid, 1},
                                         {"\xC1\xBF", Utf8Status::kInvalid, 1},
                                         {"\xE0\x9F\xBF", Utf8Status::kInvalid, 1},
                                         {"\xED\xA0\x80", Utf8Status::kInvalid, 1},
                                         {"\xF0\x8F\xBF\xBF", Utf8Status::kInvalid, 1},
                                         {"\xF4\x90\x80\x80", Utf8Status::kInvalid, 1},
                                         {"\xF5\x80\x80\x80", Utf8Status::kInvalid, 1},
                                         {"\xE4\xBD", Utf8Status::kIncomplete, 2},
                                         {"\xF0\x9F\x98", Utf8Status::kIncomplete, 3},
                                         {"\xE4\xBD!", Utf8Status::kInvalid, 2},
                                         {"\xF0\x9F\x98!", Utf8Status::kInvalid, 3}}) {
    const Utf8Unit unit = next_utf8_unit(c.bytes);
    EXPECT_EQ(unit.status, c.status) << c.bytes;
    EXPECT_EQ(unit.size, c.size) << c.bytes;
    EXPECT_EQ(valid_utf8_prefix(c.bytes) == c.bytes.size(), c.status == Utf8Status::kValid) << c.bytes;
  }
}

TEST(Utf8, EveryCodePointIsWrittenAndReadBack) {
  std::string all;
  for (char32_t c = 0; c <= 0x10FFFF; ++c)
    if (c < 0xD800 || c > 0xDFFF) append_utf8(all, c);
  EXPECT_EQ(valid_utf8_prefix(all), all.size());
  EXPECT_EQ(utf8_lossy(all), all);
  size_t at = 0;
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    if (c >= 0xD800 && c <= 0xDFFF) continue;
    const Utf8Char got = decode_valid_utf8(all.data() + at);
    ASSERT_EQ(got.code_point, c);
    at += got.size;
  }
}

TEST(Utf8, LossyReplacesMaximalSubparts) {
  const std::string bad = "\xEF\xBF\xBD";
  EXPECT_EQ(utf8_lossy("a\xE4\xBD"), "a" + bad);
  EXPECT_EQ(utf8_lossy("\xF0\x9F\x98z"), bad + "z");
  EXPECT_EQ(utf8_lossy("\xED\xA0\x80"), bad + bad + bad);                        // a surrogate: no byte of it can go on
  EXPECT_EQ(utf8_lossy("\xF1\x80\x80\xE1\x80\xC2\x62"), bad + bad + bad + "b");  // the standard's own example, 3.9
}

TEST(UnicodeClasses, FollowCategoriesAndWhiteSpace) {
  const UnicodeClasses& classes = UnicodeClasses::get();
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    const char* name = utf8proc_category_string(static_cast<utf8proc_int32_t>(c));
    const uint16_t bits = classes.of(c);
    ASSERT_EQ((bits & kLetter) != 0, name[0] == 'L') << static_cast<uint32_t>(c);
    ASSERT_EQ((bits & kNumber) != 0, name[0] == 'N') << static_cast<uint32_t>(c);
    ASSERT_EQ((bits & kMark) != 0, name[0] == 'M') << static_cast<uint32_t>(c);
    ASSERT_EQ((bits & kPunctuation) != 0, name[0] == 'P') << static_cast<uint32_t>(c);
    ASSERT_EQ((bits & kSymbol) != 0, name[0] == 'S') << static_cast<uint32_t>(c);
    const bool separator = name[0] == 'Z' || (c >= 9 && c <= 13) || c == 0x85;
    ASSERT_EQ((bits & kSpace) != 0, separator) << static_cast<uint32_t>(c);
    ASSERT_EQ((bits & kNewline) != 0, c == '\r' || c == '\n') << static_cast<uint32_t>(c);
  }
}

TEST(UnicodeClasses, LettersOfDeepSeekLlmAreCasedLettersOfToday) {
  size_t count = 0;
  for (const CodePointRange& range : deepseek_llm_letters())
    for (char32_t c = range.first; c <= range.last; ++c, ++count) {
      const std::string_view name = utf8proc_category_string(static_cast<utf8proc_int32_t>(c));
      const bool whole_block = c >= 0xA722 || c == 0x1C7F;  // unassigned places within ranges
      EXPECT_TRUE(name == "Lu" || name == "Ll" || name == "Lt" || name == "Lm" || name == "Cn" || whole_block)
          << std::hex << static_cast<uint32_t>(c) << name;
    }
  EXPECT_GT(count, 2000u);
}

std::string nfc_of_library(const std::string& text) {
  utf8proc_uint8_t* out = nullptr;
  const auto n =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()), static_cast<utf8proc_ssize_t>(text.size()),
                   &out, static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  std::string result(reinterpret_cast<const char*>(out), static_cast<size_t>(n));
  std::free(out);
  return result;
}

TEST(Nfc, EveryCharacterAloneAndAfterALetter) {
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    if ((c >= 0xD800 && c <= 0xDFFF) || c == 0x11A7) continue;  // for U+11A7 see below
    for (const char* before : {"", "a", "e\xCC\x81", "\xEA\xB0\x80"}) {
      std::string text = before;
      append_utf8(text, c);
      const std::string want = nfc_of_library(text);
      ASSERT_TRUE(nfc_may_change(text) || text == want) << std::hex << static_cast<uint32_t>(c);
      ASSERT_EQ(to_nfc(text), want) << std::hex << static_cast<uint32_t>(c);
      if (c > 0x3400 && c < 0xAC00) break;  // Han alone is enough
    }
  }
}

TEST(Nfc, RandomRunsEqualTheLibrary) {
  std::mt19937 random(7);
  const std::vector<CodePointRange> parts = {
      {'a', 'z'},         {0xC0, 0x17F},      {0x300, 0x36F},   {0x1100, 0x11A6}, {0x11A8, 0x11FF}, {0xAC00, 0xAC40},
      {0x915, 0x94D},     {0x9BE, 0x9D7},     {0xBC6, 0xBD7},   {0x1F00, 0x1FFF}, {0x2126, 0x212B}, {0xF900, 0xFA20},
      {0x1D15E, 0x1D172}, {0x110BA, 0x110BA}, {0x3099, 0x309A}, {0x304B, 0x3062}, {0x5D0, 0x5EA}};
  for (int round = 0; round < 20000; ++round) {
    std::string text;
    for (size_t n = random() % 12; n > 0; --n) {
      const CodePointRange& part = parts[random() % parts.size()];
      append_utf8(text, part.first + static_cast<char32_t>(random() % (part.last - part.first + 1)));
    }
    const std::string want = nfc_of_library(text);
    ASSERT_EQ(to_nfc(text), want) << text;
    ASSERT_TRUE(nfc_may_change(text) || text == want) << text;
  }
}

TEST(Nfc, NoLetterIsLostBehindAHangulSyllable) {
  // The Unicode Standard, 3.12: trailing consonants begin at U+11A8. utf8proc 2.8 takes U+11A7 for one and drops it.
  const std::string text = "\xEA\xB0\x80\xE1\x86\xA7";
  EXPECT_EQ(to_nfc(text), text);
  EXPECT_EQ(to_nfc("\xE1\x84\x80\xE1\x85\xA1\xE1\x86\xA7\xCC\x81"), text + "\xCC\x81");
}

TEST(Nfc, AMillionMarksInTheWrongOrderAreSorted) {
  std::string text = "a";
  for (int i = 0; i < 500'000; ++i) text += "\xCC\x81\xCC\xA3";  // acute (230) and dot below (220), in turn
  const std::string out = to_nfc(text);
  EXPECT_TRUE(out.starts_with("\xE1\xBA\xA1\xCC\xA3"));  // a with dot below, then the other dots
  EXPECT_TRUE(out.ends_with("\xCC\x81"));
}

}  // namespace
}  // namespace fathom

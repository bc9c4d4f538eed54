#include "sampling/script_mask.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

#include "base/error.h"
#include "text/utf8.h"

namespace fathom {
namespace {

using Random = std::mt19937_64;

/// A vocabulary of all bytes, of `more`, and of a control token, the last.
Tokenizer vocabulary(const std::set<std::string>& more) {
  TokenizerSpec spec;
  spec.pre = "gpt-2";
  size_t next = 0x100;
  std::vector<std::string> letters(256);
  for (size_t b = 0; b < 256; ++b) {
    const bool prints = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
    append_utf8(letters[b], static_cast<char32_t>(prints ? b : next++));
  }
  spec.tokens = letters;
  for (const std::string& bytes : more) {
    if (bytes.size() < 2) continue;
    std::string& token = spec.tokens.emplace_back();
    for (const char c : bytes) token += letters[static_cast<uint8_t>(c)];
  }
  spec.kinds.assign(spec.tokens.size(), TokenKind::kNormal);
  spec.tokens.emplace_back("<终>");
  spec.kinds.push_back(TokenKind::kControl);
  return Tokenizer(spec);
}

std::string random_text(Random& random, size_t characters, const std::vector<char32_t>& of) {
  std::string text;
  for (size_t i = 0; i < characters; ++i) append_utf8(text, of[random() % of.size()]);
  return text;
}
/// Pieces of 1 to 7 bytes that cut characters anywhere.
std::vector<std::string> cut(Random& random, const std::string& text) {
  std::vector<std::string> out;
  for (size_t at = 0; at < text.size(); at += out.back().size()) out.push_back(text.substr(at, 1 + random() % 7));
  return out;
}

const std::vector<char32_t> kAnything = {U'a',  U'Z',  U'é',  U'ß',  U'α',  U'Ω', U'ж',      U'Я',      U'中',
                                         U'文', U'か', U'ナ', U'한', U'글', U'ع', U'ש',      U'न',      U'ก',
                                         U'ა',  U'ա',  U' ',  U'\n', U'.',  U'7', U'。',     U'，',     U'€',
                                         U'→',  U'ℝ',  U'😀',  U'𝒙',  U'𠀀', U'˚', U'\u0301', U'\uFE0F', U'䷀'};
constexpr const char* kLanguages[] = {"en", "ru", "zh", "ja", "ko", "ar", "he", "el", "hi", "th"};

std::vector<char32_t> permitted(ScriptSet scripts) {
  std::vector<char32_t> out;
  for (const char32_t c : kAnything)
    if (scripts.has(script_of(c))) out.push_back(c);
  return out;
}

TEST(Script, OfCharacters) {
  for (const auto& [text, script] : std::vector<std::pair<std::u32string, Script>>{
           {U"azÀÿĀƀḀꞏﬁＡ", Script::kLatin},
           {U"αΩἀϑ", Script::kGreek},
           {U"жЯҐꙀ", Script::kCyrillic},
           {U"אשׁ", Script::kHebrew},
           {U"عپگٱ", Script::kArabic},
           {U"नमी", Script::kDevanagari},
           {U"กิ", Script::kThai},
           {U"中㐀𠀀豈々ㄅ", Script::kHan},
           {U"あアｱー", Script::kKana},
           {U"한ᄒㅎ", Script::kHangul},
           {U"აաአ", Script::kOther},
           {U"09٣१.,;—«»。、！€→ℝ𝒙😀\u0301\u200D\uFE0F \n\t©™²䷀", Script::kCommon}})
    for (const char32_t c : text) EXPECT_EQ(script_of(c), script) << std::hex << static_cast<uint32_t>(c);
}

TEST(Script, OfLanguages) {
  EXPECT_EQ(scripts_of_language("en")->bits(), scripts_of_language("latin")->bits());
  EXPECT_EQ(scripts_of_language("zh-CN")->bits(), scripts_of_language("Han")->bits());
  EXPECT_TRUE(scripts_of_language("ja")->has(Script::kKana));
  EXPECT_TRUE(scripts_of_language("ja")->has(Script::kHan));
  EXPECT_FALSE(scripts_of_language("ko")->has(Script::kHan));
  for (const char* language : kLanguages) EXPECT_TRUE(scripts_of_language(language)->has(Script::kLatin));
  EXPECT_TRUE(scripts_of_language("de")->has(Script::kGreek));
  for (const char* wrong : {"", " ", "-", "e", "en de", "klingon", "latin cyrillic"})
    EXPECT_EQ(scripts_of_language(wrong).has_value(), false) << wrong;
}

TEST(Script, IncompleteTails) {
  EXPECT_EQ(incomplete_tail("a\xE4\xB8"), "\xE4\xB8");
  EXPECT_EQ(incomplete_tail("\xF0\x9F\x98"), "\xF0\x9F\x98");
  EXPECT_EQ(incomplete_tail("中"), "");
  EXPECT_EQ(incomplete_tail("\xE4z"), "");
  EXPECT_EQ(incomplete_tail("\x80\x80\x80\x80"), "");
  EXPECT_EQ(incomplete_tail("\xFF"), "");
  EXPECT_EQ(incomplete_tail(""), "");
}

/// What is drawn at random, of the tokens that are allowed, holds no letter of another script, however the bytes of
/// characters are spread over tokens.
TEST(ScriptLock, NoForbiddenCharacterIsEverPutTogether) {
  Random random(1);
  std::set<std::string> more;
  for (int i = 0; i < 300; ++i)
    for (const std::string& piece : cut(random, random_text(random, 4, kAnything))) more.insert(piece);
  const Tokenizer tokenizer = vocabulary(more);
  const size_t V = tokenizer.vocab_size();
  for (const char* language : kLanguages) {
    const ScriptSet scripts = *scripts_of_language(language);
    ScriptLock lock(std::make_shared<const ScriptMask>(tokenizer, V, scripts));
    std::string text;
    for (int step = 0; step < 3000; ++step) {
      const TokenMask mask = lock.narrowed({});
      TokenId id;
      do id = static_cast<TokenId>(random() % (V - 1));
      while (!mask.allows(static_cast<size_t>(id)));
      text += tokenizer.token_view(id);
      lock.accept(tokenizer.token_view(id));
    }
    size_t characters = 0;
    for (std::string_view rest = text; !rest.empty();) {
      const Utf8Unit unit = next_utf8_unit(rest);
      if (unit.status == Utf8Status::kValid) {
        const char32_t c = decode_valid_utf8(rest.data()).code_point;
        EXPECT_TRUE(scripts.has(script_of(c))) << language << " U+" << std::hex << static_cast<uint32_t>(c);
        ++characters;
      }
      rest.remove_prefix(unit.size);
    }
    EXPECT_GT(characters, 2000u);
  }
}

/// A text of the language's characters may come in whatever pieces; one letter of another script may not.
TEST(ScriptLock, NoPermittedCharacterIsEverKeptFromComing) {
  Random random(2);
  for (const char* language : kLanguages) {
    const ScriptSet scripts = *scripts_of_language(language);
    const std::string text = random_text(random, 400, permitted(scripts));
    const std::vector<std::string> pieces = cut(random, text);
    const Tokenizer tokenizer = vocabulary({pieces.begin(), pieces.end()});
    const auto mask = std::make_shared<const ScriptMask>(tokenizer, tokenizer.vocab_size(), scripts);
    std::map<std::string_view, TokenId> ids;
    for (size_t i = 0; i + 1 < tokenizer.vocab_size(); ++i) {
      const auto id = static_cast<TokenId>(i);
      ids[tokenizer.token_view(id)] = id;
    }
    ScriptLock lock(mask);
    for (const std::string& piece : pieces) {
      ASSERT_TRUE(lock.narrowed({}).allows(static_cast<size_t>(ids.at(piece)))) << language << " " << piece;
      lock.accept(piece);
    }
    for (const char32_t c : kAnything) {
      if (scripts.has(script_of(c))) continue;
      std::string bytes;
      append_utf8(bytes, c);
      ScriptLock byte_by_byte(mask);
      bool all = true;
      for (const char b : bytes) {
        all = all && byte_by_byte.narrowed({}).allows(static_cast<uint8_t>(b));
        byte_by_byte.accept({&b, 1});
      }
      EXPECT_FALSE(all) << language << " " << bytes;
    }
  }
}

TEST(ScriptLock, ControlTokensAndOtherMasks) {
  const Tokenizer tokenizer = vocabulary({"中文", "ab"});
  const size_t V = tokenizer.vocab_size(), han = V - 2, ab = V - 3, control = V - 1;
  ASSERT_EQ(tokenizer.token_view(static_cast<TokenId>(han)), "中文");
  ScriptLock lock(std::make_shared<const ScriptMask>(tokenizer, V + 70, *scripts_of_language("en")));
  EXPECT_FALSE(lock.narrowed({}).allows(han));
  for (const size_t id : {ab, control, V + 69}) EXPECT_TRUE(lock.narrowed({}).allows(id)) << id;
  std::vector<uint64_t> only((V + 70 + 63) / 64);
  only[ab / 64] |= uint64_t{1} << (ab % 64);
  only[han / 64] |= uint64_t{1} << (han % 64);
  const TokenMask both = lock.narrowed({only});
  EXPECT_TRUE(both.allows(ab));
  EXPECT_FALSE(both.allows(han));
  EXPECT_FALSE(both.allows(control));
  only[ab / 64] &= ~(uint64_t{1} << (ab % 64));
  EXPECT_THROW(lock.narrowed({only}), Error);
  // A control token ends a character that is not complete.
  lock.accept("\xE4");
  EXPECT_FALSE(lock.narrowed({}).allows(0xB8));  // U+4E00 to U+4E3F
  lock.accept("");
  EXPECT_TRUE(lock.narrowed({}).allows(0xB8));
}

}  // namespace
}  // namespace fathom

// Which script a character's letters belong to, and the scripts that a language is written in: for answers that are to
// stay in one (sampling/script_mask.h). Pure functions; any thread.
#pragma once
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string_view>

namespace fathom {

enum class Script : uint8_t {
  kCommon,  ///< no letter, or one of no script: punctuation, digits, symbols, spaces, accents by themselves
  kLatin,
  kGreek,
  kCyrillic,
  kHebrew,
  kArabic,
  kDevanagari,
  kThai,
  kHan,
  kKana,
  kHangul,
  kOther,  ///< letters of any other script, and what Unicode 15 does not know
};

/// By ranges of Unicode 15.0's Scripts.txt, rounded to blocks; letters that serve mathematics (U+1D400, U+2100) are of
/// no script, for every language needs them.
Script script_of(char32_t code_point);

/// Several scripts.
class ScriptSet {
 public:
  constexpr ScriptSet(std::initializer_list<Script> scripts) {
    for (const Script s : scripts) bits_ |= bit(s);
  }
  constexpr bool has(Script s) const { return (bits_ & bit(s)) != 0; }
  constexpr uint32_t bits() const { return bits_; }

 private:
  static constexpr uint32_t bit(Script s) { return uint32_t{1} << static_cast<unsigned>(s); }
  uint32_t bits_ = 0;
};

/// What a text of this language consists of: "latin", "cyrillic", "han", "japanese", "korean", "arabic", "hebrew",
/// "greek", "devanagari", "thai", or an ISO 639-1 code of a language that is written so ("de", "zh-CN"). Latin letters
/// belong to every set, for code, names and formulas, and Greek ones to Latin's, for formulas. nullopt: unknown.
std::optional<ScriptSet> scripts_of_language(std::string_view language);
/// The names of scripts above, for messages.
inline constexpr const char* kScriptNames =
    "latin, cyrillic, han, japanese, korean, arabic, hebrew, greek, devanagari, thai, or a language's code such as en";

/// Whether all characters of `bytes` are of these scripts, and an incomplete one at the end can still become one of
/// them. Bytes that are no UTF-8 belong to no script and are taken.
bool keeps_to(ScriptSet scripts, std::string_view bytes);

/// The bytes at the end of `text` that begin a character which they do not complete; at most 3.
std::string_view incomplete_tail(std::string_view text);

}  // namespace fathom

// Unicode classes of characters, as the pre-tokenizers ask for them, in one table of bits per code point; and NFC.
// Built once from utf8proc (categories, decompositions) at first use. Thread-safe.
#pragma once
#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace fathom {

/// Bits of a code point's class. An unassigned or private code point has none.
enum CharClass : uint16_t {
  kLetter = 1,           ///< \p{L}
  kNumber = 2,           ///< \p{N}
  kMark = 4,             ///< \p{M}
  kPunctuation = 8,      ///< \p{P}
  kSymbol = 16,          ///< \p{S}
  kSpace = 32,           ///< White_Space
  kNewline = 64,         ///< CR and LF alone
  kCasedLetter = 128,    ///< DeepSeek-LLM's explicit set of letters
  kListedPunct = 256,    ///< DeepSeek-LLM's explicit set of punctuation (it has A-Z and a-z too)
  kWideIdeograph = 512,  ///< U+0800..U+9FA5, U+AC00..U+D7FF: stage 5 of DeepSeek-LLM, 4 of DeepSeek-Coder
  kKanaOrHan = 1024,     ///< U+4E00..U+9FA5, U+3040..U+30FF: stage 2 of DeepSeek-V3
  kNfcMayChange = 2048,  ///< NFC may change the character, move it, or join it with the one before
};

/// Two-level table: a page of 256 code points each, equal pages shared.
class UnicodeClasses {
 public:
  static const UnicodeClasses& get();
  uint16_t of(char32_t c) const { return bits_[size_t{pages_[c >> 8]} << 8 | (c & 0xFF)]; }

 private:
  UnicodeClasses();
  std::array<uint16_t, 0x1100> pages_{};
  std::vector<uint16_t> bits_;
};

struct CodePointRange {
  char32_t first, last;  ///< inclusive
};
/// DeepSeek-LLM's letters and punctuation (spec/tokenizers.md 2.1), ascending: for the table and for their patterns.
std::span<const CodePointRange> deepseek_llm_letters();
std::span<const CodePointRange> deepseek_llm_punctuation();

/// Whether NFC may differ from `text` (valid UTF-8): never false where it does.
bool nfc_may_change(std::string_view text);

/// Normalisation form C of valid UTF-8. Time is O(n log n), also for long runs of combining marks, and only the runs
/// around characters that may change are looked at. Source: UAX #15.
std::string to_nfc(std::string_view text);

}  // namespace fathom

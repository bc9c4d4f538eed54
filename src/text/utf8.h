// UTF-8: strict validation (no overlong forms, no surrogates, at most U+10FFFF), decoding of text that is known to be
// valid, and the lossy reading of any bytes. The tokenizer and the streaming detokenizer use it. Thread-safe: no state.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace fathom {

enum class Utf8Status : uint8_t {
  kValid,       ///< one whole character
  kInvalid,     ///< bytes that begin no character, whatever follows
  kIncomplete,  ///< the text ends inside a character that may still become valid
};

struct Utf8Unit {
  Utf8Status status;
  uint8_t size;  ///< bytes; of the character, or of the longest prefix that could have begun one (at least 1)
};

/// The unit at the front of `text`, which must not be empty. Source: The Unicode Standard 15.0, table 3-7 and section
/// 3.9, "substitution of maximal subparts".
Utf8Unit next_utf8_unit(std::string_view text);

/// How many bytes from the front of `text` are valid UTF-8: text.size() if all of it is.
size_t valid_utf8_prefix(std::string_view text);

/// `text` with each invalid unit, and an incomplete tail, replaced by one U+FFFD, as Rust's from_utf8_lossy does.
std::string utf8_lossy(std::string_view text);

/// Appends one code point, which must be a Unicode scalar value.
void append_utf8(std::string& out, char32_t code_point);

struct Utf8Char {
  char32_t code_point;
  uint32_t size;  ///< bytes
};

/// The character that begins at `p`, which must point into valid UTF-8.
inline Utf8Char decode_valid_utf8(const char* p) {
  const auto at = [p](int i) { return static_cast<uint32_t>(static_cast<uint8_t>(p[i])); };
  const uint32_t lead = at(0);
  if (lead < 0x80) return {lead, 1};
  if (lead < 0xE0) return {(lead & 0x1F) << 6 | (at(1) & 0x3F), 2};
  if (lead < 0xF0) return {(lead & 0x0F) << 12 | (at(1) & 0x3F) << 6 | (at(2) & 0x3F), 3};
  return {(lead & 0x07) << 18 | (at(1) & 0x3F) << 12 | (at(2) & 0x3F) << 6 | (at(3) & 0x3F), 4};
}

}  // namespace fathom

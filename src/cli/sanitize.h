// What a model writes, made safe for a terminal: no escape sequence, no control character and no change of writing
// direction gets through. Everything from a model, a file or a server that reaches a terminal passes here.
// Not thread-safe; one object per stream of text.
#pragma once
#include <string>
#include <string_view>

namespace fathom {

/// Text comes in any pieces. Newlines and tabs stay; other C0 characters become their Unicode picture (ESC: U+241B),
/// DEL U+2421; C1 characters, marks and overrides of direction (U+200E/F, U+202A-E, U+2066-9) and bytes that are no
/// UTF-8 become U+FFFD; a carriage return is dropped.
class Sanitizer {
 public:
  std::string feed(std::string_view piece);
  /// U+FFFD if the text ended inside a character.
  std::string finish();

 private:
  std::string tail_;  // the beginning of a character, at most 3 bytes
};

/// The same for a text that is complete.
std::string sanitized(std::string_view text);

}  // namespace fathom

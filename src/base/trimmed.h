// A text without what stands at its ends. Called everywhere. Pure; any thread.
#pragma once
#include <string_view>

namespace fathom {

/// `text` without `chars` at both ends, of the same bytes. `chars`: white space as ASCII has it.
constexpr std::string_view trimmed(std::string_view text, std::string_view chars = " \t\r\n\f\v") {
  const size_t begin = text.find_first_not_of(chars);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(chars) + 1 - begin);
}

}  // namespace fathom

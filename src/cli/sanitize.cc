#include "cli/sanitize.h"

#include "text/utf8.h"

namespace fathom {
namespace {

constexpr char32_t kReplacement = 0xFFFD;

bool changes_direction(char32_t c) {
  return c == 0x200E || c == 0x200F || (c >= 0x202A && c <= 0x202E) || (c >= 0x2066 && c <= 0x2069);
}

/// What is shown for a character; 0: nothing.
char32_t shown(char32_t c) {
  if (c == '\n' || c == '\t') return c;
  if (c == '\r') return 0;
  if (c < 0x20) return 0x2400 + c;
  if (c == 0x7F) return 0x2421;
  if ((c >= 0x80 && c < 0xA0) || changes_direction(c)) return kReplacement;
  return c;
}

}  // namespace

std::string Sanitizer::feed(std::string_view piece) {
  std::string text = std::move(tail_) + std::string(piece), out;
  tail_.clear();
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const std::string_view rest = std::string_view(text).substr(at);
    const Utf8Unit unit = next_utf8_unit(rest);
    if (unit.status == Utf8Status::kIncomplete) {
      tail_ = rest;
      break;
    }
    const char32_t c =
        unit.status == Utf8Status::kValid ? shown(decode_valid_utf8(rest.data()).code_point) : kReplacement;
    if (c != 0) append_utf8(out, c);
    at += unit.size;
  }
  return out;
}

std::string Sanitizer::finish() {
  std::string out;
  if (!tail_.empty()) append_utf8(out, kReplacement);
  tail_.clear();
  return out;
}

std::string sanitized(std::string_view text) {
  Sanitizer sanitizer;
  std::string out = sanitizer.feed(text);
  return out + sanitizer.finish();
}

}  // namespace fathom

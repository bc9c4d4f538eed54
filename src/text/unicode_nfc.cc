#include <utf8proc.h>

#include <algorithm>

#include "base/error.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace fathom {
namespace {

/// The canonical order of UAX #15: every run of characters with a combining class, stably sorted by it. utf8proc's own
/// ordering swaps neighbours, which is quadratic in a run that an attacker chooses.
void order_marks(std::vector<utf8proc_int32_t>& chars) {
  const auto combining = [](utf8proc_int32_t c) { return utf8proc_get_property(c)->combining_class; };
  for (auto at = chars.begin(); at != chars.end();) {
    const auto run = std::find_if(at, chars.end(), [&](auto c) { return combining(c) != 0; });
    at = std::find_if(run, chars.end(), [&](auto c) { return combining(c) == 0; });
    std::stable_sort(run, at, [&](auto a, auto b) { return combining(a) < combining(b); });
  }
}

/// Appends NFC(run). `chars` is scratch.
void append_nfc(std::string& out, std::string_view run, std::vector<utf8proc_int32_t>& chars) {
  chars.clear();
  for (size_t at = 0; at < run.size();) {
    const Utf8Char c = decode_valid_utf8(run.data() + at);
    utf8proc_int32_t parts[32];
    int boundary = 0;
    const auto n =
        utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c.code_point), parts, 32, UTF8PROC_DECOMPOSE, &boundary);
    check(n > 0 && n <= 32, "a canonical decomposition has at most 4 characters");
    chars.insert(chars.end(), parts, parts + n);
    at += c.size;
  }
  order_marks(chars);
  const auto composed = utf8proc_normalize_utf32(chars.data(), static_cast<utf8proc_ssize_t>(chars.size()),
                                                 static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE));
  check(composed >= 0, "composition never fails");
  for (utf8proc_ssize_t i = 0; i < composed; ++i)
    append_utf8(out, static_cast<char32_t>(chars[static_cast<size_t>(i)]));
}

/// Offset of the first character at or after `at` whose "may change" bit is `wanted`. `previous` becomes the start of
/// the character before it, or `at` where there is none.
size_t find_changing(std::string_view text, size_t at, bool wanted, size_t* previous) {
  const UnicodeClasses& classes = UnicodeClasses::get();
  *previous = at;
  while (at < text.size()) {
    const Utf8Char c = decode_valid_utf8(text.data() + at);
    if (((classes.of(c.code_point) & kNfcMayChange) != 0) == wanted) break;
    *previous = at;
    at += c.size;
  }
  return at;
}

}  // namespace

bool nfc_may_change(std::string_view text) {
  size_t previous = 0;
  // 0xCC leads U+0300, the first character that NFC can touch.
  const auto first = std::find_if(text.begin(), text.end(), [](char c) { return static_cast<uint8_t>(c) >= 0xCC; });
  return find_changing(text, static_cast<size_t>(first - text.begin()), true, &previous) < text.size();
}

std::string to_nfc(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  std::vector<utf8proc_int32_t> chars;
  for (size_t at = 0; at < text.size();) {
    size_t start = 0, unused = 0;
    const size_t changing = find_changing(text, at, true, &start);
    if (changing == text.size()) start = changing;  // the rest stays as it is
    out.append(text.substr(at, start - at));
    const size_t end = find_changing(text, changing, false, &unused);
    append_nfc(out, text.substr(start, end - start), chars);
    at = end;
  }
  return out;
}

}  // namespace fathom

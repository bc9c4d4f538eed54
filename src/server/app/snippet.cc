#include "server/app/snippet.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>

#include "base/error.h"
#include "text/utf8.h"

namespace fathom {
namespace {

constexpr std::string_view kDots = "…";

bool continues(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

/// Appends what a character counts as in a word; false: it is in none.
bool fold(char32_t c, FoldedWord& word) {
  if (c < 0x80) {
    const bool upper = c >= 'A' && c <= 'Z';
    if (!upper && !(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9')) return false;
    word += upper ? c + ('a' - 'A') : c;
    return true;
  }
  const auto code = static_cast<utf8proc_int32_t>(c);
  const utf8proc_category_t category = utf8proc_category(code);
  const bool mark = category == UTF8PROC_CATEGORY_MN;
  const bool letter = category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
  const bool number = category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO;
  if (!mark && !letter && !number && category != UTF8PROC_CATEGORY_CO) return false;
  std::array<utf8proc_int32_t, 32> parts{};
  int boundary = 0;
  const auto options =
      static_cast<utf8proc_option_t>(UTF8PROC_DECOMPOSE | UTF8PROC_CASEFOLD | UTF8PROC_STRIPMARK | UTF8PROC_STABLE);
  const auto n = utf8proc_decompose_char(code, parts.data(), parts.size(), options, &boundary);
  for (utf8proc_ssize_t i = 0; i < n; ++i) word += static_cast<char32_t>(parts[static_cast<size_t>(i)]);
  return true;
}

struct Word {
  size_t begin, end;  // bytes; begin == end: there is none
  FoldedWord folded;
};

/// The first word at or behind `at`. Of a long one only the beginning is folded: no query is longer.
Word next_word(std::string_view text, size_t at) {
  constexpr size_t kMost = 1000;
  Word word{at, at, {}};
  FoldedWord scratch;
  while (at < text.size()) {
    const size_t size = next_utf8_unit(text.substr(at)).size;
    const bool whole = next_utf8_unit(text.substr(at)).status == Utf8Status::kValid;
    scratch.clear();
    if (!whole || !fold(decode_valid_utf8(text.data() + at).code_point, scratch)) {
      if (word.end > word.begin) return word;
      word.begin = word.end = at += size;
      continue;
    }
    if (word.folded.size() < kMost) word.folded += scratch;
    word.end = at += size;
  }
  return word;
}

bool is_hit(const Word& word, const std::vector<FoldedWord>& words) {
  return std::ranges::any_of(words, [&](const FoldedWord& w) { return word.folded.starts_with(w); });
}

/// The last place at or before `at` where text may be cut: behind `least` at a space, else between characters.
size_t cut_before(std::string_view text, size_t at, size_t least) {
  if (at >= text.size()) return text.size();
  if (const size_t space = text.find_last_of(" \t\r\n", at); space != std::string_view::npos && space > least)
    return space;
  while (at > 0 && continues(text[at])) --at;
  return at;
}

}  // namespace

std::vector<FoldedWord> folded_words(std::string_view text) {
  std::vector<FoldedWord> out;
  for (Word word = next_word(text, 0); word.end > word.begin; word = next_word(text, word.end))
    if (!word.folded.empty() && std::ranges::find(out, word.folded) == out.end()) out.push_back(word.folded);
  return out;
}

std::optional<std::string> snippet(std::string_view text, const std::vector<FoldedWord>& words, size_t bytes) {
  Word hit = next_word(text, 0);
  while (hit.end > hit.begin && !is_hit(hit, words)) hit = next_word(text, hit.end);
  if (hit.end == hit.begin) return std::nullopt;
  size_t begin = 0;
  if (const size_t before = bytes / 4; hit.begin > before) {
    begin = hit.begin - before;
    if (const size_t space = text.find_first_of(" \t\r\n", begin); space < hit.begin) begin = space + 1;
    while (begin < hit.begin && continues(text[begin])) ++begin;
  }
  const size_t end = cut_before(text, begin + bytes, hit.begin);
  std::string out(begin > 0 ? kDots : "");
  size_t at = begin;
  for (Word word = std::move(hit); word.begin < end && word.end > word.begin; word = next_word(text, word.end)) {
    if (!is_hit(word, words)) continue;
    out += text.substr(at, word.begin - at);
    at = std::min(word.end, end);
    out += cat('\1', text.substr(word.begin, at - word.begin), '\2');
  }
  return cat(out, text.substr(at, end - at), end < text.size() ? kDots : "");
}

std::string beginning(std::string_view text, size_t bytes) {
  const size_t end = cut_before(text, bytes, 0);
  return cat(text.substr(0, end), end < text.size() ? kDots : "");
}

}  // namespace fathom

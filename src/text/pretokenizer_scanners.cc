#include "text/pretokenizer_scanners.h"

#include "text/unicode.h"
#include "text/utf8.h"

namespace fathom {
namespace {

using Stage = PretokenizerStage;
using Emit = Pretokenizer::Emit;

constexpr uint16_t kVisible = kLetter | kNumber | kSpace;  // [^\s\p{L}\p{N}] is what has none of these

/// A stretch of text with the class lookups that all scanners share. Offsets are in bytes.
class Text {
 public:
  struct Unit {
    uint16_t bits;
    uint32_t size;
  };
  explicit Text(std::string_view text) : text_(text), classes_(UnicodeClasses::get()) {}
  size_t size() const { return text_.size(); }
  char byte(size_t at) const { return at < size() ? text_[at] : '\0'; }
  Unit unit(size_t at) const {
    const Utf8Char c = decode_valid_utf8(text_.data() + at);
    return {classes_.of(c.code_point), c.size};
  }
  bool is(size_t at, uint16_t mask) const { return at < size() && (unit(at).bits & mask); }
  bool is_none_of(size_t at, uint16_t mask) const { return at < size() && !(unit(at).bits & mask); }
  /// The end of the run of at most `limit` characters in `mask` from `at`.
  size_t run(size_t at, uint16_t mask, uint32_t limit = Stage::kNoLimit) const {
    for (; limit > 0 && at < size(); --limit) {
      const Unit c = unit(at);
      if (!(c.bits & mask)) break;
      at += c.size;
    }
    return at;
  }
  size_t run_of_others(size_t at, uint16_t mask) const {
    while (at < size()) {
      const Unit c = unit(at);
      if (c.bits & mask) break;
      at += c.size;
    }
    return at;
  }
  std::string_view slice(size_t from, size_t to) const { return text_.substr(from, to - from); }

 private:
  std::string_view text_;
  const UnicodeClasses& classes_;
};

/// `'s|'t|'re|'ve|'m|'ll|'d` at `at`: the end, or `at`. Without case, U+017F (long s) counts as s too.
size_t contraction(const Text& text, size_t at, bool ignore_case) {
  if (text.byte(at) != '\'') return at;
  const auto letter = [&](size_t i) {
    const char c = text.byte(i);
    return ignore_case && c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  };
  const char first = letter(at + 1), second = letter(at + 2);
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return at + 2;
  if ((first == 'r' || first == 'v') && second == 'e') return at + 3;
  if (first == 'l' && second == 'l') return at + 3;
  if (ignore_case && first == '\xC5' && second == '\xBF') return at + 3;
  return at;
}

/// `\s+(?!\S)|\s+` at a white-space character, after `\s*[\r\n]+` where `newlines_first`.
size_t white_space(const Text& text, size_t at, bool newlines_first) {
  size_t end = at, last = at, after_newline = at;
  while (end < text.size()) {
    const Text::Unit c = text.unit(end);
    if (!(c.bits & kSpace)) break;
    last = end;
    end += c.size;
    if (c.bits & kNewline) after_newline = end;
  }
  if (newlines_first && after_newline > at) return after_newline;
  return end == text.size() || last == at ? end : last;  // the last one is left for the word behind it
}

/// The three word scanners: the end of the match that begins at `at`, or `at` if none does.
size_t gpt2_word(const Text& text, size_t at) {
  if (const size_t end = contraction(text, at, false); end > at) return end;
  const size_t body = text.byte(at) == ' ' ? at + 1 : at;
  if (text.is(body, kLetter)) return text.run(body, kLetter);
  if (text.is(body, kNumber)) return text.run(body, kNumber);
  if (text.is_none_of(body, kVisible)) return text.run_of_others(body, kVisible);
  return white_space(text, at, false);
}

size_t llama_word(const Text& text, size_t at, uint32_t max_digits) {
  if (const size_t end = contraction(text, at, true); end > at) return end;
  const Text::Unit c = text.unit(at);
  if (c.bits & kLetter) return text.run(at, kLetter);
  if (c.bits & kNumber) return text.run(at, kNumber, max_digits);
  if (!(c.bits & kNewline) && text.is(at + c.size, kLetter)) return text.run(at + c.size, kLetter);
  const size_t body = text.byte(at) == ' ' ? at + 1 : at;
  if (text.is_none_of(body, kVisible)) return text.run(text.run_of_others(body, kVisible), kNewline);
  return white_space(text, at, true);
}

bool is_ascii_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

size_t deepseek_word(const Text& text, size_t at) {
  const Text::Unit c = text.unit(at);
  if (c.size == 1 && (c.bits & (kPunctuation | kSymbol)) && is_ascii_letter(text.byte(at + 1))) {
    size_t end = at + 2;
    while (is_ascii_letter(text.byte(end))) ++end;
    return end;
  }
  constexpr uint16_t kWord = kLetter | kMark, kSign = kPunctuation | kSymbol;
  if (c.bits & kWord) return text.run(at, kWord);
  if (!(c.bits & (kNewline | kSign)) && text.is(at + c.size, kWord)) return text.run(at + c.size, kWord);
  const size_t body = text.byte(at) == ' ' ? at + 1 : at;
  if (text.is(body, kSign)) return text.run(text.run(body, kSign), kNewline);
  return c.bits & kSpace ? white_space(text, at, true) : at;
}

/// Cuts by a scanner that gives the end of the match at an offset, or the offset itself where nothing matches.
template <class Word, class Next>
void split_words(const Text& text, const Word& word, const Next& next) {
  size_t gap = 0, at = 0;
  while (at < text.size()) {
    const size_t end = word(at);
    if (end == at) {
      at += text.unit(at).size;
      continue;
    }
    if (gap < at) next(text.slice(gap, at));
    next(text.slice(at, end));
    gap = at = end;
  }
  if (gap < at) next(text.slice(gap, at));
}

size_t run_match(const Text& text, size_t at, const Stage& stage) {
  const Text::Unit c = text.unit(at);
  if (stage.optional_space && (c.bits & kSpace) && text.is(at + c.size, stage.mask))
    return text.run(at + c.size, stage.mask, stage.max_run);
  return c.bits & stage.mask ? text.run(at, stage.mask, stage.max_run) : at;
}

template <class Next>
void split_trailing_space(const Text& text, const Next& next) {
  size_t body = 0;  // the end of the last character that is not white space
  for (size_t at = 0; at < text.size();) {
    const Text::Unit c = text.unit(at);
    at += c.size;
    if (!(c.bits & kSpace)) body = at;
  }
  if (body > 0) next(text.slice(0, body));
  if (body < text.size()) next(text.slice(body, text.size()));
}

}  // namespace

void split_by_stages(std::string_view whole, std::span<const PretokenizerStage> stages, Emit emit) {
  if (stages.empty()) {
    if (!whole.empty()) emit(whole);
    return;
  }
  const Stage& stage = stages[0];
  const auto rest = stages.subspan(1);
  const auto next = [&](std::string_view piece) {
    if (rest.empty()) {
      emit(piece);
    } else {
      split_by_stages(piece, rest, emit);
    }
  };
  const Text text(whole);
  switch (stage.kind) {
    case Stage::Kind::kRuns:
      return split_words(
          text, [&](size_t at) { return run_match(text, at, stage); }, next);
    case Stage::Kind::kTrailingSpace: return split_trailing_space(text, next);
    case Stage::Kind::kGpt2Words:
      return split_words(
          text, [&](size_t at) { return gpt2_word(text, at); }, next);
    case Stage::Kind::kLlamaWords:
      return split_words(
          text, [&](size_t at) { return llama_word(text, at, stage.max_run); }, next);
    case Stage::Kind::kDeepSeekWords:
      return split_words(
          text, [&](size_t at) { return deepseek_word(text, at); }, next);
  }
}

}  // namespace fathom

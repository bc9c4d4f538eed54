#include "text/detokenizer.h"

#include "text/utf8.h"

namespace fathom {
namespace {

/// Where an incomplete character begins at the end of `text`, or text.size().
size_t incomplete_tail(std::string_view text) {
  for (size_t back = 1; back <= 3 && back <= text.size(); ++back) {
    const std::string_view end = text.substr(text.size() - back);
    if ((static_cast<uint8_t>(end[0]) & 0xC0) == 0x80) continue;  // not the start of a character
    const Utf8Unit unit = next_utf8_unit(end);
    return unit.status == Utf8Status::kIncomplete ? text.size() - back : text.size();
  }
  return text.size();
}

}  // namespace

StreamDetokenizer::StreamDetokenizer(const Tokenizer& tokenizer, bool skip_special)
    : tokenizer_(tokenizer), skip_special_(skip_special) {}

std::string StreamDetokenizer::feed(std::span<const TokenId> ids) {
  std::string bytes = tail_;
  for (const TokenId id : ids)
    if (!skip_special_ || tokenizer_.kind(id) != TokenKind::kControl) bytes += tokenizer_.token_view(id);
  const size_t cut = incomplete_tail(bytes);
  tail_ = bytes.substr(cut);
  bytes.resize(cut);
  return utf8_lossy(bytes);
}

std::string StreamDetokenizer::flush() {
  std::string last = utf8_lossy(tail_);
  tail_.clear();
  return last;
}

}  // namespace fathom

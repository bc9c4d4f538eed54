// A place in a text that is being parsed: what the parsers of grammars and of patterns have in common. One thread.
#pragma once
#include <cstddef>
#include <string_view>

namespace fathom {

class TextCursor {
 protected:
  explicit TextCursor(std::string_view text) : text_(text) {}
  bool at_end() const { return at_ == text_.size(); }
  char peek(size_t ahead = 0) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0'; }
  /// Goes on behind `what`, if that stands here.
  bool take(std::string_view what) {
    if (text_.substr(at_, what.size()) != what) return false;
    at_ += what.size();
    return true;
  }

  const std::string_view text_;
  size_t at_ = 0;
};

}  // namespace fathom

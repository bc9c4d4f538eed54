#include "cli/markdown_inline.h"

#include <cmark.h>

#include <algorithm>
#include <cctype>
#include <memory>
#include <vector>

#include "cli/sanitize.h"
#include "text/utf8.h"

namespace fathom {
namespace {

constexpr size_t kLongestOpenSpan = 600;  // bytes; what is open longer is no span

bool is_blank(char c) { return c == ' ' || c == '\t'; }
bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) || static_cast<unsigned char>(c) >= 0x80; }

size_t run_length(std::string_view text, size_t at) {
  size_t end = at;
  while (end < text.size() && text[end] == text[at]) ++end;
  return end - at;
}

/// The closing mark of a formula that begins at `at`: "\(", "\[", "$$"; empty: none begins.
std::string_view formula_end(std::string_view text, size_t at) {
  const std::string_view start = text.substr(at, 2);
  return start == "\\(" ? "\\)" : start == "\\[" ? "\\]" : start == "$$" ? "$$" : "";
}

/// Walks over a line and knows what is open.
class InlineScan {
 public:
  explicit InlineScan(std::string_view text) : text_(text) {}

  size_t safe_cut() {
    while (at_ < text_.size() && step()) {
    }
    return cut_;
  }

 private:
  /// One construct. False: it needs text that is not there yet.
  bool step() {
    const char c = text_[at_];
    if (!formula_end(text_, at_).empty()) return skip_to(formula_end(text_, at_), 2);
    if (c == '\\') return skip(2);
    if (c == '`') return code_span();
    if (c == '*' || c == '_') return emphasis();
    if (c == '<') return angle();
    if (c == '[') open_.push_back('[');
    if (c == ']') return bracket_end();
    return plain();
  }

  bool plain() {
    const char c = text_[at_];
    if (static_cast<unsigned char>(c) >= 0x80) {
      const Utf8Char character = decode_valid_utf8(text_.data() + at_);
      at_ += character.size;
      if (open_.empty() && character.code_point >= 0x2E80) cut_ = at_;
      return true;
    }
    ++at_;
    if (open_.empty() && is_blank(c)) cut_ = at_;
    return true;
  }

  bool skip(size_t n) {
    if (at_ + n > text_.size()) return false;
    at_ += n;
    return true;
  }

  bool skip_to(std::string_view end, size_t from) {
    const size_t found = text_.find(end, at_ + from);
    if (found == std::string_view::npos) return false;
    at_ = found + end.size();
    return true;
  }

  bool code_span() {
    const size_t n = run_length(text_, at_);
    for (size_t i = at_ + n; i < text_.size();) {
      const size_t m = text_[i] == '`' ? run_length(text_, i) : 0;
      if (m == n && i + m < text_.size()) return skip(i + m - at_);
      i += m ? m : 1;
    }
    return false;
  }

  bool emphasis() {
    const size_t n = run_length(text_, at_);
    if (at_ + n == text_.size()) return false;
    const char mark = text_[at_], before = at_ == 0 ? ' ' : text_[at_ - 1], after = text_[at_ + n];
    bool opens = !is_blank(after), closes = !is_blank(before);
    if (mark == '_') opens = opens && !is_word(before), closes = closes && !is_word(after);
    size_t left = n;
    while (closes && left > 0 && !open_.empty() && open_.back() == mark) open_.pop_back(), --left;
    if (opens) open_.append(left, mark);
    return skip(n);
  }

  bool angle() {
    const size_t end = text_.find_first_of("> \t", at_ + 1);
    if (end == std::string_view::npos) return false;
    return skip(text_[end] == '>' ? end + 1 - at_ : 1);
  }

  bool bracket_end() {
    if (at_ + 1 == text_.size()) return false;
    const size_t open = open_.rfind('[');
    if (open != std::string::npos) open_.resize(open);
    return text_[at_ + 1] == '(' && open != std::string::npos ? skip_to(")", 2) : skip(1);
  }

  std::string_view text_;
  size_t at_ = 0, cut_ = 0;
  std::string open_;  // the marks that are open, the innermost last
};

struct FreeNode {
  void operator()(cmark_node* node) const { cmark_node_free(node); }
  void operator()(cmark_iter* iter) const { cmark_iter_free(iter); }
};

class InlineRenderer {
 public:
  InlineRenderer(const Styles& styles, std::string_view base) : styles_(styles), base_(base) {}

  StyledText take() { return std::move(out_); }

  void literal(std::string_view text) {
    const std::string safe = sanitized(text);
    out_.text += safe;
    out_.width += display_width(safe);
  }

  /// A piece of a line is no paragraph: "- x" or "# x" in it must stay. A word in front of it keeps cmark from seeing
  /// a block, and the blank lets emphasis begin.
  void markdown(std::string_view text) {
    const size_t end = text.find_last_not_of(" \t");
    const std::string_view trailing = end == std::string_view::npos ? text : text.substr(end + 1);
    if (end != std::string_view::npos) {
      const std::string source = "x " + std::string(text.substr(0, end + 1));
      skip_ = 2;
      const std::unique_ptr<cmark_node, FreeNode> root(
          cmark_parse_document(source.data(), source.size(), CMARK_OPT_DEFAULT));
      const std::unique_ptr<cmark_iter, FreeNode> iter(cmark_iter_new(root.get()));
      for (cmark_event_type event; (event = cmark_iter_next(iter.get())) != CMARK_EVENT_DONE;)
        node(cmark_iter_get_node(iter.get()), event == CMARK_EVENT_ENTER);
    }
    literal(trailing);
  }

 private:
  void node(cmark_node* node, bool enter) {
    switch (cmark_node_get_type(node)) {
      case CMARK_NODE_TEXT:
      case CMARK_NODE_HTML_INLINE: text(cmark_node_get_literal(node)); break;
      case CMARK_NODE_SOFTBREAK:
      case CMARK_NODE_LINEBREAK: literal(" "); break;
      case CMARK_NODE_CODE:
        span(styles_.code(), true), text(cmark_node_get_literal(node)), span(styles_.code(), false);
        break;
      case CMARK_NODE_EMPH: span(styles_.italic(), enter); break;
      case CMARK_NODE_STRONG: span(styles_.bold(), enter); break;
      case CMARK_NODE_LINK:
      case CMARK_NODE_IMAGE: link(cmark_node_get_url(node), enter); break;
      default: break;
    }
  }

  void text(const char* c_text) {
    std::string_view text = c_text ? c_text : "";
    const size_t dropped = std::min(skip_, text.size());
    skip_ -= dropped;
    text.remove_prefix(dropped);
    literal(text);
  }

  void span(const char* style, bool enter) {
    if (enter) {
      active_.push_back(style);
      out_.text += style;
      return;
    }
    active_.pop_back();
    out_.text += styles_.reset();
    out_.text += base_;
    for (const char* s : active_) out_.text += s;
  }

  void link(const char* url, bool enter) {
    if (enter) link_start_ = out_.text.size();
    span(styles_.underline(), enter);
    const std::string target = sanitized(url ? url : "");
    if (!enter && !target.empty() && out_.text.find(target, link_start_) == std::string::npos)
      literal(" (" + target + ")");
  }

  const Styles& styles_;
  std::string_view base_;
  StyledText out_;
  std::vector<const char*> active_;
  size_t skip_ = 0, link_start_ = 0;
};

}  // namespace

size_t inline_safe_cut(std::string_view text) {
  const size_t cut = InlineScan(text).safe_cut();
  if (text.size() - cut <= kLongestOpenSpan) return cut;
  const size_t blank = text.find_last_of(" \t");
  return blank == std::string_view::npos || blank < cut ? text.size() : blank + 1;
}

StyledText render_inline(std::string_view text, const Styles& styles, std::string_view base) {
  InlineRenderer renderer(styles, base);
  while (!text.empty()) {
    size_t at = 0, end = std::string_view::npos;
    for (; at < text.size() && end == std::string_view::npos; ++at) {  // the next complete formula
      const std::string_view closing = formula_end(text, at);
      if (!closing.empty()) end = text.find(closing, at + 2);
      if (end != std::string_view::npos) break;
      if (text[at] == '\\') ++at;
    }
    if (at > text.size()) at = text.size();
    if (at > 0) renderer.markdown(text.substr(0, at));
    if (end == std::string_view::npos) break;
    renderer.literal(text.substr(at, end + 2 - at));
    text.remove_prefix(end + 2);
  }
  return renderer.take();
}

}  // namespace fathom

#include "cli/markdown.h"

#include <algorithm>
#include <cctype>
#include <utility>

#include "cli/markdown_inline.h"

namespace fathom {
namespace {

constexpr size_t kPieceBytes = 256;        // the work per piece grows with what is pending: long pieces are cut
constexpr size_t kLongestHeldLine = 4096;  // bytes of a line that is held back to know what it is

bool is_digit(char c) { return std::isdigit(static_cast<unsigned char>(c)) != 0; }

size_t run_at_front(std::string_view text) {
  size_t n = 0;
  while (n < text.size() && text[n] == text[0]) ++n;
  return n;
}

/// A line of three or more '-', '*' or '_', or the beginning of one.
bool may_be_rule(std::string_view line) {
  return (line[0] == '-' || line[0] == '*' || line[0] == '_') &&
         line.find_first_not_of(std::string{line[0], ' ', '\t'}) == std::string_view::npos;
}
bool is_rule(std::string_view line) { return may_be_rule(line) && std::count(line.begin(), line.end(), line[0]) >= 3; }

/// Bytes of "12. " or "12) "; 0: none begins here; npos: the line is too short to tell.
size_t ordered_marker(std::string_view line) {
  size_t n = 0;
  while (n < line.size() && n < 9 && is_digit(line[n])) ++n;
  if (n == 0) return 0;
  if (n == line.size()) return std::string_view::npos;
  if (line[n] != '.' && line[n] != ')') return 0;
  if (n + 1 == line.size()) return std::string_view::npos;
  return line[n + 1] == ' ' ? n + 2 : 0;
}

size_t char_boundary(std::string_view text, size_t at) {
  while (at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) ++at;
  return at;
}

}  // namespace

MarkdownStream::MarkdownStream(Styles styles, std::function<size_t()> columns)
    : styles_(styles), columns_(std::move(columns)) {}

std::string MarkdownStream::feed(std::string_view piece) {
  if (!styles_.on()) return std::string(piece);
  while (!piece.empty()) {
    const size_t n = char_boundary(piece, std::min(kPieceBytes, piece.size()));
    pending_ += piece.substr(0, n);
    piece.remove_prefix(n);
    while (!pending_.empty() && advance(false)) {
    }
  }
  return std::exchange(out_, {});
}

std::string MarkdownStream::finish() {
  while (!pending_.empty() && advance(true)) {
  }
  end_table();
  if (place_ == Place::kFenceLine || !base_.empty()) out_ += styles_.reset();
  place_ = Place::kLineStart;
  base_.clear();
  return std::exchange(out_, {});
}

/// One step. False: more text is needed (never where `last`).
bool MarkdownStream::advance(bool last) {
  switch (place_) {
    case Place::kLineStart: return start_line(last);
    case Place::kInline: return inline_text(last);
    case Place::kFence: return fence_start(last);
    case Place::kFenceLine: return fence_line(last);
    case Place::kFormula: return formula_line(last);
    case Place::kTable: return table_line(last);
  }
  return false;
}

/// Takes a whole line with its newline out of pending_. False: it is not whole.
bool MarkdownStream::take_line(bool last, std::string& line) {
  const size_t end = pending_.find('\n');
  if (end == std::string::npos && !last && pending_.size() < kLongestHeldLine) return false;
  line = pending_.substr(0, end);
  pending_.erase(0, end == std::string::npos ? end : end + 1);
  return true;
}

bool MarkdownStream::start_line(bool last) {
  const size_t end = pending_.find('\n');
  const bool whole = end != std::string::npos || last || pending_.size() > kLongestHeldLine;
  const std::string_view line = std::string_view(pending_).substr(0, end);
  const size_t indent = line.find_first_not_of(" \t");
  if (indent == std::string_view::npos) {
    if (!whole) return false;
    emit_prefix(line.size(), "");
    place_ = Place::kInline;  // an empty line
    return true;
  }
  if (indent > 0) {
    emit_prefix(indent, std::string(line.substr(0, indent)));
    return true;
  }
  return start_block(line, whole);
}

/// Decides what a line is that begins without blanks. False: it is too short to tell.
bool MarkdownStream::start_block(std::string_view line, bool whole) {
  const char c = line[0];
  const size_t run = run_at_front(line);
  if (may_be_rule(line)) {
    if (!whole) return false;
    if (is_rule(line)) return show_rule(line.size()), true;
  }
  if (!whole && line.size() < 2 && std::string_view(">-*+\\$").find(c) != std::string_view::npos) return false;
  if (c == '`' || c == '~') {
    if (!whole && (run == line.size() || run >= 3)) return false;
    if (run >= 3 && (c == '~' || line.find('`', run) == std::string_view::npos)) return open_fence(), true;
  } else if (c == '#') {
    if (!whole && run == line.size()) return false;
    if (run <= 6 && run < line.size() && line[run] == ' ') return show_heading(run + 1), true;
  } else if (c == '|' && base_.empty()) {
    place_ = Place::kTable;
    return true;
  } else if (line.starts_with("\\[") || line.starts_with("$$")) {
    formula_end_ = c == '$' ? "$$" : "\\]";
    place_ = Place::kFormula;
    return true;
  }
  return start_container(line, whole);
}

/// Quotes and list items: their mark is shown, and what follows may be any block again. Else it is a line of text.
bool MarkdownStream::start_container(std::string_view line, bool whole) {
  const char c = line[0];
  const size_t marker = ordered_marker(line);
  if (c == '>') {
    base_ += styles_.dim();
    emit_prefix(line.size() > 1 && line[1] == ' ' ? 2 : 1, std::string(styles_.dim()) + "│ ");
  } else if ((c == '-' || c == '*' || c == '+') && line.size() > 1 && line[1] == ' ') {
    emit_prefix(2, "• ");
  } else if (marker == std::string_view::npos && !whole) {
    return false;
  } else if (marker != 0 && marker != std::string_view::npos) {
    emit_prefix(marker, std::string(line.substr(0, marker)));
  } else {
    place_ = Place::kInline;
  }
  return true;
}

void MarkdownStream::show_rule(size_t bytes) {
  std::string shown = styles_.dim();
  for (size_t i = 0, n = std::min<size_t>(columns_() - 1, 40); i < n; ++i) shown += "─";
  emit_prefix(bytes, shown + styles_.reset());
  place_ = Place::kInline;
}

void MarkdownStream::show_heading(size_t marker_bytes) {
  base_ += styles_.heading();
  emit_prefix(marker_bytes, styles_.heading());
  place_ = Place::kInline;
}

/// `bytes` of the source are shown as `shown`.
void MarkdownStream::emit_prefix(size_t bytes, const std::string& shown) {
  out_ += shown;
  pending_.erase(0, bytes);
}

bool MarkdownStream::inline_text(bool last) {
  const size_t end = pending_.find('\n');
  const bool ends = end != std::string::npos;
  std::string_view text = std::string_view(pending_).substr(0, end);
  const size_t take = ends || last ? text.size() : inline_safe_cut(text);
  if (take == 0 && !ends) return false;
  text = text.substr(0, take);
  if (ends) text = text.substr(0, text.find_last_not_of(" \t") + 1);
  out_ += render_inline(text, styles_, base_).text;
  pending_.erase(0, take + (ends ? 1 : 0));
  if (ends) end_line();
  return true;
}

void MarkdownStream::end_line() {
  if (!base_.empty()) out_ += styles_.reset();
  base_.clear();
  out_ += '\n';
  place_ = Place::kLineStart;
}

void MarkdownStream::open_fence() {
  std::string line;
  take_line(true, line);
  fence_char_ = line[0];
  fence_length_ = run_at_front(line);
  const std::string language = line.substr(std::min(line.find_first_not_of(" \t", fence_length_), line.size()));
  out_ += styles_.dim() + std::string("╭── ") + language + styles_.reset() + "\n";
  place_ = Place::kFence;
}

/// At the beginning of a line of code: is it the fence that closes?
bool MarkdownStream::fence_start(bool last) {
  const size_t end = pending_.find('\n'), first = pending_.find_first_not_of(' ');
  const bool whole = end != std::string::npos || last;
  if (first == std::string::npos && !whole) return false;
  if (first != std::string::npos && pending_[first] == fence_char_) {
    if (!whole && pending_.size() < kLongestHeldLine) return false;
    const std::string_view line =
        std::string_view(pending_).substr(first, end == std::string::npos ? end : end - first);
    const size_t run = run_at_front(line);
    if (run >= fence_length_ && line.find_first_not_of(" \t", run) == std::string_view::npos) {
      std::string dropped;
      take_line(true, dropped);
      out_ += styles_.dim() + std::string("╰──") + styles_.reset();
      if (end != std::string::npos) out_ += '\n';
      base_.clear();
      place_ = Place::kLineStart;
      return true;
    }
  }
  out_ += styles_.code();
  place_ = Place::kFenceLine;
  return true;
}

/// Inside a line of code: all of it can be shown.
bool MarkdownStream::fence_line(bool) {
  const size_t end = pending_.find('\n');
  out_ += pending_.substr(0, end);
  pending_.erase(0, end == std::string::npos ? end : end + 1);
  if (end == std::string::npos) return false;
  out_ += styles_.reset() + std::string("\n");
  place_ = Place::kFence;
  return true;
}

/// A formula in lines of its own stays as it is.
bool MarkdownStream::formula_line(bool last) {
  std::string line;
  const bool ended = pending_.find('\n') != std::string::npos;
  if (!take_line(last, line)) return false;
  out_ += line;
  const bool opens = line.starts_with(formula_end_[0] == '$' ? "$$" : "\\[");
  const bool closes = line.find(formula_end_, opens && !formula_open_ ? 2 : 0) != std::string::npos;
  formula_open_ = !closes;
  if (ended) out_ += '\n';
  if (closes) {
    if (!base_.empty()) out_ += styles_.reset();
    base_.clear();
    place_ = Place::kLineStart;
  }
  return true;
}

bool MarkdownStream::table_line(bool last) {
  if (pending_[0] != '|') {
    end_table();
    place_ = Place::kLineStart;
    return true;
  }
  std::string line;
  if (!take_line(last, line)) return false;
  table_.add(line);
  if (table_.full()) end_table();
  return true;
}

void MarkdownStream::end_table() {
  if (!table_.empty()) out_ += table_.render(styles_, columns_());
}

}  // namespace fathom

// Markdown for a terminal while it is written: text comes in pieces, styled text comes back as soon as it cannot change
// any more, so nothing is ever redrawn. Blocks are told apart line by line; a table waits until it is whole. Chat and
// run write a model's answer through this. Not thread-safe.
#pragma once
#include <functional>
#include <string>
#include <string_view>

#include "cli/markdown_table.h"
#include "cli/terminal.h"

namespace fathom {

class MarkdownStream {
 public:
  /// `columns` tells the width of the terminal now. Without styles the text passes through as it is: Markdown without
  /// its marks and without styles would be hard to read.
  MarkdownStream(Styles styles, std::function<size_t()> columns);

  /// The next piece, in whole characters and sanitised. Returns what can be written now.
  std::string feed(std::string_view piece);
  /// The text is complete: returns the rest, and ends a style that is open.
  std::string finish();

 private:
  enum class Place { kLineStart, kInline, kFence, kFenceLine, kFormula, kTable };

  bool advance(bool last);
  bool start_line(bool last);
  bool start_block(std::string_view line, bool whole);
  bool start_container(std::string_view line, bool whole);
  void show_rule(size_t bytes);
  void show_heading(size_t marker_bytes);
  bool inline_text(bool last);
  bool fence_start(bool last);
  bool fence_line(bool last);
  bool formula_line(bool last);
  bool table_line(bool last);
  void open_fence();
  void end_table();
  void emit_prefix(size_t bytes, const std::string& shown);
  void end_line();
  bool take_line(bool last, std::string& line);

  Styles styles_;
  std::function<size_t()> columns_;
  Place place_ = Place::kLineStart;
  std::string pending_, out_;
  std::string base_;              // the style of the line: heading, quote
  char fence_char_ = '`';         // of the open fence
  size_t fence_length_ = 0;       // of the open fence
  const char* formula_end_ = "";  // of the open formula
  bool formula_open_ = false;     // a line of it was seen
  MarkdownTable table_;
};

}  // namespace fathom

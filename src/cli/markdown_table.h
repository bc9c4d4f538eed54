// Tables of Markdown (GitHub's form) for a terminal: lines come in, rows with aligned columns come out.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "cli/terminal.h"

namespace fathom {

class MarkdownTable {
 public:
  static constexpr size_t kMaxBytes = 1 << 16;  ///< held back at most; a longer table comes in parts

  bool empty() const { return lines_.empty(); }
  bool full() const { return bytes_ >= kMaxBytes; }
  /// A line that begins with '|'.
  void add(std::string_view line);
  /// The rows so far, each with its newline, aligned where they fit into `columns`; the table is empty then. Lines
  /// without a delimiter row (|---|) are no table and are rendered one by one.
  std::string render(const Styles& styles, size_t columns);

 private:
  std::vector<std::string> lines_;
  size_t bytes_ = 0;
};

/// The cells between unescaped '|' outside code spans, without surrounding blanks.
std::vector<std::string> table_cells(std::string_view line);

}  // namespace fathom

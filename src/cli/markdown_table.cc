#include "cli/markdown_table.h"

#include <algorithm>

#include "base/trimmed.h"
#include "cli/markdown_inline.h"

namespace fathom {
namespace {

enum class Align { kLeft, kCentre, kRight };

constexpr std::string_view kBlank = " \t";

/// "---", ":--", "--:", ":-:"
bool is_delimiter(const std::string& cell) {
  return cell.find('-') != std::string::npos && cell.find_first_not_of("-:") == std::string::npos;
}

Align alignment(const std::string& cell) {
  if (cell.empty() || cell.back() != ':') return Align::kLeft;
  return cell.front() == ':' ? Align::kCentre : Align::kRight;
}

using Row = std::vector<StyledText>;

std::vector<size_t> column_widths(const std::vector<Row>& rows) {
  std::vector<size_t> widths;
  for (const Row& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].width);
  }
  return widths;
}

std::string padded(const StyledText& cell, size_t width, Align align) {
  const size_t room = width - std::min(width, cell.width);
  const size_t left = align == Align::kLeft ? 0 : align == Align::kRight ? room : room / 2;
  return std::string(left, ' ') + cell.text + std::string(room - left, ' ');
}

std::string rule(const std::vector<size_t>& widths, const Styles& styles) {
  std::string out = styles.dim();
  for (size_t i = 0; i < widths.size(); ++i) {
    if (i > 0) out += "┼─";
    for (size_t k = 0; k < widths[i] + (i + 1 < widths.size() ? 1 : 0); ++k) out += "─";
  }
  return out + styles.reset() + "\n";
}

std::string row_text(const Row& row, const std::vector<size_t>& widths, const std::vector<Align>& aligns, bool fits,
                     const Styles& styles) {
  const std::string bar = std::string(styles.dim()) + " │ " + styles.reset();
  std::string out;
  for (size_t i = 0; i < (fits ? widths.size() : row.size()); ++i) {
    if (i > 0) out += i == 0 ? "" : bar;
    const StyledText cell = i < row.size() ? row[i] : StyledText{};
    out += fits ? padded(cell, widths[i], i < aligns.size() ? aligns[i] : Align::kLeft) : cell.text;
  }
  return out.substr(0, out.find_last_not_of(' ') + 1) + "\n";
}

}  // namespace

std::vector<std::string> table_cells(std::string_view line) {
  std::vector<std::string> cells;
  std::string cell;
  bool in_code = false;
  const std::string text(trimmed(line, kBlank));
  for (size_t i = !text.empty() && text[0] == '|' ? 1 : 0; i < text.size(); ++i) {
    if (text[i] == '`') in_code = !in_code;
    if (text[i] == '\\' && i + 1 < text.size() && text[i + 1] == '|') {
      cell += text[++i];
    } else if (text[i] == '|' && !in_code) {
      cells.emplace_back(trimmed(cell, kBlank));
      cell.clear();
    } else {
      cell += text[i];
    }
  }
  if (!trimmed(cell, kBlank).empty()) cells.emplace_back(trimmed(cell, kBlank));
  return cells;
}

void MarkdownTable::add(std::string_view line) {
  lines_.emplace_back(line);
  bytes_ += line.size() + 1;
}

std::string MarkdownTable::render(const Styles& styles, size_t columns) {
  std::vector<Row> rows;
  std::vector<Align> aligns;
  std::string out;
  const std::vector<std::string> second = lines_.size() > 1 ? table_cells(lines_[1]) : std::vector<std::string>{};
  const bool is_table = !second.empty() && std::all_of(second.begin(), second.end(), is_delimiter);
  for (size_t i = 0; i < lines_.size(); ++i) {
    if (!is_table) {
      out += render_inline(lines_[i], styles).text + "\n";
    } else if (i == 1) {
      for (const std::string& cell : second) aligns.push_back(alignment(cell));
    } else {
      Row& row = rows.emplace_back();
      for (const std::string& cell : table_cells(lines_[i])) row.push_back(render_inline(cell, styles));
    }
  }
  lines_.clear();
  bytes_ = 0;
  const std::vector<size_t> widths = column_widths(rows);
  size_t total = widths.empty() ? 0 : 3 * (widths.size() - 1);
  for (const size_t width : widths) total += width;
  for (size_t i = 0; i < rows.size(); ++i) {
    for (StyledText& cell : rows[i])
      if (i == 0) cell.text = styles.bold() + cell.text + styles.reset();
    out += row_text(rows[i], widths, aligns, total < columns, styles);
    if (i == 0) out += rule(total < columns ? widths : std::vector<size_t>{std::min<size_t>(columns / 2, 40)}, styles);
  }
  return out;
}

}  // namespace fathom

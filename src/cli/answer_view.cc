#include "cli/answer_view.h"

#include <cmath>

#include "base/error.h"

namespace fathom {

std::string fold_line(double seconds, size_t tokens, bool budget_spent) {
  std::ostringstream out;
  out.precision(1);
  out << "[thought for " << std::fixed << seconds << " s, " << tokens << (tokens == 1 ? " token" : " tokens");
  if (budget_spent) out << ", ended by the budget";
  out << "]";
  return out.str();
}

AnswerView::AnswerView(Write write, Size size, Styles styles, bool can_move)
    : write_(std::move(write)), size_(std::move(size)), styles_(styles), can_move_(can_move), markdown_(styles, [this] {
        return size_().columns;
      }) {}

void AnswerView::thinking(std::string_view text) { show_thinking(thinking_sanitizer_.feed(text)); }

void AnswerView::show_thinking(std::string_view text) {
  if (!thinking_open_) {
    text.remove_prefix(std::min(text.find_first_not_of('\n'), text.size()));
    if (text.empty()) return;
    thinking_open_ = true;
    thinking_size_ = size_();
    cursor_ = CursorModel(thinking_size_.columns);
  }
  if (text.empty()) return;
  cursor_.write(text);
  write_(styles_.dim() + std::string(text) + styles_.reset());
}

void AnswerView::end_thinking(const std::string& fold) {
  show_thinking(thinking_sanitizer_.finish());
  if (thinking_open_) erase_thinking();
  thinking_open_ = false;
  write_(styles_.dim() + fold + styles_.reset() + "\n");
}

/// Moves the cursor to where the thinking began and clears from there.
void AnswerView::erase_thinking() {
  const size_t rows = cursor_.rows_below_start();
  if (!can_move_ || size_() != thinking_size_ || rows + 1 >= thinking_size_.rows) {
    write_(cursor_.column() == 0 ? "" : "\n");
    return;
  }
  write_("\r" + (rows ? cat("\x1b[", rows, "A") : "") + "\x1b[J");
}

void AnswerView::answer(std::string_view text) {
  std::string safe = answer_sanitizer_.feed(text);
  if (!answer_begun_) {  // templates leave empty lines between the thinking and the answer
    safe.erase(0, std::min(safe.find_first_not_of('\n'), safe.size()));
    if (safe.empty()) return;
    if (thinking_open_) erase_thinking(), thinking_open_ = false;
    answer_begun_ = true;
  }
  const std::string shown = markdown_.feed(safe);
  if (shown.empty()) return;
  at_line_start_ = shown.back() == '\n';
  write_(shown);
}

void AnswerView::finish() {
  std::string rest = markdown_.feed(answer_sanitizer_.finish()) + markdown_.finish();
  if (!rest.empty()) at_line_start_ = rest.back() == '\n';
  if (thinking_open_ && cursor_.column() != 0) rest += '\n';  // cut off while it thought
  if (answer_begun_ && !at_line_start_) rest += '\n';
  if (!rest.empty()) write_(rest);
  thinking_open_ = answer_begun_ = false;
  at_line_start_ = true;
}

}  // namespace fathom

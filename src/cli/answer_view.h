// Shows an answer on a terminal while it is made: thinking dimmed, folded to one line when the answer starts, then the
// answer as Markdown. All text is sanitised. Chat and run use it; it writes through a function, so that tests can
// watch. Not thread-safe.
#pragma once
#include <functional>
#include <string>
#include <string_view>

#include "cli/markdown.h"
#include "cli/sanitize.h"
#include "cli/terminal.h"

namespace fathom {

/// "[thought for 3.2 s, 210 tokens]"
std::string fold_line(double seconds, size_t tokens, bool budget_spent);

class AnswerView {
 public:
  using Write = std::function<void(std::string_view)>;
  using Size = std::function<TerminalSize()>;

  /// The cursor is in column 0. `can_move`: the thinking may be erased when it is folded.
  AnswerView(Write write, Size size, Styles styles, bool can_move);

  void thinking(std::string_view text);
  /// Replaces the thinking by `fold`; where it scrolled out of the screen, or the window's size changed since, the line
  /// is only added.
  void end_thinking(const std::string& fold);
  void answer(std::string_view text);
  /// Ends the line. The view can show another answer then.
  void finish();

 private:
  void erase_thinking();
  void show_thinking(std::string_view text);

  Write write_;
  Size size_;
  Styles styles_;
  bool can_move_, thinking_open_ = false, answer_begun_ = false;
  Sanitizer thinking_sanitizer_, answer_sanitizer_;
  TerminalSize thinking_size_;
  CursorModel cursor_{80};
  MarkdownStream markdown_;
  bool at_line_start_ = true;
};

}  // namespace fathom

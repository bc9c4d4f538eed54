// Reading a person's message at the terminal: editing, history, pasted and typed text of several lines; plain lines
// where standard input is no terminal. Over libedit. One per process, main thread.
#pragma once
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace fathom {

/// Joins lines to messages: a line that ends in a backslash goes on; """ opens and closes a block.
class MessageLines {
 public:
  /// The message, when this line completes it.
  std::optional<std::string> add(std::string_view line);
  bool open() const { return open_; }  ///< more lines belong to the message
  void reset() { *this = {}; }

 private:
  std::string text_;
  bool open_ = false, block_ = false;
};

enum class InputKind { kMessage, kInterrupt, kInterruptEmpty, kEnd };
struct Input {
  InputKind kind;  ///< kInterrupt: Ctrl-C dropped what was typed; kInterruptEmpty: there was nothing; kEnd: Ctrl-D, end
                   ///< of file
  std::string text;
};

class LineEditor {
 public:
  /// The history is read from and kept in `history_file` (empty: not kept).
  explicit LineEditor(std::filesystem::path history_file);
  ~LineEditor();
  LineEditor(const LineEditor&) = delete;
  LineEditor& operator=(const LineEditor&) = delete;

  /// One message, joined from its lines.
  Input read(const std::string& prompt);
  /// One line, not kept in the history: an answer to a question.
  Input read_once(const std::string& prompt);

 private:
  struct State;
  Input read_line(const std::string& prompt);
  std::unique_ptr<State> state_;
};

/// While it lives, what is typed is not shown, but kept for the next prompt; Ctrl-C still interrupts.
class QuietTyping {
 public:
  QuietTyping();
  ~QuietTyping();
  QuietTyping(const QuietTyping&) = delete;
  QuietTyping& operator=(const QuietTyping&) = delete;

 private:
  struct State;
  std::unique_ptr<State> state_;  // null: standard input is no terminal
};

}  // namespace fathom

#include "cli/line_editor.h"

#include <histedit.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <cwchar>
#include <iostream>

#include "base/error.h"
#include "base/log.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/terminal.h"

namespace fathom {

std::optional<std::string> MessageLines::add(std::string_view line) {
  if (!open_ && line.starts_with("\"\"\"")) {
    open_ = block_ = true;
    line.remove_prefix(3);
    if (line.empty()) return std::nullopt;
  }
  if (block_) {
    const bool closes = line.ends_with("\"\"\"");
    text_ += line.substr(0, line.size() - (closes ? 3 : 0));
    if (!closes) return text_ += '\n', std::nullopt;
    if (text_.ends_with('\n')) text_.pop_back();
  } else if (line.ends_with('\\')) {
    open_ = true;
    text_ += line.substr(0, line.size() - 1);
    return text_ += '\n', std::nullopt;
  } else {
    text_ += line;
  }
  std::string message = std::move(text_);
  reset();
  return message;
}

struct LineEditor::State {
  EditLine* edit = nullptr;  // null: standard input is no terminal
  History* history = nullptr;
  std::filesystem::path history_file;
  std::string prompt;
  bool was_interrupted = false, was_empty = false, can_move = false;
};

namespace {

constexpr size_t kLongestPaste = 1 << 20;
constexpr int kHistorySize = 1000;

void* client(EditLine* edit) {
  void* data = nullptr;
  el_get(edit, EL_CLIENTDATA, &data);
  return data;
}

bool line_is_empty(EditLine* edit) {
  const LineInfo* line = el_line(edit);
  return line->lastchar == line->buffer;
}

/// One byte from the terminal; -1: Ctrl-C or an error; 0: the end.
int read_byte(EditLine* edit, char& byte) {
  while (true) {
    if (interrupted()) return -1;
    const ssize_t n = ::read(STDIN_FILENO, &byte, 1);
    if (n >= 0) return static_cast<int>(n);
    if (errno != EINTR) return -1;
    if (resized().exchange(false)) {
      el_resize(edit);
      el_set(edit, EL_REFRESH);
    }
  }
}

int insert_newline(EditLine* edit, int) {
  el_insertstr(edit, "\n");
  return CC_REFRESH;
}

/// Bracketed paste: the text comes as it is, also its newlines, up to ESC [ 201 ~.
int insert_paste(EditLine* edit, int) {
  static const std::wstring kEnd = L"\x1b[201~";
  std::wstring text;
  for (wchar_t c; text.size() < kLongestPaste && el_wgetc(edit, &c) == 1;) {
    text += c == L'\r' ? L'\n' : c;
    if (!text.ends_with(kEnd)) continue;
    text.resize(text.size() - kEnd.size());
    break;
  }
  std::erase_if(text, [](wchar_t c) { return c < 0x20 && c != L'\n' && c != L'\t'; });
  if (!text.empty()) el_winsertstr(edit, text.c_str());
  return CC_REFRESH;
}

}  // namespace

LineEditor::LineEditor(std::filesystem::path history_file) : state_(std::make_unique<State>()) {
  State& s = *state_;
  if (!isatty(STDIN_FILENO)) return;
  s.can_move = terminal_of(STDOUT_FILENO).can_move;
  s.history_file = std::move(history_file);
  s.edit = el_init("fathom", stdin, stdout, stderr);
  if (!s.edit) throw Error("line editing: could not start libedit on this terminal");
  s.history = history_init();
  HistEvent event;
  history(s.history, &event, H_SETSIZE, kHistorySize);
  history(s.history, &event, H_SETUNIQUE, 1);
  if (!s.history_file.empty()) {
    std::error_code error;
    std::filesystem::create_directories(s.history_file.parent_path(), error);
    if (std::filesystem::exists(s.history_file, error)) history(s.history, &event, H_LOAD, s.history_file.c_str());
  }
  el_set(s.edit, EL_CLIENTDATA, &s);
  el_set(
      s.edit, EL_PROMPT_ESC, +[](EditLine* edit) { return static_cast<State*>(client(edit))->prompt.data(); }, '\1');
  el_set(s.edit, EL_EDITOR, "emacs");
  el_set(s.edit, EL_SIGNAL, 0);
  el_set(s.edit, EL_HIST, history, s.history);
  el_set(s.edit, EL_ADDFN, "fathom-newline", "begin a new line", insert_newline);
  el_set(s.edit, EL_ADDFN, "fathom-paste", "insert pasted text", insert_paste);
  el_set(s.edit, EL_BIND, "\\e\\r", "fathom-newline", nullptr);
  el_set(s.edit, EL_BIND, "\\e\\n", "fathom-newline", nullptr);
  el_set(s.edit, EL_BIND, "\\e[200~", "fathom-paste", nullptr);
  el_set(s.edit, EL_BIND, "^R", "em-inc-search-prev", nullptr);
  el_set(s.edit, EL_BIND, "^W", "ed-delete-prev-word", nullptr);
  const auto get_char = +[](EditLine* edit, wchar_t* out) -> int {
    std::mbstate_t shift{};
    for (char byte; true;) {
      const int n = read_byte(edit, byte);
      if (n < 0) {
        State& state = *static_cast<State*>(client(edit));
        state.was_interrupted = interrupted();
        state.was_empty = line_is_empty(edit);
      }
      if (n <= 0) return n;
      const size_t used = std::mbrtowc(out, &byte, 1, &shift);
      if (used == static_cast<size_t>(-2)) continue;                           // inside a character
      if (used == static_cast<size_t>(-1)) return shift = {}, *out = L'?', 1;  // no UTF-8
      return 1;
    }
  };
  el_set(s.edit, EL_GETCFN, get_char);
}

LineEditor::~LineEditor() {
  if (state_->edit) el_end(state_->edit);
  if (state_->history) history_end(state_->history);
}

Input LineEditor::read_line(const std::string& prompt) {
  State& s = *state_;
  if (!s.edit) {
    const std::optional<std::string> line = fathom::read_line(std::cin, "standard input");
    return line ? Input{InputKind::kMessage, *line} : Input{InputKind::kEnd, ""};
  }
  s.prompt = prompt;
  s.was_interrupted = false;
  if (s.can_move) print_out("\x1b[?2004h");
  int count = 0;
  const char* line = el_gets(s.edit, &count);
  std::string text = line && count > 0 ? std::string(line, static_cast<size_t>(count)) : "";
  if (s.can_move) print_out("\x1b[?2004l");
  if (s.was_interrupted) {
    interrupted() = false;
    print_out("\n");
    return {s.was_empty ? InputKind::kInterruptEmpty : InputKind::kInterrupt, ""};
  }
  if (!line || count <= 0) return print_out("\n"), Input{InputKind::kEnd, ""};
  if (text.ends_with('\n')) text.pop_back();
  return {InputKind::kMessage, std::move(text)};
}

Input LineEditor::read(const std::string& prompt) {
  MessageLines lines;
  while (true) {
    Input input = read_line(lines.open() ? "  " : prompt);
    if (input.kind != InputKind::kMessage) {
      if (lines.open() && input.kind == InputKind::kInterruptEmpty) input.kind = InputKind::kInterrupt;
      return input;
    }
    // A message that was pasted or recalled whole has its line breaks already.
    const bool whole = !lines.open() && input.text.find('\n') != std::string::npos;
    const std::optional<std::string> message = whole ? std::optional(input.text) : lines.add(input.text);
    if (!message) continue;
    if (state_->history && message->find_first_not_of(" \n\t") != std::string::npos) {
      HistEvent event;
      history(state_->history, &event, H_ENTER, message->c_str());
      if (!state_->history_file.empty()) {
        const mode_t mask = umask(077);  // what a person asks is theirs alone
        if (history(state_->history, &event, H_SAVE, state_->history_file.c_str()) < 0)
          log(LogLevel::kWarning, cat("history: could not write ", state_->history_file.string()));
        umask(mask);
      }
    }
    return {InputKind::kMessage, *message};
  }
}

Input LineEditor::read_once(const std::string& prompt) { return read_line(prompt); }

struct QuietTyping::State {
  termios before;
};

QuietTyping::QuietTyping() {
  termios now;
  if (!isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, &now) != 0) return;
  state_ = std::make_unique<State>(State{now});
  now.c_lflag &= ~static_cast<tcflag_t>(ECHO | ICANON);
  tcsetattr(STDIN_FILENO, TCSADRAIN, &now);
}

QuietTyping::~QuietTyping() {
  if (state_) tcsetattr(STDIN_FILENO, TCSADRAIN, &state_->before);
}

}  // namespace fathom

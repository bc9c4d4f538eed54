// The conversation at a terminal: reads messages and /commands, shows answers, asks when the context is full. One per
// process, main thread.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/answer_view.h"
#include "cli/line_editor.h"
#include "cli/settings.h"
#include "engine/conversation.h"

namespace fathom {

struct ChatCommand {
  std::string model, template_file;
  std::vector<std::string> stop;
};

class Chat {
 public:
  /// Loads the model. Throws what load_engine throws.
  Chat(ChatCommand command, const Settings& settings);
  /// Until /quit, Ctrl-D or the end of the input. Returns the exit code.
  int run();

 private:
  struct SlashCommand {
    const char *name, *arguments, *help;
    void (Chat::*run)(const std::string& argument);
  };
  static const SlashCommand kCommands[];

  void load(const std::string& model);
  void say(const std::string& text);
  void slash(const std::string& line);
  void ask(const std::string& text);
  void answer();
  bool make_room();
  void show_ending(const Answer& answer);

  void help(const std::string&);
  void think(const std::string& argument);
  void budget(const std::string& argument);
  void system(const std::string& argument);
  void regenerate(const std::string&);
  void undo(const std::string&);
  void start_new(const std::string&);
  void save(const std::string& argument);
  void open(const std::string& argument);
  void stats(const std::string&);
  void thinking(const std::string&);
  void model(const std::string& argument);
  void quit(const std::string&);

  ChatCommand command_;
  const Settings& settings_;
  Terminal out_;
  Styles styles_;
  LineEditor editor_;
  AnswerView view_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Conversation> conversation_;
  AnswerOptions options_;
  AnswerStats last_stats_;
  bool done_ = false;
};

}  // namespace fathom

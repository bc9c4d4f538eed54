// The /commands of the chat.
#include <charconv>

#include "base/error.h"
#include "cli/answer_json.h"
#include "cli/chat.h"
#include "cli/chat_file.h"
#include "cli/output.h"

namespace fathom {

const Chat::SlashCommand Chat::kCommands[] = {
    {"help", "", "this list", &Chat::help},
    {"think", "on|off", "let the model think first", &Chat::think},
    {"budget", "N|off", "tokens of thinking, then the answer begins", &Chat::budget},
    {"system", "[TEXT]", "the system message; without TEXT: shows it; \"\": removes it", &Chat::system},
    {"regen", "", "answers the last question again", &Chat::regenerate},
    {"undo", "", "takes the last question and its answer back", &Chat::undo},
    {"new", "", "forgets the conversation, but not the system message", &Chat::start_new},
    {"save", "FILE", "writes the conversation", &Chat::save},
    {"load", "FILE", "goes on with a conversation", &Chat::open},
    {"thinking", "", "shows what was thought before the last answer", &Chat::thinking},
    {"stats", "", "speed of the last answer, use of the context", &Chat::stats},
    {"model", "[MODEL]", "switches to another model and keeps the conversation", &Chat::model},
    {"quit", "", "ends the chat (Ctrl-D too)", &Chat::quit},
};

void Chat::slash(const std::string& line) {
  const size_t space = line.find(' ');
  const std::string name = line.substr(1, space == std::string::npos ? space : space - 1);
  const size_t first = line.find_first_not_of(' ', space == std::string::npos ? line.size() : space);
  const std::string argument = first == std::string::npos ? "" : line.substr(first);
  for (const SlashCommand& command : kCommands)
    if (name == command.name) return (this->*command.run)(argument);
  throw UsageError(cat("/", name, ": expected a command (/help lists them), found an unknown one"));
}

void Chat::help(const std::string&) {
  std::string text;
  for (const SlashCommand& command : kCommands) {
    std::string usage = cat("/", command.name, *command.arguments ? " " : "", command.arguments);
    usage.resize(std::max<size_t>(usage.size() + 2, 18), ' ');
    text += usage + command.help + "\n";
  }
  say(text + "Several lines: end a line with \\, write between \"\"\" and \"\"\", press Alt-Enter, or paste.");
}

void Chat::think(const std::string& argument) {
  if (argument != "on" && argument != "off")
    throw UsageError(cat("/think: expected on or off, found '", argument, "'"));
  conversation_->options().thinking = argument == "on";
  if (!conversation_->has_thinking_switch())
    return say("Note: the model's template has no switch for thinking: it does as it was trained.");
  say(cat("Thinking is ", argument, "."));
}

void Chat::budget(const std::string& argument) {
  size_t tokens = 0;
  const char* end = argument.data() + argument.size();
  const auto [stop, error] = std::from_chars(argument.data(), end, tokens);
  if (argument == "off")
    options_.thinking_budget.reset();
  else if (error == std::errc{} && stop == end)
    options_.thinking_budget = tokens;
  else
    throw UsageError(cat("/budget: expected a number of tokens or off, found '", argument, "'"));
  say(options_.thinking_budget ? cat("Thinking ends after ", tokens, " tokens.") : "Thinking has no budget.");
}

void Chat::system(const std::string& argument) {
  if (argument.empty()) {
    const std::vector<Message>& messages = conversation_->messages();
    const bool is_set = !messages.empty() && messages[0].role == "system";
    return say(is_set ? cat("System message: ", messages[0].content) : "There is no system message.");
  }
  conversation_->set_system(argument == "\"\"" ? "" : argument);
  say(argument == "\"\"" ? "The system message is removed." : "The system message is set.");
}

void Chat::regenerate(const std::string&) {
  std::vector<Message> before = conversation_->messages();
  conversation_->drop_answer();
  const std::vector<Message>& messages = conversation_->messages();
  if (messages.empty() || messages.back().role == "system")
    throw UsageError("/regen: expected a question to answer, found none");
  ++options_.sampling.choice;  // another draw of the same seed
  try {
    answer();
  } catch (const Error&) {
    conversation_->set_messages(std::move(before));
    throw;
  }
}

void Chat::undo(const std::string&) {
  if (!conversation_->undo()) throw UsageError("/undo: expected a question to take back, found none");
  size_t questions = 0;
  for (const Message& message : conversation_->messages()) questions += message.role == "user";
  say(cat("Taken back; ", questions, questions == 1 ? " question is" : " questions are", " left."));
}

void Chat::start_new(const std::string&) {
  while (conversation_->undo()) {
  }
  say("A new conversation.");
}

void Chat::save(const std::string& argument) {
  if (argument.empty()) throw UsageError("/save: expected a file name, found none");
  save_chat(argument, engine_->info().path, conversation_->messages());
  say(cat("Saved ", conversation_->messages().size(), " messages to ", argument, "."));
}

void Chat::open(const std::string& argument) {
  if (argument.empty()) throw UsageError("/load: expected a file name, found none");
  conversation_->set_messages(load_chat(argument));
  say(cat("Loaded ", conversation_->messages().size(), " messages from ", argument, "."));
}

void Chat::thinking(const std::string&) {
  const std::vector<Message>& messages = conversation_->messages();
  for (auto it = messages.rbegin(); it != messages.rend(); ++it)
    if (it->role == "assistant")
      return say(it->thinking.empty() ? "The last answer came without thinking." : it->thinking);
  say("There is no answer yet.");
}

void Chat::stats(const std::string&) {
  if (last_stats_.new_tokens > 0) say("Last answer: " + stats_line(last_stats_) + ".");
  const bool empty = conversation_->messages().empty();
  say(cat("Context: ", empty ? 0 : conversation_->prompt_tokens(), " of ", conversation_->context(), " tokens."));
}

void Chat::model(const std::string& argument) {
  if (argument.empty()) return say(cat("Model: ", engine_->info().path));
  const std::string before = command_.model;
  const std::vector<Message> messages = conversation_->messages();
  const bool thinks = conversation_->options().thinking;
  try {
    load(argument);
    command_.model = argument;
  } catch (const Error& e) {
    say(e.what());
    say("The model before is loaded again.");
    load(before);
  }
  conversation_->set_messages(messages);
  conversation_->options().thinking = thinks;
}

void Chat::quit(const std::string&) { done_ = true; }

}  // namespace fathom

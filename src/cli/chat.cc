#include "cli/chat.h"

#include <CLI/CLI.hpp>

#include "base/error.h"
#include "base/trimmed.h"
#include "cli/answer_json.h"
#include "cli/chat_file.h"
#include "cli/commands.h"
#include "cli/engine_loader.h"
#include "cli/folders.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/progress.h"

namespace fathom {
namespace {

class ChatListener final : public AnswerListener {
 public:
  explicit ChatListener(AnswerView& view) : view_(view) {}
  void on_prompt(size_t done, size_t total) override { bar_.show(done, total); }
  void on_thinking(std::string_view text) override { bar_.clear(), view_.thinking(text); }
  void on_thinking_end(const AnswerStats& s) override {
    bar_.clear(), view_.end_thinking(fold_line(s.thinking_s, s.thinking_tokens, s.budget_spent));
  }
  void on_answer(std::string_view text) override { bar_.clear(), view_.answer(text); }
  void on_tool_call(const ToolCall& call) override {
    view_.answer(cat("\n[calls ", call.name, " ", call.arguments, "]\n"));
  }

 private:
  AnswerView& view_;
  ProgressBar bar_{"reading the prompt", terminal_of(2)};
};

}  // namespace

Chat::Chat(ChatCommand command, const Settings& settings)
    : command_(std::move(command)),
      settings_(settings),
      out_(terminal_of(1)),
      styles_(out_.has_styles),
      editor_(state_folder() / "history"),
      view_(
          print_out, [this] { return out_.size(); }, styles_, out_.can_move) {
  load(command_.model);
}

void Chat::load(const std::string& model) {
  conversation_.reset();
  engine_.reset();  // two models may not fit into memory together
  engine_ = load_engine(model, engine_options(settings_), command_.template_file);
  engine_->tokenizer();
  if (!engine_->has_chat_template())
    throw Error(
        cat(model, ": expected a chat template, found none (give one with --template, or use `fathom run --raw`)"));
  const AnswerOptions before = options_;
  options_ = answer_options(*engine_, settings_);
  options_.stop = command_.stop;
  if (before.sampling.seed != 0)
    options_.sampling.seed = before.sampling.seed, options_.thinking_budget = before.thinking_budget;
  conversation_ = std::make_unique<Conversation>(
      *engine_, ConversationOptions{.thinking = settings_.text("think") != "off", .tools = {}});
  conversation_->set_system(settings_.text("system").value_or(""));
  print_err(first_line(*engine_, options_.sampling.seed) + "\n");
}

void Chat::say(const std::string& text) { print_out(styles_.dim() + sanitized(text) + styles_.reset() + "\n"); }

int Chat::run() {
  say("/help lists the commands, Ctrl-C stops an answer, Ctrl-D ends the chat.");
  // \1 tells libedit what takes no room.
  const std::string prompt = styles_.on() ? cat("\1", styles_.prompt(), "\1> \1", styles_.reset(), "\1") : "> ";
  while (!done_) {
    const Input input = editor_.read(prompt);
    if (input.kind == InputKind::kEnd) break;
    if (input.kind == InputKind::kInterruptEmpty) say("Leave with /quit or Ctrl-D.");
    if (input.kind != InputKind::kMessage) continue;
    const std::string text(trimmed(input.text));
    if (text.empty()) continue;
    try {
      text[0] == '/' && text.find('\n') == std::string::npos ? slash(text) : ask(input.text);
    } catch (const Error& e) {
      view_.finish();
      print_out(styles_.error() + sanitized(e.what()) + styles_.reset() + "\n");
      if (!engine_) return e.exit_code();
    }
  }
  return 0;
}

void Chat::ask(const std::string& text) {
  conversation_->add({.role = "user", .content = text, .thinking = "", .tool_calls = {}});
  options_.sampling.choice = 0;
  try {
    answer();
  } catch (const Error&) {
    conversation_->undo();
    throw;
  }
}

void Chat::answer() {
  if (!make_room()) return;
  interrupted() = false;
  Answer answer;
  {
    const QuietTyping quiet;
    ChatListener listener(view_);
    answer = conversation_->reply(options_, listener, &interrupted());
  }
  interrupted() = false;
  view_.finish();
  last_stats_ = answer.stats;
  show_ending(answer);
}

void Chat::show_ending(const Answer& answer) {
  if (answer.finish_reason == FinishReason::kCancelled) say("[stopped]");
  if (answer.finish_reason == FinishReason::kLength) say("[cut at --max-tokens]");
  if (answer.finish_reason == FinishReason::kContextFull)
    say(cat("[the context of ", engine_->info().ctx, " tokens is full: the answer was cut]"));
}

/// Nothing is cut silently: where the conversation does not fit, the person decides. False: cancelled.
bool Chat::make_room() {
  while (true) {
    const size_t tokens = conversation_->prompt_tokens(), ctx = conversation_->context();
    if (tokens < ctx) return true;
    say(cat("The conversation has ", tokens, " tokens, the context ", ctx, ": it does not fit."));
    const Input input = editor_.read_once("[d]rop the oldest exchange, start [n]ew with this question, [c]ancel? ");
    const std::string choice(input.kind == InputKind::kMessage ? trimmed(input.text) : "c");
    std::vector<Message> messages = conversation_->messages();
    if (choice == "d") {
      if (!drop_oldest_exchange(messages))
        say("There is only this question: shorten it, or start with a larger --ctx.");
      conversation_->set_messages(std::move(messages));
    } else if (choice == "n") {
      while (drop_oldest_exchange(messages)) {
      }
      conversation_->set_messages(std::move(messages));
      if (conversation_->prompt_tokens() >= ctx) say("The question alone does not fit.");
    } else if (choice == "c") {
      conversation_->undo();
      say("Cancelled: the question was taken back.");
      return false;
    }
  }
}

void add_chat(CLI::App& app, Invocation& invocation) {
  CLI::App* command = app.add_subcommand("chat", "A conversation at the terminal.");
  const auto options = std::make_shared<ChatCommand>();
  command->add_option("MODEL", options->model, "GGUF file, Hugging Face folder, or OWNER/NAME")->required();
  command->add_option("--stop", options->stop, "end an answer before this text (may be repeated)")->expected(1);
  command->add_option("--template", options->template_file, "a Jinja file instead of the model's chat template");
  add_answer_flags(*command, invocation);
  add_engine_flags(*command, invocation);
  command->footer("Example:  fathom chat MODEL --system \"Answer briefly.\"");
  command->callback([&invocation, options] {
    invocation.run = [options](const Settings& settings) {
      catch_interrupts(/*impatient=*/false);
      return Chat(*options, settings).run();
    };
  });
}

}  // namespace fathom

// fathom run: answers one prompt, or many, and exits.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <iostream>

#include "base/error.h"
#include "cli/answer_json.h"
#include "cli/answer_view.h"
#include "cli/commands.h"
#include "cli/engine_loader.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/run_batch.h"
#include "text/utf8.h"

namespace fathom {
namespace {

struct RunCommand {
  std::string model, prompt, template_file, jsonl_file;
  std::vector<std::string> stop;
  size_t parallel = 4, logprobs = 0;
  bool json = false, jsonl = false, raw = false;
};

/// On a terminal the answer is rendered; in a pipe stdout holds the answer alone, and the thinking goes to stderr.
class RunListener final : public AnswerListener {
 public:
  RunListener(bool quiet, Terminal out, Terminal err)
      : quiet_(quiet),
        out_(out),
        err_(err),
        bar_("reading the prompt", err),
        view_(
            print_out, [out] { return out.size(); }, Styles(out.has_styles), out.can_move) {}

  void on_prompt(size_t done, size_t total) override { bar_.show(done, total); }
  void on_thinking(std::string_view text) override {
    bar_.clear();
    if (quiet_) return;
    out_.is_terminal ? view_.thinking(text) : print_err(err_.is_terminal ? sanitizer_.feed(text) : std::string(text));
  }
  void on_thinking_end(const AnswerStats& s) override {
    if (quiet_) return;
    const std::string fold = fold_line(s.thinking_s, s.thinking_tokens, s.budget_spent);
    out_.is_terminal ? view_.end_thinking(fold) : print_err("\n" + fold + "\n");
  }
  void on_answer(std::string_view text) override {
    bar_.clear();
    if (quiet_) return;
    out_.is_terminal ? view_.answer(text) : print_out(text);
  }
  void finish(const Answer& answer) {
    bar_.clear();
    if (quiet_) return;
    if (out_.is_terminal)
      view_.finish();
    else if (!answer.text.ends_with('\n'))
      print_out("\n");
  }

 private:
  bool quiet_;
  Terminal out_, err_;
  ProgressBar bar_;
  AnswerView view_;
  Sanitizer sanitizer_;
};

/// What a person should know about how the answer ended; empty for an ordinary end.
std::string ending(const Answer& answer, const Engine& engine) {
  switch (answer.finish_reason) {
    case FinishReason::kLength: return "the answer was cut at --max-tokens";
    case FinishReason::kContextFull:
      return cat("the context of ", engine.info().ctx, " tokens is full: the answer was cut");
    case FinishReason::kCancelled: return "interrupted";
    default: return "";
  }
}

int run_one(const RunCommand& command, const Settings& settings, Engine& engine, const AnswerOptions& options) {
  std::string text = command.prompt;
  if (text.empty()) text = read_all(std::cin, "standard input");
  if (interrupted()) return 130;
  if (valid_utf8_prefix(text) != text.size())
    print_err("note: the prompt is not valid UTF-8: its wrong bytes are taken as bytes\n");
  if (text.empty()) throw UsageError("run: expected a prompt as an argument or on standard input, found none");
  if (!command.raw && !engine.has_chat_template())
    print_err("note: the model has no chat template: the prompt is continued as plain text\n");
  const std::vector<TextPiece> prompt =
      user_prompt(engine, text, settings.text("system").value_or(""), settings.text("think") != "off", command.raw);
  RunListener listener(command.json, terminal_of(1), terminal_of(2));
  Session session(engine.pool());
  AnswerRun run(engine, session, prompt, options, listener, &interrupted());
  Scheduler scheduler(engine);
  scheduler.add(run);
  while (!run.done()) scheduler.step();
  const Answer answer = run.take();
  listener.finish(answer);
  if (command.json) {
    json::object out{{"format", "fathom.answer"},
                     {"version", 1},
                     {"profile", name(engine.info().profile)},
                     {"numerics_id", engine.info().numerics_id}};
    for (const auto& [key, value] : answer_json(answer, engine.tokenizer(), options.sampling.seed)) out[key] = value;
    print_out(to_json(out) + "\n");
  }
  if (options.thinking_budget && answer.thinking.empty() && !answer.stats.budget_spent)
    print_err("note: the model did not think: --budget had nothing to end\n");
  if (const std::string why = ending(answer, engine); !why.empty()) print_err("note: " + why + "\n");
  print_err(stats_line(answer.stats) + "\n");
  return answer.finish_reason == FinishReason::kCancelled ? 130 : 0;
}

int run(const RunCommand& command, const Settings& settings) {
  if (command.jsonl && !command.prompt.empty()) throw UsageError("run: expected a PROMPT or --jsonl, found both");
  if (command.logprobs > 0 && !command.json && !command.jsonl)
    throw UsageError("--logprobs: expected --json or --jsonl with it, found neither");
  if (command.parallel == 0 || command.parallel > 1024)
    throw UsageError(cat("--parallel: expected 1 to 1024, found ", command.parallel));
  EngineOptions engine_settings = engine_options(settings);
  engine_settings.sequences = command.jsonl ? command.parallel : 1;
  catch_interrupts(/*impatient=*/true);
  const std::unique_ptr<Engine> engine = load_engine(command.model, engine_settings, command.template_file);
  AnswerOptions options = answer_options(*engine, settings);
  options.stop = command.stop;
  options.logprobs = command.json || command.jsonl;
  options.top_logprobs = command.logprobs;
  print_err(first_line(*engine, options.sampling.seed) + "\n");
  if (!command.jsonl) return run_one(command, settings, *engine, options);
  const std::string system = settings.text("system").value_or("");
  const bool think = settings.text("think") != "off";
  const RequestReader read = [&](const json::value& line) {
    return run_request(*engine, line, options, system, think, command.raw);
  };
  return with_input(command.jsonl_file,
                    [&](std::istream& in) { return run_batch(*engine, in, command.parallel, read); });
}

}  // namespace

void add_run(CLI::App& app, Invocation& invocation) {
  CLI::App* command = app.add_subcommand("run", "Answers a prompt and exits.");
  const auto options = std::make_shared<RunCommand>();
  command->add_option("MODEL", options->model, "GGUF file, Hugging Face folder, or OWNER/NAME")->required();
  command->add_option("PROMPT", options->prompt, "the question; without it: standard input");
  command->add_option("--stop", options->stop, "end the answer before this text (may be repeated)")->expected(1);
  command->add_option("--logprobs", options->logprobs, "with --json: also those of the N most likely tokens");
  command->add_option("--template", options->template_file, "a Jinja file instead of the model's chat template");
  command->add_flag("--raw", options->raw, "no chat template: the prompt is continued; control tokens in it count");
  command->add_flag("--json", options->json, "print an object: text, tokens, log-probabilities, timings");
  command->add_flag("--jsonl", options->jsonl,
                    "lines of {prompt or messages, seed, max_tokens, ...} -> {thinking, text, ids, ...}");
  command->add_option("--file", options->jsonl_file, "with --jsonl: read this instead of standard input");
  command->add_option("--parallel", options->parallel,
                      "with --jsonl: answers in the making at a time (default 4); changes no text");
  add_answer_flags(*command, invocation);
  add_engine_flags(*command, invocation);
  command->footer("Example:  fathom run MODEL \"Why is the sky blue?\" --seed 7");
  command->callback([&invocation, options] {
    invocation.run = [options](const Settings& settings) { return run(*options, settings); };
  });
}

}  // namespace fathom

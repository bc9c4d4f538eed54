// fathom train: runs a recipe, shows how it goes, and goes on with a run that was stopped.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <map>

#include "base/energy.h"
#include "cli/commands.h"
#include "cli/folders.h"
#include "cli/interrupt.h"
#include "cli/long_work.h"
#include "cli/output.h"
#include "cli/sanitize.h"
#include "engine/memory.h"
#include "train/run_folder.h"
#include "train/trainer.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

struct Arguments {
  std::string recipe, out, resume;
  std::vector<std::string> set;
  bool help_recipe = false, as_json = false;
};

std::string number(double x, const char* format) {
  char text[64];
  std::snprintf(text, sizeof text, format, x);
  return text;
}

/// "12.3K", "4.56M"
std::string count_text(double n) {
  if (n >= 1e9) return number(n / 1e9, "%.3gG");
  if (n >= 1e6) return number(n / 1e6, "%.3gM");
  return n >= 1e4 ? number(n / 1e3, "%.3gK") : number(n, "%.0f");
}

/// Of what a stage reports beside its loss, what is shown, and the words for it.
const std::map<std::string, const char*> kShown = {{"reward", "reward"},
                                                   {"validation_reward", "held out"},
                                                   {"length", "length"},
                                                   {"cross_entropy", "cross-entropy"},
                                                   {"validation_cross_entropy", "held out"}};

class Show final : public TrainListener {
 public:
  explicit Show(const Recipe& recipe) : recipe_(recipe), terminal_(terminal_of(2)) {
    catch_interrupts(true), catch_termination();
  }

  void on_plan(const TrainPlan& plan) override {
    encoding_.reset();
    const double left_s = plan.step_s * static_cast<double>(plan.steps - plan.first_step);
    print_err(sanitized(plan.what) + "\n");
    if (plan.step_s == 0) {
      print_err(cat("memory about ", gib(plan.memory_bytes), " of ", gib(plan.available_bytes), " free",
                    plan.first_step ? cat("; goes on behind prompt ", plan.first_step) : "", "\n"));
      return;
    }
    print_err(cat("memory about ", gib(plan.memory_bytes), " of ", gib(plan.available_bytes), " free; about ",
                  number(plan.step_s, "%.2g"), " s a step, ", duration_text(left_s), " for ",
                  plan.steps - plan.first_step, " steps", plan.first_step ? cat(" from step ", plan.first_step) : "",
                  " (one micro-batch was tried)\n"));
  }

  void on_step(const TrainStep& s) override {
    steps_ = s.steps - s.step, last_ = s;
    if (!s.trains) return on_drawn(s);
    const double per_step = s.seconds / static_cast<double>(s.step);
    std::string line = cat("step ", s.step, "/", s.steps, "  loss ", number(s.loss, "%.4f"));
    if (s.validation_loss) line += cat("  validation ", number(*s.validation_loss, "%.4f"));
    if (s.has_mtp) line += cat("  mtp ", number(s.mtp_loss, "%.4f"));
    if (s.expert_load > 0) line += cat("  expert load ", number(s.expert_load, "%.2f"));
    for (const auto& [name, value] : s.more)
      if (const auto word = kShown.find(name); word != kShown.end())
        line += cat("  ", word->second, " ", number(value, "%.3g"));
    line += cat("  rate ", number(s.learning_rate, "%.3g"), "  norm ", number(s.gradient_norm, "%.3g"), "  ",
                count_text(s.tokens_per_s), " tok/s");
    if (s.peak_share > 0) line += cat(" (", number(100 * s.peak_share, "%.0f"), "% of peak)");
    line += cat("  ", duration_text(per_step * static_cast<double>(steps_)), " left  ", number(s.joules / 3600, "%.3g"),
                " Wh");
    if (recipe_.energy.price_per_kwh > 0)
      line +=
          cat(" ", number(energy_cost(s.joules, recipe_.energy.price_per_kwh), "%.2g"), " ", recipe_.energy.currency);
    // A line that stays for what is worth keeping; at a terminal the others replace one another.
    const bool judged = s.validation_loss || std::any_of(s.more.begin(), s.more.end(),
                                                         [](const auto& m) { return m.first == "validation_reward"; });
    const bool keep = judged || s.step == 1 || s.step == s.steps || s.skipped ||
                      (!terminal_.can_move && Clock::now() - shown_ > std::chrono::seconds(10));
    if (keep) {
      clear();
      print_err(line + "\n");
      shown_ = Clock::now();
    } else if (terminal_.can_move && Clock::now() - shown_ > std::chrono::milliseconds(200)) {
      print_err("\r" + line.substr(0, std::max<size_t>(terminal_.size().columns, 2) - 1) + "\x1b[K");
      shown_ = Clock::now(), dirty_ = true;
    }
  }
  void on_note(const std::string& text) override {
    encoding_.reset(), drawing_.reset();
    clear();
    print_err("note: " + sanitized(text) + "\n");
  }
  void on_checkpoint(const fs::path& folder) override {
    clear();
    print_err("saved " + sanitized(folder.string()) + "\n");
  }
  bool stop() override { return interrupted().load(); }
  WorkProgress data_progress() override {
    encoding_.emplace("encoding");
    return [this](uint64_t done, uint64_t total) { encoding_->step(done, total); };
  }

  WorkProgress drawing_progress() override {
    drawing_.emplace("drawing");
    return [this](uint64_t done, uint64_t total) {
      if (drawing_) drawing_->step(done, total);
    };
  }

  const TrainStep& last() const { return last_; }

 private:
  /// Of stage reject: a line now and then, above the bar.
  void on_drawn(const TrainStep& s) {
    if (shown_ != Clock::time_point() && steps_ != 0 && Clock::now() - shown_ < std::chrono::seconds(10)) return;
    const auto count = [&](std::string_view name) {
      const auto found = std::find_if(s.more.begin(), s.more.end(), [&](const auto& m) { return m.first == name; });
      return found == s.more.end() ? 0 : found->second;
    };
    if (drawing_) drawing_->clear();
    const double answers = count("answers"), wrong = count("answers_wrong") + count("answers_truncated");
    print_err(cat("prompt ", s.step, "/", s.steps, "  right ", number(100 * (answers - wrong) / answers, "%.3g"),
                  "%  kept ", number(count("answers_kept"), "%.0f"), " of ", number(answers, "%.0f"), "  length ",
                  number(count("length"), "%.3g"), "  ", count_text(s.tokens_per_s), " tok/s  ",
                  number(s.joules / 3600, "%.3g"), " Wh\n"));
    shown_ = Clock::now();
  }
  void clear() {
    if (dirty_) print_err("\r\x1b[K");
    dirty_ = false;
  }
  const Recipe& recipe_;
  Terminal terminal_;
  std::optional<LongWork> encoding_, drawing_;
  TrainStep last_;
  int64_t steps_ = 0;
  Clock::time_point shown_{};
  bool dirty_ = false;
};

int train(const Arguments& arguments) {
  if (arguments.help_recipe) {
    print_out(recipe_help());
    return 0;
  }
  const bool resume = !arguments.resume.empty();
  if (resume == !arguments.recipe.empty())
    throw UsageError("expected a recipe, or --resume with a run folder (fathom train --help)");
  if (resume && !arguments.set.empty()) throw UsageError("--set: a run goes on with its own recipe");
  const Recipe recipe =
      resume ? read_recipe(run_recipe_path(arguments.resume)) : read_recipe(arguments.recipe, arguments.set);
  TrainOptions options;
  options.resume = resume;
  options.folder = resume                  ? fs::path(arguments.resume)
                   : arguments.out.empty() ? fs::path("runs") / recipe.name
                                           : fs::path(arguments.out);
  options.cache = token_cache_folder();
  if (!recipe.model.start.empty()) options.start = find_model(recipe.model.start);
  if (recipe.stage == "distill") options.teacher = find_model(recipe.distill.teacher);
  Show show(recipe);
  const TrainResult result = run_training(recipe, options, show);
  const TrainStep& last = show.last();
  const bool draws = recipe.stage == "reject";
  print_err(cat("energy: ", number(last.joules / 3600, "%.3g"), " Wh (", last.energy_source, ")\n"));
  if (arguments.as_json) {
    json::object out{{"format", "fathom.train"},
                     {"version", 1},
                     {"folder", options.folder.string()},
                     {"step", result.step},
                     {"stopped", result.stopped},
                     {"loss", draws ? json::value() : json::value(result.loss)},
                     {"checkpoint", result.checkpoint.string()}};
    if (draws) out["answers"] = run_answers_path(options.folder).string();
    out["validation_loss"] = result.validation_loss ? json::value(*result.validation_loss) : json::value();
    print_out(to_json(out) + "\n");
  }
  if (!result.stopped && draws) {
    print_err(cat("done: ", sanitized(run_answers_path(options.folder).string()), " is training data for stage sft\n"));
    return 0;
  }
  if (!result.stopped) {
    print_err(cat("done: ", sanitized(options.folder.string()), "/report.html shows the run; fathom run ",
                  sanitized(result.checkpoint.string()), " answers with it\n"));
    return 0;
  }
  print_err(cat("stopped after ", draws ? "prompt " : "step ", result.step, "; fathom train --resume ",
                sanitized(options.folder.string()), " goes on\n"));
  return 130;
}

}  // namespace

void add_train(CLI::App& app, Invocation& invocation) {
  CLI::App* command = app.add_subcommand("train", "Trains a model by a recipe.");
  command->footer(
      "Example:  fathom train recipes/shakespeare.toml --set train.steps=500\n"
      "Ctrl-C and SIGTERM save and end; --resume goes on with the same bits, also after a kill.");
  auto arguments = std::make_shared<Arguments>();
  command->add_option("RECIPE", arguments->recipe, "TOML file; --help-recipe lists its keys");
  command->add_option("--set", arguments->set, "KEY=VALUE instead of the recipe's, as optimizer.learning_rate=3e-4");
  command->add_option("--out", arguments->out, "the run folder (default: runs/NAME)");
  command->add_option("--resume", arguments->resume, "a run folder to go on with");
  command->add_flag("--help-recipe", arguments->help_recipe, "list the keys of a recipe and end");
  command->add_flag("--json", arguments->as_json, "print what came of it as JSON");
  command->callback(
      [arguments, &invocation] { invocation.run = [arguments](const Settings&) { return train(*arguments); }; });
}

}  // namespace fathom

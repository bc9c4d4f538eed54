#include "train/reject.h"

#include <algorithm>
#include <cmath>

#include "base/clock.h"
#include "engine/engine.h"
#include "engine/memory.h"
#include "formats/atomic_file.h"
#include "text/output_parser.h"
#include "train/json_lines.h"
#include "train/line_file.h"
#include "train/problems.h"
#include "train/report.h"
#include "train/rollout.h"
#include "train/run_folder.h"
#include "train/run_identity.h"
#include "train/run_log.h"
#include "train/selection.h"

namespace fathom {
namespace {

/// The counts by their names in metrics.jsonl, where they begin with answers_, and in summary.json.
using Count = uint64_t SelectionCounts::*;
constexpr std::pair<const char*, Count> kCounts[] = {{"truncated", &SelectionCounts::truncated},
                                                     {"wrong", &SelectionCounts::wrong},
                                                     {"easy", &SelectionCounts::easy},
                                                     {"unreadable", &SelectionCounts::unreadable},
                                                     {"duplicate", &SelectionCounts::duplicates},
                                                     {"surplus", &SelectionCounts::surplus},
                                                     {"kept", &SelectionCounts::kept}};

struct Progress {
  TrainerProgress trainer;  ///< step: prompts; tokens: of answers
  uint64_t bytes = 0;       ///< of answers.jsonl
  SelectionCounts counts;
};

json::object identity_header(const RunIdentity& identity) {
  json::object out;
  for (const auto& [name, value] : identity) out[name] = value;
  return {{"identity", std::move(out)}};
}

/// Of the last whole line of metrics.jsonl. Throws Error where the run began with something else.
Progress progress_of(const std::filesystem::path& folder, const RunIdentity& identity) {
  Progress out;
  const std::filesystem::path path = run_metrics_path(folder);
  if (!std::filesystem::exists(path)) return out;
  const Metrics metrics = read_metrics(path);
  const json::value header = metrics.header;
  const JsonObject before = JsonObject(header, path.string()).object("identity");
  for (const auto& [name, value] : identity)
    if (const std::string was = before.string_or(name, "none"); was != value)
      throw Error(
          cat(path.string(), ": ", name, ": expected the one that the run began with (", was, "), found ", value));
  if (metrics.steps.empty()) return out;
  const json::value last = metrics.steps.back();
  const JsonObject line(last, cat(path.string(), ": the last line"));
  const auto count = [&](const std::string& key) {
    const double x = line.number(key);
    if (!(x >= 0 && x < 0x1p53 && x == std::floor(x)))
      throw Error(cat(line.what(), ": ", key, ": expected a count, found ", x));
    return static_cast<uint64_t>(x);
  };
  out.trainer = {.step = count("step"), .tokens = count("tokens")};
  out.bytes = count("bytes");
  out.counts.prompts = out.trainer.step, out.counts.answers = count("answers");
  for (const auto& [name, member] : kCounts) out.counts.*member = count(cat("answers_", name));
  return out;
}

std::unique_ptr<Engine> load_engine(const Recipe& recipe, const TrainOptions& options) {
  const auto at_once = static_cast<size_t>(recipe.train.batch * recipe.reject.samples);
  return Engine::load(options.start,
                      {.profile = profile_from_name(recipe.train.profile),
                       .threads = options.threads ? options.threads : static_cast<size_t>(recipe.train.threads),
                       .ctx = static_cast<size_t>(recipe.data.context),
                       .sequences = std::min<size_t>(at_once, 64)});
}

SelectionRule rule_of(const Recipe::Reject& r) {
  return {.min_reward = r.min_reward,
          .keep = static_cast<size_t>(r.keep),
          .drop_all_right = r.drop_all_right,
          .readable = r.readable};
}

class Rejection {
 public:
  Rejection(const Recipe& recipe, const TrainOptions& options, TrainListener& listener)
      : recipe_(recipe),
        listener_(listener),
        folder_(options.resume ? RunFolder::open(options.folder) : RunFolder::create(options.folder, recipe)),
        identity_(run_identity(recipe, options)),
        progress_(progress_of(folder_.path(), identity_)),
        engine_(load_engine(recipe, options)),
        format_(engine_->output_format()),
        problems_({recipe.reject.task, recipe.data.train, recipe.reject.reward_program, Split::kTrain,
                   static_cast<uint64_t>(recipe.seed)},
                  engine_->tokenizer(), engine_->has_chat_template() ? &engine_->chat_template() : nullptr),
        selection_(rule_of(recipe.reject)),
        answers_(run_answers_path(folder_.path()), progress_.bytes),
        log_(recipe, folder_, progress_.trainer, identity_header(identity_)) {
    for (const std::string& note : engine_->info().notes) listener.on_note(note);
    format_.tools = ToolFormat::kNone;  // no tools are given: what looks like a call is text
    total_ = recipe.reject.prompts ? static_cast<uint64_t>(recipe.reject.prompts) : problems_.count();
    if (problems_.count() != 0 && total_ > problems_.count())
      throw Error(
          cat("reject.prompts: expected at most the ", problems_.count(), " problems of data.train, found ", total_));
    remember_kept();
  }

  TrainResult run() {
    plan();
    TrainResult out{.step = static_cast<int64_t>(progress_.trainer.step)};
    drawing_ = listener_.drawing_progress();
    while (progress_.trainer.step < total_ && !out.stopped) {
      try {
        listener_.on_step(step());
        out.stopped = progress_.trainer.step < total_ && listener_.stop();
      } catch (const Interrupted&) {
        out.stopped = true;  // the batch is drawn again
      }
    }
    out.step = static_cast<int64_t>(progress_.trainer.step);
    log_.sync();
    write_summary();
    write_run_report(folder_.path());
    return out;
  }

 private:
  /// The answers that an earlier process has kept.
  void remember_kept() {
    for_each_json_line(run_answers_path(folder_.path()), [&](const JsonObject& line, uint64_t /*bytes*/) {
      if (!line.has("messages")) return selection_.remember(line.string("prompt"), {"", line.string("completion")});
      const json::array& messages = line.array("messages");
      if (messages.size() != 2) throw Error(cat(line.what(), ": expected two messages, found ", messages.size()));
      const JsonObject question(messages[0], line.what()), answer(messages[1], line.what());
      selection_.remember(question.string("content"),
                          {answer.string_or("reasoning_content", ""), answer.string("content")});
    });
    selection_.counts() = progress_.counts;
  }

  void plan() {
    const EngineInfo& info = engine_->info();
    const uint64_t pool = engine_->pool().max_pages() * engine_->kv_layout().page_bytes;
    const uint64_t held = resident_memory_bytes();
    TrainPlan plan{.memory_bytes = held + pool,
                   .available_bytes = held + available_memory_bytes(),
                   .first_step = static_cast<int64_t>(progress_.trainer.step),
                   .steps = static_cast<int64_t>(total_)};
    plan.what = cat("reject ", engine_->config().model_type, " (", name(info.profile), "), ",
                    recipe_.reject.task.empty() ? "problems of files, " : cat("task ", recipe_.reject.task, ", "),
                    total_, " prompts of ", recipe_.reject.samples, " answers, ", info.threads, " threads");
    listener_.on_plan(plan);
  }

  /// Draws, grades and writes the next batch of prompts. Interrupted, it has changed nothing.
  TrainStep step() {
    const auto start = std::chrono::steady_clock::now();
    const uint64_t first = progress_.trainer.step,
                   n = std::min<uint64_t>(static_cast<uint64_t>(recipe_.train.batch), total_ - first);
    const std::vector<Rollout> answers = draw(first, n);
    TrainStep out{.step = static_cast<int64_t>(first + n), .steps = static_cast<int64_t>(total_), .trains = false};
    double reward = 0, truncated = 0;
    uint64_t tokens = 0, rows = 0;
    std::string lines;
    std::vector<std::vector<GradedAnswer>> graded;
    for (size_t i = 0; i < answers.size(); ++i) {
      if (answers[i].sample == 0) graded.emplace_back();
      graded.back().push_back(grade(answers[i]));
      reward += graded.back().back().reward, truncated += answers[i].truncated;
      tokens += answers[i].completion().size(), rows += answers[i].ids.size();
    }
    for (size_t p = 0; p < n; ++p) {
      const std::string prompt = problems_.example(first + p).prompt;
      for (const size_t i : selection_.select(prompt, graded[p])) lines += line_of(prompt, graded[p][i]) + "\n";
    }
    answers_.append(lines);
    answers_.sync();  // before the line that says how far the file counts
    progress_ = {{first + n, progress_.trainer.tokens + tokens}, answers_.size(), selection_.counts()};
    const double all = static_cast<double>(answers.size());
    out.tokens = progress_.trainer.tokens;
    out.more = {{"reward", reward / all},
                {"length", static_cast<double>(tokens) / all},
                {"truncated", truncated / all},
                {"bytes", static_cast<double>(progress_.bytes)},
                {"answers", static_cast<double>(progress_.counts.answers)}};
    for (const auto& [name, member] : kCounts)
      out.more.emplace_back(cat("answers_", name), static_cast<double>(progress_.counts.*member));
    log_.measure(out, rows, /*operations=*/0, seconds_since(start));
    log_.append(out);
    return out;
  }

  std::vector<Rollout> draw(uint64_t first, uint64_t n) {
    std::vector<std::vector<TokenId>> prompts;
    for (uint64_t i = 0; i < n; ++i) prompts.push_back(problems_.prompt(first + i));
    const auto samples = static_cast<size_t>(recipe_.reject.samples);
    const auto progress = [&](uint64_t done, uint64_t /*total*/) {
      if (listener_.stop()) throw Interrupted();
      if (drawing_) drawing_(first * samples + done, total_ * samples);
    };
    return roll_out(*engine_, prompts,
                    {.samples = samples,
                     .temperature = static_cast<float>(recipe_.reject.temperature),
                     .max_tokens = static_cast<size_t>(recipe_.reject.max_tokens),
                     .seed = static_cast<uint64_t>(recipe_.seed),
                     .first_prompt = static_cast<uint32_t>(first),
                     .progress = progress});
  }

  GradedAnswer grade(const Rollout& answer) {
    GradedAnswer out{.reward = problems_.reward(answer.prompt, answer), .truncated = answer.truncated};
    const Tokenizer& tokenizer = engine_->tokenizer();
    const std::span<const TokenId> ids = problems_.written(answer);
    if (!engine_->has_chat_template()) {
      out.text = tokenizer.decode(ids);
      return out;
    }
    OutputParser parser(format_, prompt_state(problems_.prompt_text(answer.prompt)));
    const auto take = [&](const std::vector<OutputEvent>& events) {
      for (const OutputEvent& e : events) (e.kind == OutputEvent::Kind::kThinking ? out.thinking : out.text) += e.text;
    };
    for (const TokenId id : ids)
      take(parser.feed(id, tokenizer.token_view(id), tokenizer.kind(id) == TokenKind::kControl));
    take(parser.finish());
    return out;
  }

  std::string line_of(const std::string& prompt, const GradedAnswer& answer) const {
    if (!engine_->has_chat_template())
      return to_json(json::object{{"prompt", prompt}, {"completion", answer.text}, {"reward", answer.reward}});
    json::object message{{"role", "assistant"}, {"content", answer.text}};
    if (!answer.thinking.empty()) message["reasoning_content"] = answer.thinking;
    return to_json(
        json::object{{"messages", json::array{json::object{{"role", "user"}, {"content", prompt}}, std::move(message)}},
                     {"reward", answer.reward}});
  }

  void write_summary() {
    const SelectionCounts& c = progress_.counts;
    json::object out{
        {"format", "fathom.rejection"},      {"version", 1},         {"prompts", c.prompts},
        {"prompts_asked", total_},           {"answers", c.answers}, {"right", c.answers - c.truncated - c.wrong},
        {"tokens", progress_.trainer.tokens}};
    for (const auto& [name, member] : kCounts) out[name] = c.*member;
    const Metrics metrics = read_metrics(run_metrics_path(folder_.path()));
    for (const char* key : {"seconds", "joules", "energy_source"})
      if (!metrics.steps.empty()) out[key] = metrics.steps.back().at(key);
    const std::string text = to_json(out, {.indent = 2}) + "\n";
    AtomicFile file(folder_.path() / "summary.json");
    file.write(text.data(), text.size());
    file.commit();
  }

  const Recipe& recipe_;
  TrainListener& listener_;
  RunFolder folder_;
  RunIdentity identity_;
  Progress progress_;
  std::unique_ptr<Engine> engine_;
  OutputFormat format_;
  RecipeProblems problems_;
  Selection selection_;
  LineFile answers_;
  RunLog log_;
  WorkProgress drawing_;
  uint64_t total_ = 0;  // prompts
};

}  // namespace

TrainResult run_rejection(const Recipe& recipe, const TrainOptions& options, TrainListener& listener) {
  return Rejection(recipe, options, listener).run();
}

}  // namespace fathom

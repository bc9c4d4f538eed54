#include "train/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "base/hash.h"
#include "engine/memory.h"
#include "formats/atomic_file.h"
#include "train/balance.h"
#include "train/data.h"
#include "train/forward.h"
#include "train/plan.h"
#include "train/report.h"
#include "train/run_folder.h"
#include "train/run_log.h"
#include "train/run_state.h"
#include "train/schedule.h"

namespace fathom {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

Schedule schedule_of(const Recipe& recipe) {
  const Recipe::Optimizer& o = recipe.optimizer;
  const ScheduleShape shape = o.schedule == "cosine" ? ScheduleShape::kCosine
                              : o.schedule == "wsd"  ? ScheduleShape::kWsd
                                                     : ScheduleShape::kConstant;
  const Schedule s{shape, o.learning_rate, o.min_learning_rate, static_cast<uint64_t>(o.warmup_steps),
                   static_cast<uint64_t>(recipe.train.steps), static_cast<uint64_t>(o.decay_steps)};
  require_valid(s);
  return s;
}

/// Whole samples, at most `most` at a time; 0: all.
std::vector<std::span<const Sample>> micro_batches(std::span<const Sample> batch, size_t most) {
  std::vector<std::span<const Sample>> out;
  const size_t n = most == 0 ? std::max<size_t>(1, batch.size()) : most;
  for (size_t i = 0; i < batch.size(); i += n) out.push_back(batch.subspan(i, std::min(n, batch.size() - i)));
  return out;
}

uint64_t rows_of(std::span<const Sample> samples) {
  uint64_t rows = 0;
  for (const Sample& s : samples) rows += s.ids.size() - 1;
  return rows;
}

class Trainer {
 public:
  Trainer(const Recipe& recipe, const TrainOptions& options, TrainListener& listener)
      : recipe_(recipe),
        listener_(listener),
        threads_(options.threads        ? options.threads
                 : recipe.train.threads ? static_cast<size_t>(recipe.train.threads)
                                        : physical_cores()),
        schedule_(schedule_of(recipe)),
        folder_(options.resume ? RunFolder::open(options.folder) : RunFolder::create(options.folder, recipe)),
        state_(recipe, options, folder_, threads_),
        context_(context_of(recipe, state_.model().masters.config())),
        data_(open_data(recipe, state_.model(), context_, options.cache, listener.data_progress())),
        backend_(make_cpu_backend(threads_)),
        pool_(threads_),
        log_(recipe, folder_, state_.progress()) {
    for (const std::string& note : data_.notes) listener_.on_note(note);
  }

  TrainResult run() {
    plan();
    TrainResult out;
    out.step = static_cast<int64_t>(state_.progress().step);
    while (out.step < recipe_.train.steps && !out.stopped) {
      std::optional<TrainStep> done = step();
      if (!done) {
        out.stopped = true;
        break;
      }
      out.step = done->step, out.loss = done->loss;
      const bool last = done->step == recipe_.train.steps;
      const bool save_now = last || (recipe_.train.save_every && done->step % recipe_.train.save_every == 0);
      const bool judge = last || save_now || (recipe_.train.eval_every && done->step % recipe_.train.eval_every == 0);
      if (judge && !data_.validation.empty()) out.validation_loss = done->validation_loss = evaluate();
      log_.append(*done);
      listener_.on_step(*done);
      if (save_now) save(out);
      if (!last && listener_.stop()) out.stopped = true;
    }
    if (out.stopped) save(out);
    write_report();
    return out;
  }

 private:
  static size_t context_of(const Recipe& recipe, const ModelConfig& config) {
    const auto context = static_cast<size_t>(recipe.data.context ? recipe.data.context
                                                                 : static_cast<int64_t>(config.max_position_embeddings));
    if (context > config.max_position_embeddings)
      throw Error(cat("data.context: expected at most the model's ", config.max_position_embeddings,
                      " positions (max_position_embeddings), found ", context));
    return context;
  }

  ForwardOptions forward_options(size_t sequences) const {
    const ModelConfig& c = state_.model().masters.config();
    return {.profile = recipe_.train.profile == "bf16" ? Profile::kBF16 : Profile::kExact,
            .mtp = c.num_nextn_predict_layers != 0 && recipe_.mtp.weight != 0,
            .balance_weight = c.n_routed_experts ? recipe_.moe.balance_alpha / static_cast<double>(sequences) : 0,
            .recompute = recipe_.train.recompute};
  }

  /// Refuses what does not fit, tries one micro-batch without an update, and says what is coming.
  void plan() {
    const Masters& masters = state_.model().masters;
    const std::vector<Sample> batch = data_.train->batch(state_.progress().step);
    uint64_t most_rows = 0;
    const auto parts = micro_batches(batch, static_cast<size_t>(recipe_.train.micro_batch));
    for (const std::span<const Sample> part : parts) most_rows = std::max(most_rows, rows_of(part));
    const TrainingMemory memory = training_memory(masters, recipe_, most_rows);
    TrainPlan plan{.parameters = masters.count(),
                   .memory_bytes = memory.total(),
                   .available_bytes = available_memory_bytes(),
                   .peak_gop_s = log_.measure_peak(threads_),
                   .first_step = static_cast<int64_t>(state_.progress().step),
                   .steps = recipe_.train.steps};
    // The masters and the optimizer's state are there already.
    const uint64_t to_come = memory.total() - memory.optimizer - memory.parameters / 3;
    if (to_come > plan.available_bytes)
      throw ResourceError(cat("training: expected ", gib(to_come), " of free memory (", gib(memory.activations),
                              " of it for the activations of ", most_rows, " tokens), found ",
                              gib(plan.available_bytes),
                              "; less are train.micro_batch, data.context, train.recompute = true"));
    plan.what = cat(recipe_.stage, " ", masters.config().model_type, ", ", masters.count(), " parameters, ",
                    recipe_.train.batch, " sequences of up to ", context_, " tokens a step, ", threads_, " threads");
    const Clock::time_point start = Clock::now();
    const std::unique_ptr<const Model> model = masters.snapshot(threads_);
    Gradients gradients;
    TrainStep unused;
    pass(*model, parts.front(), count_targets(batch), batch.size(), &gradients, unused, {});
    plan.step_s = seconds_since(start) * static_cast<double>(parts.size());
    listener_.on_plan(plan);
  }

  /// Forward, losses and, with gradients, backward of one micro-batch.
  void pass(const Model& model, std::span<const Sample> samples, const TargetCounts& all, size_t sequences,
            Gradients* gradients, TrainStep& sums, const std::function<void(const TrainingPass&)>& on_pass) {
    TrainingForward forward(*backend_, model, samples, forward_options(sequences), gradients != nullptr);
    const auto derivatives = [](std::span<const float> log_probs, std::span<const int32_t> targets, int64_t count,
                                double weight, double& loss) {
      std::vector<float> d(log_probs.size());
      const double share = 1 / static_cast<double>(std::max<int64_t>(count, 1));
      for (size_t i = 0; i < d.size(); ++i) {
        if (targets[i] < 0) continue;
        loss -= static_cast<double>(log_probs[i]) * share;
        d[i] = static_cast<float>(-weight * share);
      }
      return d;
    };
    const std::vector<float> d = derivatives(forward.log_probs(), forward.targets(), all.tokens, 1, sums.loss),
                             d_mtp = derivatives(forward.mtp_log_probs(), forward.mtp_targets(), all.mtp_tokens,
                                                 recipe_.mtp.weight, sums.mtp_loss);
    sums.balance_loss += forward.pass().balance_loss;
    sums.has_mtp = !forward.mtp_log_probs().empty();
    if (on_pass) on_pass(forward.pass());
    if (gradients) forward.backward(d, d_mtp, *gradients);
  }

  /// nullopt: the listener wants to stop; nothing was changed.
  std::optional<TrainStep> step() {
    const Clock::time_point start = Clock::now();
    const uint64_t index = state_.progress().step;
    const std::vector<Sample> batch = data_.train->batch(index);
    const TargetCounts all = count_targets(batch);
    TrainStep out{.step = static_cast<int64_t>(index) + 1, .steps = recipe_.train.steps};
    const std::unique_ptr<const Model> model = state_.model().masters.snapshot(threads_);
    Gradients gradients;
    std::vector<ExpertLoad> loads;
    for (const std::span<const Sample> part : micro_batches(batch, static_cast<size_t>(recipe_.train.micro_batch))) {
      if (listener_.stop()) return std::nullopt;
      pass(*model, part, all, batch.size(), &gradients, out, [&](const TrainingPass& p) { add_loads(loads, p.loads); });
    }
    const std::vector<Tensor> sums = state_.model().masters.gather(*model, gradients);
    out.gradient_norm = gradient_norm(sums, pool_);
    out.learning_rate = learning_rate(schedule_, index);
    if (const std::string wrong = state_.what_is_wrong(out, sums); wrong.empty()) {
      state_.update(out.learning_rate, clip_factor(out.gradient_norm, recipe_.optimizer.clip_norm), sums, loads,
                    out.loss, *backend_, pool_);
    } else {
      refuse(out, wrong);
    }
    state_.advance(static_cast<uint64_t>(all.tokens));
    out.tokens = state_.progress().tokens;
    for (const ExpertLoad& load : loads) out.expert_load = std::max(out.expert_load, expert_load(load.counts));
    log_.measure(out, rows_of(batch),
                 training_operations(state_.model().masters, rows_of(batch), rows_of(batch) / batch.size()),
                 seconds_since(start));
    return out;
  }

  static void add_loads(std::vector<ExpertLoad>& sums, const std::vector<ExpertLoad>& more) {
    if (sums.empty()) sums.resize(more.size());
    for (size_t i = 0; i < more.size(); ++i) {
      sums[i].gate = more[i].gate;
      sums[i].counts.resize(more[i].counts.size());
      for (size_t e = 0; e < more[i].counts.size(); ++e) sums[i].counts[e] += more[i].counts[e];
    }
  }

  /// A step whose numbers cannot be trusted: the batch is left out, or the run ends at the state before it.
  void refuse(TrainStep& out, const std::string& wrong) {
    out.skipped = true;
    listener_.on_note(cat("step ", out.step, ": ", wrong));
    if (recipe_.train.on_nan == "skip") return;
    TrainResult at{.step = out.step - 1};
    if (at.step > 0) save(at);
    write_report();
    throw Error(cat("step ", out.step, ": ", wrong, "; the run stops at the state before it",
                    at.checkpoint.empty() ? "" : cat(", saved in ", at.checkpoint.string())));
  }

  double evaluate() {
    const std::unique_ptr<const Model> model = state_.judged().snapshot(threads_);
    const TargetCounts all = count_targets(data_.validation);
    TrainStep sums;
    const size_t most = static_cast<size_t>(recipe_.train.micro_batch ? recipe_.train.micro_batch : recipe_.train.batch);
    for (const std::span<const Sample> part : micro_batches(data_.validation, most))
      pass(*model, part, all, data_.validation.size(), nullptr, sums, {});
    return sums.loss;
  }

  void save(TrainResult& out) {
    out.checkpoint = run_checkpoint_path(folder_.path(), out.step);
    if (std::filesystem::exists(out.checkpoint)) return;
    log_.sync();
    NewCheckpoint checkpoint = folder_.begin_checkpoint(out.step);
    state_.save(checkpoint.path());
    checkpoint.commit();
    folder_.prune(recipe_.train.keep, log_.best_checkpoint(run_checkpoints(folder_.path())));
    listener_.on_checkpoint(out.checkpoint);
  }

  void write_report() {
    log_.sync();
    const RunReport run = load_run(folder_.path());
    const std::string page = report_html({&run, 1});
    AtomicFile file(run_report_path(folder_.path()));
    file.write(page.data(), page.size());
    file.commit();
  }

  const Recipe& recipe_;
  TrainListener& listener_;
  size_t threads_;
  Schedule schedule_;
  RunFolder folder_;
  RunState state_;
  size_t context_;
  TrainingData data_;
  std::unique_ptr<Backend> backend_;
  ThreadPool pool_;
  RunLog log_;
};

}  // namespace

TrainResult run_training(const Recipe& recipe, const TrainOptions& options, TrainListener& listener) {
  if (recipe.stage != "pretrain" && recipe.stage != "sft")
    throw Error(cat("stage: expected pretrain or sft, found ", recipe.stage, ", which is not built yet"));
  if (recipe.lora.rank != 0) throw Error("lora.rank: expected 0, adapters are not trained yet");
  return Trainer(recipe, options, listener).run();
}

}  // namespace fathom

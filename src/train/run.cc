#include "train/run.h"

#include <algorithm>

#include "train/balance.h"
#include "train/heap.h"
#include "train/report.h"
#include "train/rollout.h"

namespace fathom {
namespace {

Schedule schedule_of(const Recipe& recipe) {
  const Recipe::Optimizer& o = recipe.optimizer;
  const ScheduleShape shape = o.schedule == "cosine" ? ScheduleShape::kCosine
                              : o.schedule == "wsd"  ? ScheduleShape::kWsd
                                                     : ScheduleShape::kConstant;
  const Schedule s{shape,
                   o.learning_rate,
                   o.min_learning_rate,
                   static_cast<uint64_t>(o.warmup_steps),
                   static_cast<uint64_t>(recipe.train.steps),
                   static_cast<uint64_t>(o.decay_steps)};
  require_valid(s);
  return s;
}

}  // namespace

Run::Run(const Recipe& recipe, const TrainOptions& options, TrainListener& listener)
    : recipe_(recipe),
      listener_(listener),
      threads_(options.threads        ? options.threads
               : recipe.train.threads ? static_cast<size_t>(recipe.train.threads)
                                      : physical_cores()),
      schedule_(schedule_of(recipe)),
      folder_(options.resume ? RunFolder::open(options.folder) : RunFolder::create(options.folder, recipe)),
      state_(recipe, options, folder_, threads_),
      backend_(make_cpu_backend(threads_)),
      pool_(threads_),
      log_(recipe, folder_, state_.progress()) {}

size_t Run::context() const {
  const size_t most = state_.model().masters.config().max_position_embeddings;
  const size_t context = recipe_.data.context ? static_cast<size_t>(recipe_.data.context) : most;
  if (context > most)
    throw Error(cat("data.context: expected at most the model's ", most, " positions (max_position_embeddings), found ",
                    context));
  return context;
}

TrainingMemory Run::memory(uint64_t rows) const {
  TrainingMemory out = training_memory(state_.model().masters.config(), state_.trained_count(), recipe_, rows);
  out.resumed = state_.progress().step != 0;
  return out;
}

ForwardOptions Run::forward_options(const Snapshot& snapshot) const {
  const Profile profile = state_.model().profile;
  return {.profile = profile,
          .cache_type = profile == Profile::kExact ? CacheType::kF32 : CacheType::kBF16,
          .adapter = snapshot.adapter.get(),
          .recompute = recipe_.train.recompute};
}

TrainResult Run::loop(Step step, Judge judge) {
  keep_freed_memory();
  TrainResult out;
  out.step = static_cast<int64_t>(state_.progress().step);
  const auto due = [](int64_t now, int64_t every) { return every != 0 && now % every == 0; };
  while (out.step < recipe_.train.steps && !out.stopped) {
    std::optional<TrainStep> done = step();
    if (!done) {
      out.stopped = true;
      break;
    }
    out.step = done->step, out.loss = done->loss;
    const bool last = done->step == recipe_.train.steps, save_now = last || due(done->step, recipe_.train.save_every);
    if (save_now || due(done->step, recipe_.train.eval_every)) judge(*done);
    if (done->validation_loss) out.validation_loss = done->validation_loss;
    log_.append(*done);
    listener_.on_step(*done);
    if (save_now) save(out);
    if (!last && listener_.stop()) out.stopped = true;
  }
  if (out.stopped) save(out);
  write_report();
  return out;
}

bool Run::update(TrainStep& step, const Snapshot& snapshot, Gradients& gradients, std::span<const ExpertLoad> loads) {
  const std::vector<Tensor> sums = state_.gather(snapshot, gradients);
  step.gradient_norm = gradient_norm(sums, pool_);
  step.learning_rate = learning_rate(schedule_, state_.progress().step);
  for (const ExpertLoad& load : loads) step.expert_load = std::max(step.expert_load, expert_load(load.counts));
  if (const std::string wrong = state_.what_is_wrong(step, sums); !wrong.empty()) {
    refuse(step, wrong);
    return false;
  }
  state_.update(step.learning_rate, clip_factor(step.gradient_norm, recipe_.optimizer.clip_norm), sums, loads,
                step.loss, *backend_, pool_);
  changed_by_ = step.step;
  return true;
}

void Run::write_sample(int64_t step, const Sample& like) {
  const auto counts = std::find(like.counts.begin(), like.counts.end(), uint8_t{1});
  auto begin = static_cast<size_t>(counts - like.counts.begin());
  if (begin < 2) begin = std::min<size_t>(8, like.ids.size());
  begin = std::min(begin, context() - 1);
  const std::vector<std::vector<TokenId>> prompts = {
      {like.ids.begin(), like.ids.begin() + static_cast<std::ptrdiff_t>(begin)}};
  const size_t most = std::min(static_cast<size_t>(recipe_.train.sample_tokens), context() - begin);
  const Snapshot now = state_.snapshot();
  const Tokenizer& tokenizer = *state_.model().tokenizer;
  const std::unique_ptr<Engine> engine = Engine::from_model(
      now.model, nullptr, {.profile = state_.model().profile, .threads = threads_, .ctx = begin + most});
  engine->publish(now.model, now.adapter);
  const std::vector<Rollout> answers = roll_out(*engine, prompts,
                                                {.temperature = 0.8F,
                                                 .max_tokens = most,
                                                 .stop_ids = end_ids(tokenizer),
                                                 .seed = static_cast<uint64_t>(recipe_.seed)});
  write_sample(step, tokenizer.decode(answers.front().ids) + "\n");
}

void Run::refuse(TrainStep& step, const std::string& wrong) {
  step.skipped = true;
  listener_.on_note(cat("step ", step.step, ": ", wrong));
  if (recipe_.train.on_nan == "skip") return;
  TrainResult at{.step = step.step - 1};
  const bool is_before = changed_by_ != step.step;  // else an earlier update of this step has moved the weights
  if (at.step > 0 && is_before) save(at);
  write_report();
  throw Error(cat("step ", step.step, ": ", wrong, "; the run stops at ",
                  is_before ? "the state before it" : "its last checkpoint",
                  at.checkpoint.empty() ? "" : cat(", saved in ", at.checkpoint.string())));
}

void Run::save(TrainResult& result) {
  result.checkpoint = run_checkpoint_path(folder_.path(), result.step);
  if (std::filesystem::exists(result.checkpoint)) return;
  log_.sync();
  NewCheckpoint checkpoint = folder_.begin_checkpoint(result.step);
  state_.save(checkpoint.path());
  checkpoint.commit();
  folder_.prune(recipe_.train.keep, log_.best_checkpoint(run_checkpoints(folder_.path())));
  listener_.on_checkpoint(result.checkpoint);
}

void Run::write_report() {
  log_.sync();
  write_run_report(folder_.path());
}

}  // namespace fathom

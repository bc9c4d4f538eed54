#include "train/grpo.h"

#include <numeric>

#include "tasks/task.h"
#include "tests/testing.h"
#include "train/adapter_masters.h"
#include "train/forward.h"
#include "train/rollout_testing.h"

namespace fathom {
namespace {

using testing::engine_of, testing::tiny_config, testing::tiny_llama, testing::tiny_masters;

/// Prompts of a few tokens; what an answer is worth is given.
class Given final : public Problems {
 public:
  using Worth = double (*)(uint64_t index, const Rollout& answer);
  explicit Given(Worth worth) : worth_(worth) {}
  std::vector<TokenId> prompt(uint64_t index) override {
    return {static_cast<TokenId>(index % 64), 2, static_cast<TokenId>(index / 64 % 64)};
  }
  double reward(uint64_t index, const Rollout& answer) override { return worth_(index, answer); }

 private:
  Worth worth_;
};

/// The share of low ids.
double low_share(uint64_t /*index*/, const Rollout& answer) {
  double low = 0;
  for (const TokenId id : answer.completion()) low += id < 32;
  return low / static_cast<double>(answer.completion().size());
}

/// Masters, optimizer and engine of a run.
struct Trainee {
  explicit Trainee(const ModelConfig& config, double std = 0.3, const OptimizerOptions& how = {.weight_decay = 0})
      : masters(Masters::draw(config, {.std = std, .seed = 3}, 1)),
        optimizer(masters.parameters(), how),
        engine(engine_of(masters, {.threads = 1, .sequences = 64})) {}

  /// One step of the optimizer.
  bool update(Gradients& gradients, double learning_rate) {
    const std::vector<Tensor> sums = masters.gather(engine->model(), gradients);
    const float scale = clip_factor(gradient_norm(sums, pool), 1);
    optimizer.step(sums, learning_rate, scale, pool, [](auto&&...) {});
    engine->publish(masters.snapshot(1));
    return true;
  }
  GrpoLearned learn(const GrpoBatch& batch, const GrpoOptions& options, double learning_rate,
                    const Model* reference = nullptr) {
    return learn_grpo(*engine, batch, options, reference,
                      [&](Gradients& gradients, const GrpoSums& /*sums*/) { return update(gradients, learning_rate); });
  }

  ThreadPool pool{1};
  Masters masters;
  Optimizer optimizer;
  std::unique_ptr<Engine> engine;
};

std::string message_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

/// Law 1 beside a frozen base, quantised or not: what base and adapter drew together is what the trainer computes,
/// before and after updates, which change the adapter alone.
TEST(Grpo, AnAdapterLearnsBesideAFrozenModel) {
  for (const auto& [file, profile] : {std::pair("models/qwen2-wide", Profile::kExact),
                                      {"gguf/qwen2-wide.Q4_K_M.gguf", Profile::kInt8},
                                      {"gguf/v3.Q8_0.gguf", Profile::kInt8}}) {
    const std::shared_ptr<const Model> model = load_model(*open_checkpoint(testing::golden_dir() / file));
    AdapterMasters masters = AdapterMasters::draw(*model, {.r = 4, .alpha = 64, .seed = 2});
    Optimizer optimizer(masters.parameters(), {.weight_decay = 0});
    ThreadPool pool(1);
    const std::unique_ptr<Engine> engine =
        Engine::from_model(model, nullptr, {.profile = profile, .threads = 2, .ctx = 64, .sequences = 4});
    std::shared_ptr<const Adapter> adapter;
    const auto publish = [&] {
      adapter = std::make_shared<const Adapter>(masters.snapshot());
      engine->publish(model, adapter);
    };
    publish();
    Given problems(low_share);
    GrpoOptions options{.prompts = 2, .group = 6, .temperature = 0.8F, .max_tokens = 12, .updates = 2};
    options.objective.beta = 0.05;
    for (uint64_t step = 0; step < 3; ++step) {
      const GrpoBatch batch = draw_grpo_batch(*engine, problems, options, step, step * 2);
      const GrpoLearned learned =
          learn_grpo(*engine, batch, options, model.get(), [&](Gradients& gradients, const GrpoSums& /*sums*/) {
            for (const Weight* w : model->weights().in_order()) EXPECT_FALSE(gradients.has(*w)) << w->name();
            optimizer.step(masters.gather(*adapter, gradients), 2e-3, 1, pool, [](auto&&...) {});
            publish();
            return true;
          });
      EXPECT_EQ(learned.updates, 2u);
      EXPECT_EQ(learned.verified_tokens, batch.drawn.answer_tokens) << file << ", step " << step;
      EXPECT_GT(learned.policy.mean_kl(), 0) << "the frozen model is the reference, and the policy has left it";
    }
    // The adapter is what is verified: without it the numbers are others.
    const std::vector<Rollout> answers =
        roll_out(*engine, testing::tiny_prompts({5}), {.samples = 2, .max_tokens = 6, .seed = 1});
    EXPECT_EQ(verify_rollouts(*engine, answers, 1, 0), 12u) << file;
    engine->publish(model);
    EXPECT_THAT(message_of([&] { verify_rollouts(*engine, answers, 1, 0); }), ::testing::HasSubstr("disagree")) << file;
  }
}

class GrpoOf : public ::testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Models, GrpoOf, ::testing::Values("llama", "v3"),
                         [](const auto& test) { return std::string(test.param); });

/// Law 1: what the sampler stored is what the trainer computes.
TEST_P(GrpoOf, SamplerAndTrainerAgreeToTheBit) {
  const Masters masters = tiny_masters(tiny_config(GetParam()));
  const std::unique_ptr<Engine> engine = engine_of(masters, {.threads = 2, .ctx = 192, .sequences = 3});
  for (const float temperature : {1.0F, 0.7F}) {
    std::vector<Rollout> answers =
        roll_out(*engine, testing::tiny_prompts({3, 66}), {.samples = 3, .temperature = temperature, .max_tokens = 30});
    EXPECT_EQ(verify_rollouts(*engine, answers, temperature, 0), 180u);
    EXPECT_EQ(verify_rollouts(*engine, answers, temperature, 4), 180u);
    float& number = answers[4].logprobs[7];
    number = std::nextafter(number, 0.0F);
    EXPECT_THAT(message_of([&] { verify_rollouts(*engine, answers, temperature, 2); }),
                ::testing::HasSubstr("sampler and trainer disagree: prompt 1, sample 1, token 7"));
  }
}

TEST(Grpo, ATemperatureChangedBehindTheTrainersBackStopsTheRun) {
  Trainee run(tiny_llama());
  Given problems(low_share);
  GrpoOptions options{.prompts = 2, .group = 4, .max_tokens = 6};
  options.temperature = 1.05F;
  const GrpoBatch batch = draw_grpo_batch(*run.engine, problems, options, 0, 0);
  options.temperature = 1;
  const auto learn = [&] { run.learn(batch, options, 0.01); };
  EXPECT_THAT(message_of(learn),
              ::testing::MatchesRegex("sampler and trainer disagree: prompt 0, sample 0, token 0 of the answer .id "
                                      "[0-9]+.: expected the log-probability that it was drawn with, .*, found .*"));
  options.updates = 4;  // answers of a later update are verified before the first one too
  options.temperature = 1.05F;
  GrpoBatch damaged = batch;
  damaged.answers.back().logprobs.back() = -1;
  EXPECT_THAT(message_of([&] { run.learn(damaged, options, 0.01); }), ::testing::HasSubstr("disagree: prompt 1"));
  EXPECT_EQ(run.optimizer.steps(), 0u);
  EXPECT_EQ(run.learn(batch, options, 0.01).updates, 4u);
}

double sum_of(const TrainingForward& forward) {
  double sum = 0;
  for (const float x : forward.log_probs()) sum += static_cast<double>(x);
  return sum;
}

TEST_P(GrpoOf, AnUpdateMakesRewardedAnswersLikelier) {
  Trainee run(tiny_config(GetParam()));
  Given problems(low_share);
  const GrpoOptions options{.prompts = 4, .group = 6, .max_tokens = 5, .balance_alpha = 1e-4};
  const GrpoBatch batch = draw_grpo_batch(*run.engine, problems, options, 0, 0);
  const auto gain_of_rewarded = [&] {
    double gain = 0;  // sum of advantage times log-probability
    for (size_t i = 0; i < batch.answers.size(); ++i) {
      const Sample sample = sample_of(batch.answers[i]);
      const TrainingForward forward(run.engine->context().backend, run.engine->model(), {&sample, 1}, {}, false);
      gain += static_cast<double>(batch.advantages[i]) * sum_of(forward);
    }
    return gain;
  };
  const double before = gain_of_rewarded();
  const GrpoLearned learned = run.learn(batch, options, 1e-3);
  EXPECT_GT(gain_of_rewarded(), before + 1);
  // One rollout, one update: the policy is the one that drew (spec/training.md 10.3).
  EXPECT_EQ(learned.updates, 1u);
  EXPECT_EQ(learned.verified_tokens, 120u);
  EXPECT_EQ(learned.policy.tokens, 120u);
  EXPECT_EQ(learned.policy.mean_ratio(), 1);
  EXPECT_EQ(learned.policy.ratio_max, 1);
  EXPECT_EQ(learned.policy.clipped_high + learned.policy.clipped_low, 0u);
  EXPECT_GT(learned.policy.entropy(), 0.5);
  int64_t routed = 0;
  for (const ExpertLoad& load : learned.loads)
    for (const int64_t count : load.counts) routed += count;
  EXPECT_EQ(routed, learned.loads.empty() ? 0 : 24 * 7 * 3) << "answers, positions, experts of each";
  EXPECT_EQ(learned.loads.empty(), GetParam() == std::string("llama"));
}

TEST_P(GrpoOf, MicroBatchesAndThreadsChangeNoBit) {
  const Masters masters = tiny_masters(tiny_config(GetParam()));
  Given problems(low_share);
  GrpoOptions options{.prompts = 3, .group = 3, .max_tokens = 5, .balance_alpha = 1e-2};
  options.objective.beta = 0.1;
  const std::unique_ptr<const Model> reference =
      Masters::draw(masters.config(), {.std = 0.2, .seed = 9}, 1).snapshot(1);
  std::vector<Tensor> want;
  double want_loss = 0;
  for (const size_t micro_batch : {0, 1, 4}) {
    const std::unique_ptr<Engine> engine = engine_of(masters, {.threads = micro_batch == 4 ? 3u : 1u});
    options.micro_batch = micro_batch, options.recompute = micro_batch == 1;
    const GrpoBatch batch = draw_grpo_batch(*engine, problems, options, 0, 0);
    std::vector<Tensor> got;
    double loss = 0;
    const GrpoLearned learned =
        learn_grpo(*engine, batch, options, reference.get(), [&](Gradients& gradients, const GrpoSums& sums) {
          got = masters.gather(engine->model(), gradients);
          loss = sums.policy.loss;
          return false;
        });
    EXPECT_EQ(learned.updates, 0u) << "the caller changed nothing";
    EXPECT_GT(learned.policy.mean_kl(), 0);
    if (want.empty()) want = got, want_loss = learned.policy.loss;
    EXPECT_EQ(learned.policy.loss, want_loss);
    EXPECT_EQ(loss, want_loss) << "of the one update";
    ASSERT_EQ(got.size(), want.size());
    for (size_t i = 0; i < got.size(); ++i)
      EXPECT_EQ(0, std::memcmp(got[i].bytes(), want[i].bytes(), got[i].size_bytes()))
          << masters.parameters()[i].name << ", micro-batch " << micro_batch;
  }
}

/// What the routers of a forward over a batch's answers [first, ...) choose: one list of ids per answer.
std::vector<std::vector<int32_t>> experts_of(Trainee& run, const GrpoBatch& batch, size_t first) {
  std::vector<std::vector<int32_t>> out;
  for (size_t i = first; i < batch.answers.size(); ++i) {
    const Sample sample = sample_of(batch.answers[i]);
    const TrainingForward forward(run.engine->context().backend, run.engine->model(), {&sample, 1},
                                  {.note_choices = true}, false);
    out.push_back(forward.pass().choices.at(0).ids);
  }
  return out;
}

std::vector<int64_t> counts_of(const std::vector<std::vector<int32_t>>& ids) {
  std::vector<int64_t> out(8);
  for (const auto& answer : ids)
    for (const int32_t id : answer) ++out[static_cast<size_t>(id)];
  return out;
}

/// The second update computes with the experts of the rollout, although the first one has moved the router; without
/// the option it does not. Micro-batches and recomputation change no bit of that.
TEST(Grpo, KeepRoutingComputesWithTheExpertsOfTheRollout) {
  std::vector<Tensor> want;
  for (const bool keep : {false, true})
    for (const size_t micro_batch : {0, 3}) {
      Trainee run(testing::tiny_v3());
      Given problems(low_share);
      GrpoOptions options{.prompts = 4, .group = 4, .max_tokens = 6, .updates = 2, .micro_batch = micro_batch};
      options.keep_routing = keep, options.recompute = micro_batch != 0;
      const GrpoBatch batch = draw_grpo_batch(*run.engine, problems, options, 0, 0);
      const auto drawn_with = experts_of(run, batch, 8);
      std::vector<std::vector<int32_t>> would_choose;
      std::vector<int64_t> loads;
      std::vector<Tensor> got;
      size_t update = 0;
      learn_grpo(*run.engine, batch, options, nullptr, [&](Gradients& gradients, const GrpoSums& sums) {
        if (update++ == 0) {
          run.update(gradients, 3e-2);
          would_choose = experts_of(run, batch, 8);
          return true;
        }
        loads = sums.loads.at(0).counts;
        got = run.masters.gather(run.engine->model(), gradients);
        return false;
      });
      EXPECT_NE(counts_of(would_choose), counts_of(drawn_with)) << "the first update has moved the router";
      EXPECT_EQ(loads, counts_of(keep ? drawn_with : would_choose));
      if (!keep) continue;
      if (want.empty()) want = got;
      ASSERT_EQ(got.size(), want.size());
      for (size_t i = 0; i < got.size(); ++i)
        EXPECT_EQ(0, std::memcmp(got[i].bytes(), want[i].bytes(), got[i].size_bytes()))
            << run.masters.parameters()[i].name;
    }
}

TEST(Grpo, AReferenceThatIsThePolicyCostsNothing) {
  Trainee run(tiny_llama());
  Given problems(low_share);
  GrpoOptions options{.prompts = 2, .group = 4, .temperature = 0.7F, .max_tokens = 6, .updates = 2};
  options.objective.beta = 0.1;
  const std::unique_ptr<const Model> reference = run.masters.snapshot(1);
  const GrpoBatch batch = draw_grpo_batch(*run.engine, problems, options, 0, 0);
  GrpoOptions first = options;
  first.updates = 1;
  EXPECT_EQ(run.learn(batch, first, 0, reference.get()).policy.mean_kl(), 0);
  const GrpoLearned learned = run.learn(batch, options, 1e-2, reference.get());
  EXPECT_GT(learned.policy.mean_kl(), 0) << "the second update is away from it";
  EXPECT_NE(learned.policy.ratio_max, 1);
}

TEST(Grpo, DynamicSamplingReplacesGroupsWithoutDifferences) {
  Trainee run(tiny_llama());
  // Only problems whose number is a multiple of 3 tell answers apart.
  Given problems([](uint64_t index, const Rollout& answer) { return index % 3 == 0 ? answer.sample : 1.0; });
  GrpoOptions options{.prompts = 4, .group = 3, .max_tokens = 2};
  GrpoBatch batch = draw_grpo_batch(*run.engine, problems, options, 7, 30);
  EXPECT_EQ(batch.answers.size(), 12u);
  EXPECT_EQ(batch.drawn.problems, 4u);
  EXPECT_EQ(batch.drawn.equal, 2u) << "31 and 32";
  EXPECT_EQ(batch.advantages, (std::vector<float>{-1, 0, 1, 0, 0, 0, 0, 0, 0, -1, 0, 1}));

  options.dynamic_sampling = true;
  batch = draw_grpo_batch(*run.engine, problems, options, 7, 30);  // 30 to 33, 34 and 35, 36 and 37, 38, 39
  EXPECT_EQ(batch.drawn.rounds, 5u);
  EXPECT_EQ(batch.drawn.problems, 10u);
  EXPECT_EQ(batch.drawn.equal, 6u);
  ASSERT_EQ(batch.answers.size(), 12u);
  EXPECT_EQ(batch.answers.back().prompt, 9u) << "numbers within the step go on";
  EXPECT_EQ(batch.answers.back().ids[0], 39);

  options.most_rounds = 2;
  batch = draw_grpo_batch(*run.engine, problems, options, 7, 30);
  EXPECT_EQ(batch.answers.size(), 6u) << "bounded: two groups were found";
  EXPECT_EQ(run.learn(batch, options, 0).updates, 1u);
  options.prompts = 1;
  batch = draw_grpo_batch(*run.engine, problems, options, 7, 31);
  EXPECT_TRUE(batch.answers.empty());
  EXPECT_EQ(run.learn(batch, options, 0).updates, 0u);
}

TEST(Grpo, CountsWhatItDrew) {
  ModelConfig config = tiny_llama();
  config.eos_token_ids = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
  Trainee run(config);
  Given problems([](uint64_t /*index*/, const Rollout& answer) { return answer.truncated ? 0.25 : 1.0; });
  GrpoOptions options{.prompts = 4, .group = 8, .max_tokens = 6, .overlong = Overlong::kMask};
  const GrpoBatch masked = draw_grpo_batch(*run.engine, problems, options, 0, 0);
  options.overlong = Overlong::kSoft, options.overlong_cache = 4;
  const GrpoBatch soft = draw_grpo_batch(*run.engine, problems, options, 0, 0);
  size_t truncated = 0, tokens = 0;
  double penalty = 0;
  for (size_t i = 0; i < masked.answers.size(); ++i) {
    const Rollout& answer = masked.answers[i];
    const size_t n = answer.completion().size();
    truncated += answer.truncated, tokens += n;
    EXPECT_EQ(masked.kept[i], !answer.truncated);
    EXPECT_EQ(masked.rewards[i], answer.truncated ? 0.25 : 1.0);
    const double cost = n <= 2 ? 0 : static_cast<double>(n - 2) / 4;
    EXPECT_EQ(soft.rewards[i], masked.rewards[i] - cost);
    EXPECT_EQ(soft.kept[i], 1);
    penalty -= cost;
  }
  EXPECT_GT(truncated, 0u);
  EXPECT_LT(truncated, 32u);
  EXPECT_EQ(masked.drawn.truncated, truncated);
  EXPECT_EQ(masked.drawn.answer_tokens, tokens);
  EXPECT_EQ(masked.drawn.prompt_tokens, 96u);
  EXPECT_DOUBLE_EQ(masked.drawn.length, static_cast<double>(tokens) / 32);
  EXPECT_DOUBLE_EQ(masked.drawn.reward, 1 - 0.75 * static_cast<double>(truncated) / 32);
  EXPECT_DOUBLE_EQ(soft.drawn.reward, masked.drawn.reward);
  EXPECT_DOUBLE_EQ(soft.drawn.penalty, penalty / 32);
  EXPECT_LT(masked.drawn.length_above, 6);
  EXPECT_EQ(masked.drawn.length_below, 6);
  const GrpoLearned learned = run.learn(masked, options, 0);
  EXPECT_EQ(learned.policy.left_out, truncated);
  EXPECT_EQ(learned.verified_tokens, tokens) << "masked answers are verified too";
}

/// Stopped anywhere before its first update, a step has changed nothing, and comes out the same when it is done again.
TEST(Grpo, AStepThatIsStoppedHasChangedNothing) {
  Trainee run(tiny_llama());
  Given problems(low_share);
  GrpoOptions options{.prompts = 2, .group = 4, .max_tokens = 6, .updates = 2, .micro_batch = 2};
  const GrpoBatch whole = draw_grpo_batch(*run.engine, problems, options, 0, 0);
  size_t calls = 0, most = 0;
  options.progress = [&](uint64_t done, uint64_t total) {
    EXPECT_LE(done, total);
    EXPECT_EQ(total, 8u);
    if (++calls > most) throw Interrupted();
  };
  for (most = 0; most < 8; ++most) {  // 6 passes that draw, 2 micro-batches of the first update
    calls = 0;
    const auto step = [&] {
      const GrpoBatch batch = draw_grpo_batch(*run.engine, problems, options, 0, 0);
      EXPECT_EQ(calls, 6u);
      EXPECT_EQ(batch.answers.back().ids, whole.answers.back().ids);
      run.learn(batch, options, 1e-3);
    };
    EXPECT_EQ(message_of(step), "interrupted");
    EXPECT_EQ(run.engine->pool().used_pages(), 0u);
    EXPECT_EQ(run.optimizer.steps(), 0u);
  }
  calls = 0;
  EXPECT_EQ(run.learn(whole, options, 1e-3).updates, 2u);
  EXPECT_EQ(calls, 2u) << "nobody is asked once the weights have changed";
}

TEST(Grpo, RefusesWhatItCannotDo) {
  Trainee run(tiny_llama());
  Given lying([](uint64_t index, const Rollout& /*answer*/) { return index == 12 ? std::nan("") : 0.0; });
  EXPECT_THAT(
      message_of([&] { draw_grpo_batch(*run.engine, lying, {.prompts = 2, .group = 2, .max_tokens = 1}, 0, 11); }),
      ::testing::HasSubstr("reward of problem 12, sample 0: expected a number, found nan"));
  const auto refused = [](const GrpoOptions& options) { return message_of([&] { require_valid(options); }); };
  EXPECT_EQ(refused({.group = 1}), "grpo: group: expected at least 2 answers to compare, found 1");
  EXPECT_EQ(refused({.prompts = 2, .group = 2, .updates = 5}),
            "grpo: updates: expected 1 to the number of answers, found 5");
  EXPECT_EQ(refused({.max_tokens = 8, .overlong = Overlong::kSoft, .overlong_cache = 8}),
            "grpo: overlong_cache: expected 1 to below max_tokens, found 8");
  EXPECT_EQ(refused({}), "no error");
}

/// "3,7>" -> "7", a token for each character.
class LargerDigit final : public Problems {
 public:
  static constexpr std::string_view kCharacters = "0123456789,>";
  static ModelConfig config() {
    ModelConfig c = tiny_llama();
    c.vocab_size = kCharacters.size();
    return c;
  }
  std::vector<TokenId> prompt(uint64_t index) override {
    std::vector<TokenId> ids;
    for (const char c : example(index).prompt) ids.push_back(static_cast<TokenId>(kCharacters.find(c)));
    return ids;
  }
  double reward(uint64_t index, const Rollout& answer) override {
    std::string text;
    for (const TokenId id : answer.completion()) text += kCharacters[static_cast<size_t>(id)];
    return task_->reward(example(index), text).reward;
  }

 private:
  Example example(uint64_t index) const { return task_->example(Split::kTrain, /*seed=*/1, index); }
  std::unique_ptr<const Task> task_ = make_task("larger-digit");
};

/// spec/training.md 10.3, from nothing: the reward alone teaches which digit is larger.
TEST(Grpo, LearnsTheLargerOfTwoDigits) {
  Trainee run(LargerDigit::config(), 0.2);
  LargerDigit problems;
  const GrpoOptions options{.prompts = 16, .group = 8, .max_tokens = 1, .seed = 5};
  std::vector<double> rewards;
  uint64_t next = 0;
  for (uint64_t step = 0; step < 60; ++step) {
    const GrpoBatch batch = draw_grpo_batch(*run.engine, problems, options, step, next);
    next += batch.drawn.problems;
    rewards.push_back(batch.drawn.reward);
    run.learn(batch, options, 5e-3);
  }
  const auto mean = [&](size_t from) { return std::accumulate(&rewards[from], &rewards[from] + 10, 0.0) / 10; };
  EXPECT_LT(mean(0), 0.4);
  EXPECT_GT(mean(50), 0.9);
}

}  // namespace
}  // namespace fathom

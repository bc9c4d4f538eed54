// Losses, gradients and optimiser steps of every model in $FATHOM_GOLDEN/train against torch autograd (law 3), and the
// invariance of gradients (law 2). Another set of files of the same form is checked by the same tests.
#include <cmath>
#include <cstring>
#include <regex>

#include "formats/safetensors.h"
#include "tests/testing.h"
#include "train/balance.h"
#include "train/forward.h"
#include "train/masters.h"
#include "train/optimizer.h"
#include "train/policy_loss.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

constexpr double kLossTolerance = 1e-5, kGradientTolerance = 1e-4;  // relative; of a tensor's largest entry
constexpr double kMtpWeight = 0.3, kBalanceAlpha = 0.01;            // of the golden files

std::vector<std::string> names() {
  std::vector<std::string> out;
  const fs::path dir = testing::golden_dir() / "train";
  if (fs::is_directory(dir))
    for (const auto& entry : fs::directory_iterator(dir)) out.push_back(entry.path().filename());
  std::sort(out.begin(), out.end());
  return out;
}

/// Everything of a golden training folder.
struct Golden {
  explicit Golden(const std::string& name)
      : file(testing::golden_dir() / "train" / name / "golden.safetensors"),
        checkpoint(open_checkpoint(testing::golden_dir() / "train" / name)),
        masters(Masters::from(*checkpoint, 1)) {}

  /// batches[index] with its loss mask.
  std::vector<Sample> batch(size_t index) const {
    const Tensor all = file.tensor("batches"), mask = file.tensor("loss_mask");
    const size_t B = all.dim(1), T = all.dim(2);
    std::vector<Sample> out(B);
    for (size_t b = 0; b < B; ++b)
      for (size_t t = 0; t < T; ++t) {
        out[b].ids.push_back(static_cast<TokenId>(all.data<int64_t>()[(index * B + b) * T + t]));
        out[b].counts.push_back(mask.data<float>()[b * T + t] != 0);
      }
    return out;
  }
  double number(const std::string& name) const { return static_cast<double>(file.tensor(name).data<float>()[0]); }
  bool has_mtp() const { return file.has("loss.ce_mtp"); }

  SafetensorsFile file;
  std::unique_ptr<Checkpoint> checkpoint;
  Masters masters;
};

struct Losses {
  double ce = 0, ce_mtp = 0, balance = 0;
  std::vector<ExpertLoad> loads;
  double total() const { return ce + kMtpWeight * ce_mtp + balance; }
};

struct How {
  size_t threads = 2;
  size_t micro_batch = SIZE_MAX;  // sequences at a time
  bool recompute = false;
  bool one_pass = true;  // logits computed once, since the loss's derivatives are known beforehand
};

/// One step's losses and gradients, micro-batch after micro-batch.
Losses step(const Golden& golden, const Model& model, std::span<const Sample> batch, const How& how,
            Gradients& gradients) {
  const std::unique_ptr<Backend> backend = make_cpu_backend(how.threads);
  const TargetCounts all = count_targets(batch);
  Losses out;
  for (size_t begin = 0; begin < batch.size();) {
    const size_t n = std::min(how.micro_batch, batch.size() - begin);
    TrainingForward forward(*backend, model, batch.subspan(begin, n),
                            {.mtp = golden.has_mtp(),
                             .balance_weight = golden.has_mtp() ? kBalanceAlpha / static_cast<double>(batch.size()) : 0,
                             .recompute = how.recompute,
                             .head = !how.one_pass,
                             .last_row = true});
    const auto derivatives = [](std::span<const int32_t> targets, int64_t count, double weight) {
      std::vector<float> d(targets.size());
      for (size_t i = 0; i < d.size(); ++i)
        if (targets[i] >= 0) d[i] = static_cast<float>(-weight / static_cast<double>(count));
      return d;
    };
    const auto add_loss = [](std::span<const float> log_probs, std::span<const int32_t> targets, int64_t count,
                             double& loss) {
      for (size_t i = 0; i < targets.size(); ++i)
        if (targets[i] >= 0) loss -= static_cast<double>(log_probs[i]) / static_cast<double>(count);
    };
    std::vector<float> d = derivatives(forward.targets(), all.tokens, 1);
    if (how.one_pass) {
      add_loss(forward.log_probs_of_known(d, &gradients), forward.targets(), all.tokens, out.ce);
      d.clear();
    } else {
      add_loss(forward.log_probs(), forward.targets(), all.tokens, out.ce);
    }
    add_loss(forward.mtp_log_probs(), forward.mtp_targets(), all.mtp_tokens, out.ce_mtp);
    forward.backward(d, derivatives(forward.mtp_targets(), all.mtp_tokens, kMtpWeight), gradients);
    out.balance += forward.pass().balance_loss;
    out.loads = forward.pass().loads;
    begin += n;
  }
  return out;
}

/// Largest error of a tensor relative to its largest entry.
double error_of(const Tensor& got, const Tensor& want) {
  double worst = 0, largest = 1e-12;
  for (size_t i = 0; i < want.count(); ++i) {
    const double w = static_cast<double>(want.data<float>()[i]);
    worst = std::max(worst, std::abs(static_cast<double>(got.data<float>()[i]) - w));
    largest = std::max(largest, std::abs(w));
  }
  return worst / largest;
}

class TrainGolden : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(All, TrainGolden, ::testing::ValuesIn(names()),
                         [](const auto& test) { return std::regex_replace(test.param, std::regex("\\W"), "_"); });

TEST_P(TrainGolden, LossesAndGradients) {
  const Golden golden(GetParam());
  const std::unique_ptr<const Model> model = golden.masters.snapshot(1);
  Gradients gradients;
  const Losses got = step(golden, *model, golden.batch(0), {}, gradients);
  EXPECT_NEAR(got.ce, golden.number("loss.ce"), kLossTolerance * golden.number("loss.ce"));
  EXPECT_NEAR(got.total(), golden.number("loss.total"), kLossTolerance * golden.number("loss.total"));
  if (golden.has_mtp()) {
    EXPECT_NEAR(got.ce_mtp, golden.number("loss.ce_mtp"), kLossTolerance * golden.number("loss.ce_mtp"));
    EXPECT_NEAR(got.balance, golden.number("loss.balance"), kLossTolerance * golden.number("loss.balance"));
  }
  const std::vector<Tensor> sums = golden.masters.gather(*model, gradients);
  size_t compared = 0;
  for (size_t i = 0; i < sums.size(); ++i) {
    const std::string& name = golden.masters.parameters()[i].name;
    ASSERT_TRUE(golden.file.has("grad." + name)) << name;
    const Tensor want = golden.file.tensor("grad." + name);
    ASSERT_EQ(sums[i].shape(), want.shape()) << name;
    EXPECT_LE(error_of(sums[i], want), kGradientTolerance) << name;
    ++compared;
  }
  size_t expected = 0;
  for (const StoredRange& range : golden.file.ranges()) expected += range.info.name.starts_with("grad.");
  EXPECT_EQ(compared, expected) << "every gradient of the file has a parameter";
  for (const ExpertLoad& load : got.loads) {
    const std::string name = "expert_counts." + load.gate.substr(0, load.gate.size() - std::string(".weight").size());
    if (!golden.file.has(name)) continue;
    const Tensor want = golden.file.tensor(name);
    for (size_t e = 0; e < load.counts.size(); ++e) EXPECT_EQ(load.counts[e], want.data<int64_t>()[e]) << name << e;
  }
}

/// Three steps over three batches: our gradients, clipping, optimizer and balance, against torch's.
TEST_P(TrainGolden, ThreeSteps) {
  ThreadPool pool(2);
  const std::unique_ptr<Backend> backend = make_cpu_backend(2);
  for (const bool muon : {false, true}) {
    const std::string kind = muon ? "muon." : "adamw.";
    Golden golden(GetParam());
    Optimizer optimizer(golden.masters.parameters(), {.muon = muon, .beta1 = 0.9, .beta2 = 0.95, .weight_decay = 0.1});
    for (size_t s = 0; s < 3; ++s) {
      const std::unique_ptr<const Model> model = golden.masters.snapshot(1);
      Gradients gradients;
      const Losses losses = step(golden, *model, golden.batch(s), {}, gradients);
      const double want_loss = static_cast<double>(golden.file.tensor(kind + "loss").data<float>()[s]);
      EXPECT_NEAR(losses.total(), want_loss, 1e-4 * want_loss) << kind << s;
      const std::vector<Tensor> sums = golden.masters.gather(*model, gradients);
      const double norm = gradient_norm(sums, pool);
      const double want_norm = static_cast<double>(golden.file.tensor(kind + "grad_norm").data<float>()[s]);
      EXPECT_NEAR(norm, want_norm, 1e-4 * want_norm) << kind << s;
      optimizer.step(sums, 1e-2, clip_factor(norm, 1), pool,
                     [&](float* c, size_t c_stride, const float* a, size_t a_row, size_t a_col, const float* b,
                         size_t b_stride, size_t M, size_t N,
                         size_t K) { backend->multiply_add(c, c_stride, a, a_row, a_col, b, b_stride, M, N, K); });
      for (const ExpertLoad& load : losses.loads)
        if (Parameter* bias =
                golden.masters.find(load.gate.substr(0, load.gate.rfind(".weight")) + ".e_score_correction_bias"))
          update_router_bias(bias->value.span<float>(), load.counts, 0.001f);
    }
    for (const auto* list : {&golden.masters.parameters(), &golden.masters.router_biases()})
      for (const Parameter& p : *list)
        EXPECT_LE(error_of(p.value, golden.file.tensor(kind + "after." + p.name)), muon ? 1e-4 : 2e-3)
            << kind << p.name;
  }
}

/// GRPO's and DAPO's gradients of every parameter, for a group of four answers to a prompt of eight tokens.
TEST_P(TrainGolden, PolicyGradients) {
  const Golden golden(GetParam());
  if (!golden.file.has("grpo.input_ids")) return;  // this model has none
  const Tensor ids = golden.file.tensor("grpo.input_ids"), lengths = golden.file.tensor("grpo.completion_lengths");
  const size_t G = ids.dim(0), width = ids.dim(1), most = golden.file.tensor("grpo.logprobs").dim(1), P = width - most;
  std::vector<Sample> samples(G);
  std::vector<size_t> n(G);
  for (size_t g = 0; g < G; ++g) {
    n[g] = static_cast<size_t>(lengths.data<int64_t>()[g]);
    for (size_t t = 0; t < P + n[g]; ++t) {
      samples[g].ids.push_back(static_cast<TokenId>(ids.data<int64_t>()[g * width + t]));
      samples[g].counts.push_back(t >= P);
    }
  }
  /// The first n[g] of each row of a golden [G, most] tensor, one after the other.
  const auto flat = [&](const std::string& name) {
    std::vector<float> out;
    const float* values = golden.file.tensor(name).data<float>();
    for (size_t g = 0; g < G; ++g) out.insert(out.end(), values + g * most, values + g * most + n[g]);
    return out;
  };
  const std::vector<float> want = flat("grpo.logprobs"), old = flat("grpo.old_logprobs"),
                           ref = flat("grpo.ref_logprobs");
  const Tensor advantages = golden.file.tensor("grpo.advantages");
  const std::unique_ptr<Backend> backend = make_cpu_backend(2);
  const std::unique_ptr<const Model> model = golden.masters.snapshot(1);
  for (const std::string name : {"grpo", "dapo"}) {
    TrainingForward forward(*backend, *model, samples, {});
    std::vector<float> logprobs;
    for (size_t i = 0; i < forward.targets().size(); ++i)
      if (forward.targets()[i] >= 0) logprobs.push_back(forward.log_probs()[i]);
    ASSERT_EQ(logprobs.size(), want.size());
    for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(logprobs[i], want[i], 1e-4) << i;
    const PolicyObjective objective = policy_objective(name);
    PolicySums sums;
    const std::vector<float> d = policy_loss({.logprobs = logprobs,
                                              .old_logprobs = old,
                                              .ref_logprobs = objective.beta != 0 ? ref : std::vector<float>{},
                                              .lengths = n,
                                              .advantages = advantages.span<float>()},
                                             objective, count_policy(n, {}), sums);
    EXPECT_NEAR(sums.loss, golden.number("grpo." + name + ".loss"), 1e-5) << name;
    std::vector<float> rows(forward.targets().size());
    for (size_t i = 0, at = 0; i < rows.size(); ++i)
      if (forward.targets()[i] >= 0) rows[i] = d[at++];
    Gradients gradients;
    forward.backward(rows, {}, gradients);
    const std::vector<Tensor> got = golden.masters.gather(*model, gradients);
    for (size_t i = 0; i < got.size(); ++i) {
      const std::string key = cat("grpo.", name, ".grad.", golden.masters.parameters()[i].name);
      if (!golden.file.has(key)) continue;
      EXPECT_LE(error_of(got[i], golden.file.tensor(key)), kGradientTolerance) << key;
    }
  }
}

/// spec/numerics.md 8: threads, micro-batches of whole sequences and activation checkpointing change no bit.
TEST_P(TrainGolden, SameBitsHoweverComputed) {
  const Golden golden(GetParam());
  const std::unique_ptr<const Model> model = golden.masters.snapshot(1);
  const std::vector<Sample> batch = golden.batch(0);
  Gradients plain;
  step(golden, *model, batch, {.threads = 1}, plain);
  const std::vector<Tensor> want = golden.masters.gather(*model, plain);
  for (const How& how : {How{.threads = 3}, How{.threads = 2, .micro_batch = 1},
                         How{.micro_batch = 2, .recompute = true}, How{.micro_batch = 2, .one_pass = false}}) {
    // With an MTP module the two ways add the hidden states' two gradients in different orders.
    if (!how.one_pass && golden.has_mtp()) continue;
    Gradients gradients;
    step(golden, *model, batch, how, gradients);
    const std::vector<Tensor> got = golden.masters.gather(*model, gradients);
    for (size_t i = 0; i < got.size(); ++i)
      EXPECT_EQ(0, std::memcmp(got[i].bytes(), want[i].bytes(), got[i].size_bytes()))
          << golden.masters.parameters()[i].name << ", threads " << how.threads << ", micro-batch " << how.micro_batch
          << ", one pass " << how.one_pass;
  }
}

}  // namespace
}  // namespace fathom

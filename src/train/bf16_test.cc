// Profile bf16 in training (spec/numerics.md 8), on the table that emulates the unit: close to exact, and the same bits
// however the batch is split and computed.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "base/json.h"
#include "formats/config_json.h"
#include "ops/log_probs.h"
#include "tests/testing.h"
#include "train/forward.h"
#include "train/masters.h"
#include "train/objectives.h"

namespace fathom {
namespace {

const std::string kLlama = R"({"model_type": "llama", "vocab_size": 41, "hidden_size": 32, "intermediate_size": 48,
  "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128,
  "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true})";
// Odd widths, and few experts, so that sequences of odd lengths meet within each.
const std::string kV3 = R"({"model_type": "deepseek_v3", "vocab_size": 41, "hidden_size": 32, "intermediate_size": 47,
  "moe_intermediate_size": 15, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2,
  "n_shared_experts": 1, "n_routed_experts": 3, "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1,
  "first_k_dense_replace": 1, "norm_topk_prob": true, "routed_scaling_factor": 1.0, "scoring_func": "sigmoid",
  "topk_method": "noaux_tc", "q_lora_rank": 12, "kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8,
  "v_head_dim": 16, "num_nextn_predict_layers": 1, "max_position_embeddings": 128, "rms_norm_eps": 1e-6,
  "rope_theta": 10000.0, "tie_word_embeddings": false})";

Masters masters_of(const std::string& text) {
  const json::value value = parse_json(text, "config");
  return Masters::draw(config_from_json(JsonObject(value, "config")), {.std = 0.3, .seed = 1}, 1);
}

std::vector<Sample> odd_and_even_samples() {
  std::vector<Sample> out;
  for (const size_t n : {6, 4, 18, 3, 2, 12}) {
    Sample& s = out.emplace_back();
    for (size_t i = 0; i < n; ++i)
      s.ids.push_back(static_cast<TokenId>((i * i * 7 + n) % 41)), s.counts.push_back(i % 4 != 1);
  }
  return out;
}

struct Way {
  Profile profile = Profile::kBF16;
  size_t threads = 1, together = 6;  // sequences at a time
  bool recompute = false;
  bool known = true;  // derivatives known before the head
};

struct Step {
  double loss = 0;
  std::vector<Tensor> gradients;
};

Step step(const Masters& masters, const Model& model, const Way& way) {
  const std::unique_ptr<Backend> backend = make_cpu_backend(way.threads, ref_kernels());
  const std::vector<Sample> all = odd_and_even_samples();
  const TargetCounts counts = count_targets(all);
  Step out;
  Gradients gradients;
  for (size_t i = 0; i < all.size(); i += way.together) {
    const std::span<const Sample> part = std::span(all).subspan(i, std::min(way.together, all.size() - i));
    TrainingForward forward(
        *backend, model, part,
        {.profile = way.profile, .mtp = model.has_mtp(), .recompute = way.recompute, .head = !way.known});
    const std::vector<float> d = cross_entropy_derivatives(forward.targets(), counts.tokens);
    if (way.known) {
      add_cross_entropy(forward.log_probs_of_known(d, &gradients), forward.targets(), counts.tokens, out.loss);
    } else {
      add_cross_entropy(forward.log_probs(), forward.targets(), counts.tokens, out.loss);
    }
    const std::span<const float> none;
    forward.backward(way.known ? none : std::span<const float>(d),
                     cross_entropy_derivatives(forward.mtp_targets(), counts.mtp_tokens), gradients);
  }
  out.gradients = masters.gather(model, gradients);
  return out;
}

void expect_same(const Masters& masters, const Step& a, const Step& b, const char* what) {
  EXPECT_EQ(a.loss, b.loss) << what;
  for (size_t i = 0; i < a.gradients.size(); ++i)
    EXPECT_EQ(0, std::memcmp(a.gradients[i].bytes(), b.gradients[i].bytes(), a.gradients[i].size_bytes()))
        << what << ": " << masters.parameters()[i].name;
}

TEST(TrainingInBf16, IsCloseToExact) {
  for (const std::string& text : {kLlama, kV3}) {
    const Masters masters = masters_of(text);
    const Step exact = step(masters, *masters.snapshot(1), {.profile = Profile::kExact});
    const Step rounded = step(masters, *masters.snapshot(1, Profile::kBF16), {});
    EXPECT_NEAR(rounded.loss, exact.loss, 0.02 * exact.loss);
    for (size_t i = 0; i < exact.gradients.size(); ++i) {
      const std::span<const float> a = exact.gradients[i].span<float>(), b = rounded.gradients[i].span<float>();
      double difference = 0, size = 0;
      for (size_t j = 0; j < a.size(); ++j)
        difference += std::pow(static_cast<double>(a[j]) - b[j], 2), size += std::pow(static_cast<double>(a[j]), 2);
      EXPECT_LT(std::sqrt(difference), 0.1 * std::sqrt(size)) << masters.parameters()[i].name;
      EXPECT_GT(difference, 0) << masters.parameters()[i].name;
    }
  }
}

TEST(TrainingInBf16, SameBitsHoweverComputed) {
  for (const std::string& text : {kLlama, kV3}) {
    const Masters masters = masters_of(text);
    const std::unique_ptr<const Model> model = masters.snapshot(1, Profile::kBF16);
    const Step want = step(masters, *model, {});
    expect_same(masters, want, step(masters, *model, {.threads = 3}), "three threads");
    for (const size_t together : {1, 4})
      expect_same(masters, want, step(masters, *model, {.together = together}), "parts");
    expect_same(masters, want, step(masters, *model, {.recompute = true}), "computed again");
    expect_same(masters, want, step(masters, *masters.snapshot(2), {}), "masters rounded at each use");
    if (!model->has_mtp())
      expect_same(masters, want, step(masters, *model, {.known = false}), "the head's logits computed twice");
  }
}

/// A vocabulary of 2^19 makes tiles of 32 rows, and row 32 is the second of a sequence: company must not change its
/// pair.
TEST(TrainingInBf16, TheTilesOfTheHeadCutNoPair) {
  const size_t V = size_t{1} << 19, T = 35;
  const std::unique_ptr<Backend> backend = make_cpu_backend(2, ref_kernels());
  const Weight head("head", from_values(testing::random_floats(V, 1), {V, 1}));
  const Tensor hidden = from_values(testing::random_floats(T, 2), {T, 1});
  std::vector<int32_t> targets(T);
  for (size_t t = 0; t < T; ++t) targets[t] = static_cast<int32_t>(t * 1001);
  const Tensor dy = from_values(testing::random_floats(T, 3), {T});
  const auto gradient = [&](const std::vector<SequenceRows>& parts) {
    Gradients out;
    for (const SequenceRows& part : parts) {
      const SequenceRows whole[] = {{0, 31, 0, nullptr}, {31, 4, 0, nullptr}};
      const SequenceRows alone[] = {{0, part.rows, 0, nullptr}};
      TrainingPass pass;
      pass.rows = part.rows == T ? std::span<const SequenceRows>(whole) : alone;
      Tape tape;
      Context ctx{.backend = *backend, .profile = Profile::kBF16, .tape = &tape, .training = &pass};
      const Tensor y = token_log_probs(ctx, hidden.slice(part.row, part.rows), head,
                                       from_ids(std::span(targets).subspan(part.row, part.rows)));
      tape.backward(y, dy.slice(part.row, part.rows), out);
    }
    return out.of(head);
  };
  const Tensor together = gradient({{0, T, 0, nullptr}}),
               one_by_one = gradient({{0, 31, 0, nullptr}, {31, 4, 0, nullptr}});
  EXPECT_EQ(0, std::memcmp(together.bytes(), one_by_one.bytes(), together.size_bytes()));
}

TEST(TrainingInBf16, ASnapshotRoundsTheMatricesOfProducts) {
  for (const std::string& text : {kLlama, kV3}) {
    const Masters masters = masters_of(text);
    const std::unique_ptr<const Model> model = masters.snapshot(1, Profile::kBF16);
    for (const Weight* w : model->weights().in_order()) {
      const bool stays = w->always_exact || w->name().ends_with("embed_tokens.weight");
      EXPECT_EQ(w->dtype(), stays ? DType::kF32 : DType::kBF16) << w->name();
    }
  }
}

}  // namespace
}  // namespace fathom

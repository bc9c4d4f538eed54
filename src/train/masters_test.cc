// Masters: what is drawn, what a snapshot computes with, and what is written and read back.
#include "train/masters.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>

#include "base/json.h"
#include "formats/config_json.h"
#include "formats/safetensors.h"
#include "tests/testing.h"
#include "train/forward.h"
#include "train/plan.h"

namespace fathom {
namespace {

ModelConfig config(const std::string& text) {
  const json::value value = parse_json(text, "config");
  return config_from_json(JsonObject(value, "config"));
}

const std::string kLlama = R"({"model_type": "llama", "vocab_size": 40, "hidden_size": 32, "intermediate_size": 48,
  "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128,
  "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true})";
const std::string kV3 = R"({"model_type": "deepseek_v3", "vocab_size": 40, "hidden_size": 32, "intermediate_size": 48,
  "moe_intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2,
  "n_shared_experts": 1, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1,
  "first_k_dense_replace": 1, "norm_topk_prob": true, "routed_scaling_factor": 1.0, "scoring_func": "sigmoid",
  "topk_method": "noaux_tc", "q_lora_rank": 12, "kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8,
  "v_head_dim": 16, "num_nextn_predict_layers": 1, "max_position_embeddings": 128, "rms_norm_eps": 1e-6,
  "rope_theta": 10000.0, "tie_word_embeddings": false})";

const Tensor& value(const Masters& masters, const std::string& name) {
  for (const Parameter& p : masters.parameters())
    if (p.name == name) return p.value;
  ADD_FAILURE() << "no parameter " << name;
  static const Tensor none = zeros(DType::kF32, {1});
  return none;
}

TEST(Masters, DrawnWeightsHaveTheirDistribution) {
  for (const std::string& text : {kLlama, kV3}) {
    const ModelConfig c = config(text);
    const Masters masters = Masters::draw(c, {.std = 0.05, .seed = 3}, 1);
    double sum = 0, squares = 0, n = 0;
    for (const Parameter& p : masters.parameters()) {
      if (p.value.shape().rank() == 1) {
        for (const float x : p.value.span<float>()) EXPECT_EQ(x, 1.0f) << p.name;
        continue;
      }
      for (const float x : p.value.span<float>()) sum += x, squares += static_cast<double>(x) * x, ++n;
    }
    // Five standard errors of a mean and of a variance.
    EXPECT_NEAR(sum / n, 0, 5 * 0.05 / std::sqrt(n));
    EXPECT_NEAR(squares / n, 0.0025, 5 * 0.0025 * std::sqrt(2 / n));
    for (const Parameter& bias : masters.router_biases())
      for (const float x : bias.value.span<float>()) EXPECT_EQ(x, 0.0f);
  }
  const Masters a = Masters::draw(config(kLlama), {.seed = 3}, 1), b = Masters::draw(config(kLlama), {.seed = 4}, 2);
  const std::string name = "model.layers.1.mlp.up_proj.weight";
  EXPECT_NE(value(a, name).data<float>()[0], value(b, name).data<float>()[0]) << "another seed";
  EXPECT_NE(value(a, name).data<float>()[0], value(a, "model.layers.0.mlp.up_proj.weight").data<float>()[0]);
}

TEST(Masters, ASnapshotHasTheMastersBits) {
  for (const std::string& text : {kLlama, kV3}) {
    Masters masters = Masters::draw(config(text), {.seed = 1}, 1);
    const std::unique_ptr<const Model> model = masters.snapshot(2);
    for (const Weight* w : model->weights().in_order()) {
      const Tensor rows = w->row_major(), &stored = value(masters, w->name());
      for (size_t o = 0; o < w->O(); ++o)
        for (size_t k = 0; k < w->K(); ++k) {
          const size_t row = w->stored_row + (w->transposed ? k : o), column = w->transposed ? o : k;
          ASSERT_EQ(rows.data<float>()[o * w->K() + k], stored.data<float>()[row * stored.dim(1) + column])
              << w->name();
        }
    }
    EXPECT_EQ(model->has_mtp(), text == kV3);
    EXPECT_EQ(masters.find("model.layers.2.embed_tokens.weight"), nullptr) << "the MTP module shares it";
  }
}

TEST(Masters, WrittenAndReadBack) {
  const testing::TempDir dir;
  Masters masters = Masters::draw(config(kV3), {.seed = 1}, 1);
  masters.router_biases()[0].value.data<float>()[1] = 0.25f;
  std::vector<std::pair<std::string, Tensor>> tensors;
  for (const auto* list : {&masters.parameters(), &masters.router_biases()})
    for (const Parameter& p : *list) tensors.emplace_back(p.name, p.value);
  write_safetensors(dir.path() / "model.safetensors", tensors);
  std::ofstream(dir.path() / "config.json") << kV3;
  const Masters again = Masters::from(*open_checkpoint(dir.path()), 1);
  ASSERT_EQ(again.parameters().size(), masters.parameters().size());
  for (size_t i = 0; i < masters.parameters().size(); ++i) {
    const Parameter &a = masters.parameters()[i], &b = again.parameters()[i];
    EXPECT_EQ(a.name, b.name);
    EXPECT_EQ(0, std::memcmp(a.value.bytes(), b.value.bytes(), a.value.size_bytes())) << a.name;
  }
  EXPECT_EQ(again.router_biases()[0].value.data<float>()[1], 0.25f);
}

std::vector<Sample> samples(const std::vector<size_t>& lengths) {
  std::vector<Sample> out;
  for (const size_t n : lengths) {
    Sample& s = out.emplace_back();
    for (size_t i = 0; i < n; ++i)
      s.ids.push_back(static_cast<TokenId>((i * 7 + n) % 40)), s.counts.push_back(i % 3 != 1);
  }
  return out;
}

/// Law 2 in training: company changes no bit of a sequence, across pages, and without a tape either.
TEST(TrainingForward, ASequenceDoesNotSeeItsCompany) {
  const std::unique_ptr<Backend> backend = make_cpu_backend(2);
  for (const std::string& text : {kLlama, kV3}) {
    const std::unique_ptr<const Model> model = Masters::draw(config(text), {.std = 0.3, .seed = 1}, 1).snapshot(1);
    const ForwardOptions options{.mtp = model->has_mtp()};
    const std::vector<Sample> all = samples({70, 3, 2, 65});
    const TrainingForward together(*backend, *model, all, options);
    for (size_t i = 0; i < all.size(); ++i) {
      const TrainingForward alone(*backend, *model, {&all[i], 1}, options, /*tape=*/false);
      const size_t row = together.rows()[i].row;
      EXPECT_EQ(
          0, std::memcmp(together.log_probs().data() + row, alone.log_probs().data(), alone.log_probs().size_bytes()));
      EXPECT_EQ(alone.log_probs().size(), all[i].ids.size() - 1);
      if (!model->has_mtp()) continue;
      EXPECT_EQ(0, std::memcmp(together.mtp_log_probs().data() + row, alone.mtp_log_probs().data(),
                               alone.mtp_log_probs().size_bytes()));
    }
  }
}

TEST(TrainingForward, CountsAndRefusals) {
  const TargetCounts counts =
      count_targets(samples({7}));  // targets 2, 3, 5, 6 of 0 to 6 count (not 0: nothing before)
  EXPECT_EQ(counts.tokens, 4);
  EXPECT_EQ(counts.mtp_tokens, 4);
  const std::unique_ptr<Backend> backend = make_cpu_backend(1);
  const std::unique_ptr<const Model> model = Masters::draw(config(kLlama), {}, 1).snapshot(1);
  EXPECT_THROW(TrainingForward(*backend, *model, samples({1}), {}), Error);
  std::vector<Sample> outside = samples({4});
  outside[0].ids[2] = 40;
  EXPECT_THROW(TrainingForward(*backend, *model, outside, {}), Error);
}

TEST(Plan, OperationsOfALlamaByHand) {
  const Masters masters = Masters::draw(config(kLlama), {}, 1);
  // Per layer q, o 32 x 32, k, v 16 x 32, three of 48 x 32; the tied head 40 x 32. Attention: 2 x 4 heads x 8 x 10 / 2.
  const double weights = 2 * (2 * 1024 + 2 * 512 + 3 * 1536) + 1280, attention = 2 * 4 * 16 * 10 / 2.0;
  const std::unique_ptr<const Model> model = masters.snapshot(1);
  EXPECT_DOUBLE_EQ(training_operations(*model, 5, 10), 6 * 5 * (weights + attention));
  EXPECT_DOUBLE_EQ(training_operations(*model, 5, 10, /*frozen=*/true), 5 * (4 * weights + 6 * attention));
  Recipe recipe;
  const TrainingMemory plain = training_memory(masters.config(), masters.count(), recipe, 100);
  EXPECT_EQ(plain.parameters, 12 * masters.count());
  EXPECT_EQ(plain.optimizer, 8 * masters.count());
  TrainingMemory resumed = plain;
  resumed.resumed = true;  // 8 bytes of moments a number are read, not to come
  EXPECT_EQ(plain.to_come() - resumed.to_come(), 8 * masters.count());
  EXPECT_EQ(resumed.held(), 12 * masters.count());
  recipe.train.recompute = true;
  EXPECT_LT(training_memory(masters.config(), masters.count(), recipe, 100).activations, plain.activations);
}

}  // namespace
}  // namespace fathom

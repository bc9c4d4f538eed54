#include "engine/memory.h"

#include <gtest/gtest.h>

#include "engine/engine.h"
#include "models/model.h"
#include "tests/testing.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

ModelConfig gqa_config() {
  ModelConfig c;
  c.num_hidden_layers = 3, c.num_attention_heads = 4, c.num_key_value_heads = 2, c.head_dim = 16;
  c.hidden_size = 64, c.intermediate_size = 128, c.vocab_size = 100, c.max_position_embeddings = 8192;
  return c;
}

// spec/models.md 1.1: layers * 2 * KV heads * head_dim values; 1.2: layers * (kv_lora_rank + rope) values.
TEST(Memory, CacheOfAToken) {
  ModelConfig c = gqa_config();
  EXPECT_EQ(memory_needs(c, 0, CacheType::kBF16, 512).kv_per_token, 3 * 2 * 2 * 16 * 2u);
  EXPECT_EQ(memory_needs(c, 0, CacheType::kF32, 512).kv_per_token, 3 * 2 * 2 * 16 * 4u);
  EXPECT_EQ(memory_needs(c, 0, CacheType::kQ8, 512).kv_per_token, 3 * 2 * 2 * (16 + 4u));
  c.num_hidden_layers = 61, c.kv_lora_rank = 512, c.qk_rope_head_dim = 64, c.qk_nope_head_dim = c.v_head_dim = 128;
  EXPECT_EQ(memory_needs(c, 0, CacheType::kBF16, 512).kv_per_token, 70'272u);  // V3
  c.num_nextn_predict_layers = 1;
  EXPECT_EQ(memory_needs(c, 0, CacheType::kBF16, 512).kv_per_token, 62 * 576 * 2u);
  EXPECT_EQ(memory_needs(c, 0, CacheType::kQ8, 512).kv_per_token, 62 * (576 + 576 / 32 * 4u));
}

TEST(Memory, SumsInWholePagesAndWithoutOverflow) {
  const MemoryNeeds needs{.weights = 1000, .scratch = 10, .kv_per_token = 3};
  EXPECT_EQ(needs.kv(1, 1), 64 * 3u);
  EXPECT_EQ(needs.kv(64, 2), 64 * 3 * 2u);
  EXPECT_EQ(needs.kv(65, 1), 128 * 3u);
  EXPECT_EQ(needs.total(64, 1), 1010 + 192u);
  EXPECT_EQ(needs.total(~uint64_t{0}, 1 << 20), ~uint64_t{0});
  const MemoryNeeds huge{.weights = ~uint64_t{0}, .scratch = 1, .kv_per_token = 1};
  EXPECT_EQ(huge.total(1, 1), ~uint64_t{0});
  EXPECT_THROW(choose_context(huge, gqa_config(), 0, 1, uint64_t{1} << 40), ResourceError);
}

TEST(Memory, ContextThatFits) {
  const ModelConfig c = gqa_config();
  const MemoryNeeds needs{.weights = 1'000'000, .scratch = 0, .kv_per_token = 100};
  EXPECT_EQ(choose_context(needs, c, 0, 1, 100'000'000), 8192u);           // the model's own
  EXPECT_EQ(choose_context(needs, c, 0, 1, 2'500'000), 5000u);             // (0.6 * 2.5e6 - 1e6) / 100
  EXPECT_EQ(choose_context(needs, c, 0, 1, 1'500'000), 4096u);             // the least, though beyond 60%
  EXPECT_THROW(choose_context(needs, c, 0, 1, 1'400'000), ResourceError);  // not even that
  EXPECT_EQ(choose_context(needs, c, 0, 1, 2'500'000, 6000), 6000u);       // another least
  EXPECT_EQ(choose_context(needs, c, 0, 1, 2'500'000, 9000), 8192u);       // the model has no more
  EXPECT_THROW(choose_context(needs, c, 0, 1, 1'500'000, 5001), ResourceError);
  EXPECT_EQ(choose_context(needs, c, 77, 1, 1'400'000), 77u);
  EXPECT_THROW(choose_context(needs, c, 8193, 1, 1'000'000'000), UsageError);
  EXPECT_THROW(choose_context(needs, c, 4001, 1, 1'400'000), ResourceError);
  EXPECT_THROW(choose_context(needs, c, 4000, 2, 1'400'000), ResourceError);
}

TEST(Memory, JoinedKvInBlocksIsSplitAsF32) {
  const auto tensor = [](const char* name, DType type) {
    return TensorInfo{name, type, {64, 32}, 64 * 32 / info(type).block_size * info(type).block_bytes};
  };
  const std::vector<TensorInfo> tensors = {tensor("blk.0.attn_kv_b.weight", DType::kQ8_0),
                                           tensor("model.layers.1.self_attn.kv_b_proj.weight", DType::kF8E4M3),
                                           tensor("model.layers.2.self_attn.kv_b_proj.weight", DType::kBF16),
                                           tensor("blk.0.attn_k_b.weight", DType::kQ8_0)};
  EXPECT_EQ(packed_weight_bytes(tensors), 64 * 32 * (4 + 4 + 2) + 64 * 34u);
}

TEST(Memory, RowsFillPanelsAndVectorsAreF32) {
  const std::vector<TensorInfo> tensors = {{"norm", DType::kBF16, {10}, 20},           // 40 as f32
                                           {"a", DType::kBF16, {17, 8}, 17 * 16},      // 32 rows
                                           {"stack", DType::kF32, {3, 1, 8}, 3 * 32},  // 3 of 16 rows
                                           {"a_scale_inv", DType::kF32, {1, 1}, 4}};
  EXPECT_EQ(packed_weight_bytes(tensors), 40 + 32 * 16 + 3 * 16 * 32 + 4u);
}

/// The plan is the layout that the loaded model has.
TEST(Memory, PlanEqualsTheLoadedModel) {
  for (const fs::directory_entry& entry : fs::directory_iterator(testing::golden_dir() / "models")) {
    if (!fs::exists(entry.path() / "config.json")) continue;
    EngineOptions options;
    options.threads = 1, options.ctx = 64;
    const std::unique_ptr<Engine> engine = Engine::load(entry.path(), options);
    EXPECT_EQ(engine->info().kv_bytes_per_token, engine->kv_layout().bytes_per_token());
    const size_t layers = engine->config().num_hidden_layers + (engine->model().has_mtp() ? 1 : 0);
    EXPECT_EQ(engine->kv_layout().layers.size(), layers) << entry.path();
    // Vectors are kept as f32 beside the matrices, FP8's scales in the mapped file.
    uint64_t beside = 0;
    const std::unique_ptr<Checkpoint> checkpoint = open_checkpoint(entry.path());
    // The plan does not fill up the panels of kv_b's halves: published models have whole ones, these tiny ones do not.
    uint64_t spare = 0;
    const ModelConfig& c = engine->config();
    const auto panels = [](size_t rows) { return (rows + kPanelRows - 1) / kPanelRows * kPanelRows; };
    const size_t halves = panels(c.kv_lora_rank) * c.qk_nope_head_dim + panels(c.v_head_dim) * c.kv_lora_rank;
    for (const TensorInfo& t : checkpoint->tensors()) {
      beside += t.name.ends_with("_scale_inv") ? t.size_bytes : t.shape.rank() < 2 ? 4 * t.shape.count() : 0;
      if (t.name.ends_with("kv_b_proj.weight"))
        spare += (c.num_attention_heads * halves - t.shape.count()) * (t.dtype == DType::kBF16 ? 2 : 4);
    }
    EXPECT_EQ(engine->model().weights().size_bytes() + beside, engine->info().weight_bytes + spare) << entry.path();
  }
}

}  // namespace
}  // namespace fathom

#include "engine/token_work.h"

#include <gtest/gtest.h>

#include "formats/config_json.h"
#include "quant/synthetic.h"

namespace fathom {
namespace {

TokenWork work_of(const char* shape, const char* mixture) {
  const ModelConfig config = synthetic_config(find_synthetic_shape(shape));
  return count_token_work(synthetic_tensors(config, find_mixture(mixture)), config, CacheType::kBF16);
}

/// What one token reads of the weights, in GB; multiply-adds of a prompt's token count twice, in 1e9.
void expect_near(const char* shape, const char* mixture, double gigabytes, double operations) {
  const TokenWork work = work_of(shape, mixture);
  EXPECT_NEAR(work.pass_bytes(1, 0) / 1e9, gigabytes, 0.01 * gigabytes) << shape << " " << mixture;
  EXPECT_NEAR(2 * work.prefill_macs() / 1e9, operations, 0.01 * operations) << shape << " " << mixture;
}

TEST(TokenWork, EqualsTheArithmeticOfThePublishedModels) {
  expect_near("r1-distill-qwen-1.5b", "BF16", 3.088, 2.62);
  expect_near("r1-distill-qwen-1.5b", "Q8_0", 1.641, 2.62);
  expect_near("r1-distill-qwen-1.5b", "Q4_K_M", 0.980, 2.62);
  expect_near("r1-distill-qwen-7b", "Q4_K_M", 4.371, 13.05);
  expect_near("deepseek-v2-lite", "Q4_K_M", 1.612, 4.48);
  expect_near("smollm2-135m", "Q8_0", 0.143, 0.2123);
}

// 28 layers of q, k, v, o (2 * 1536 * 1536 + 2 * 256 * 1536) and three matrices of 1536 x 8960; a head of 151936 rows.
TEST(TokenWork, CountsTheLargeQwenByHand) {
  const TokenWork work = work_of("r1-distill-qwen-1.5b", "Q8_0");
  const uint64_t layer = 2 * 1536 * 1536 + 2 * 256 * 1536 + 3 * 1536 * 8960, head = 151936ull * 1536;
  EXPECT_EQ(work.shared_macs, 28 * layer);
  EXPECT_EQ(work.head_macs, head);
  EXPECT_EQ(work.routed_bytes, 0U);
  const uint64_t vectors = (28 * (2 * 1536 + 1536 + 2 * 256) + 1536) * 4;  // two norms and three biases, one last norm
  EXPECT_EQ(work.shared_bytes, (28 * layer + head) / 32 * 34 + vectors);
  EXPECT_EQ(work.row_bytes, 1536U / 32 * 34);
  EXPECT_EQ(work.kv_bytes, 28U * 2 * 2 * 128 * 2);
  EXPECT_EQ(work.decode_macs(), static_cast<double>(28 * layer + head));
  EXPECT_EQ(work.pass_bytes(2, 10), static_cast<double>(work.shared_bytes + 2 * (work.row_bytes + 10 * work.kv_bytes)));
  EXPECT_EQ(work.prompt_bytes(1000, 512), static_cast<double>(2 * work.shared_bytes + 1000 * work.row_bytes));
}

TEST(TokenWork, CountsTheExpertsThatAreUsed) {
  const TokenWork work = work_of("deepseek-v2-lite", "F32");
  EXPECT_EQ(work.routed_macs, 26ull * 64 * 3 * 2048 * 1408);
  EXPECT_EQ(work.routed_bytes, 4 * work.routed_macs);
  EXPECT_EQ(work.kv_bytes, 27U * (512 + 64) * 2);
  const double one = work.pass_bytes(1, 0), two = work.pass_bytes(2, 0);
  const auto expert_bytes = static_cast<double>(work.routed_bytes) / 64;
  EXPECT_NEAR(one, static_cast<double>(work.shared_bytes + work.row_bytes) + 6 * expert_bytes, 1);
  // Two tokens choose 64 (1 - (58 / 64)^2) = 11.4375 different ones of 64.
  EXPECT_NEAR(two - one, static_cast<double>(work.row_bytes) + 5.4375 * expert_bytes, 1e3);
}

TEST(TokenWork, TiedHeadIsReadOnceAndMtpNever) {
  const char* text = R"({"model_type":"llama","vocab_size":320,"hidden_size":32,"intermediate_size":64,
"num_hidden_layers":1,"num_attention_heads":2,"num_key_value_heads":1})";
  const json::value value = parse_json(text, "test");
  const ModelConfig config = config_from_json(JsonObject(value, "test"));
  std::vector<TensorInfo> tensors{{"model.embed_tokens.weight", DType::kF32, {320, 32}, 320 * 32 * 4},
                                  {"model.norm.weight", DType::kF32, {32}, 32 * 4},
                                  {"model.layers.0.mlp.up_proj.weight", DType::kF32, {64, 32}, 64 * 32 * 4},
                                  {"model.layers.1.mlp.up_proj.weight", DType::kF32, {64, 32}, 64 * 32 * 4}};
  TokenWork work = count_token_work(tensors, config, CacheType::kF32);
  EXPECT_EQ(work.shared_bytes, 4U * (320 * 32 + 32 + 64 * 32));
  EXPECT_EQ(work.head_macs, 320U * 32);
  EXPECT_EQ(work.shared_macs, 64U * 32);
  EXPECT_EQ(work.row_bytes, 32U * 4);
  tensors.push_back({"lm_head.weight", DType::kF16, {320, 32}, 320 * 32 * 2});
  work = count_token_work(tensors, config, CacheType::kF32);
  EXPECT_EQ(work.shared_bytes, 4U * (32 + 64 * 32) + 2 * 320 * 32);
  EXPECT_EQ(work.head_macs, 320U * 32);
}

}  // namespace
}  // namespace fathom

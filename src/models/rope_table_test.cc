// Frequencies and scales against the numbers of spec/models.md 3, which were recomputed from the reference code.
#include "models/parts/rope_table.h"

#include "tests/testing.h"

namespace fathom {
namespace {

ModelConfig deepseek(double mscale) {
  ModelConfig c;
  c.kv_lora_rank = 512, c.qk_nope_head_dim = 128, c.qk_rope_head_dim = 64;
  c.rope_theta = 10000;
  c.rope_scaling = {.rope_type = RopeType::kYarn,
                    .factor = 40,
                    .original_max_position_embeddings = 4096,
                    .mscale = mscale,
                    .mscale_all_dim = mscale};
  return c;
}

void expect_frequencies(const RopeTable& table, const std::map<size_t, double>& want) {
  for (const auto& [i, f] : want) EXPECT_NEAR(table.inv_freq.data<float>()[i] / f, 1, 1e-6) << i;
}

TEST(RopeTable, YarnOfDeepSeek) {
  const RopeTable table = rope_table(deepseek(1.0), 64, {});
  expect_frequencies(table, {{0, 1},
                             {9, 0.0749894209},
                             {10, 0.0562341325},
                             {11, 0.0390069266},
                             {12, 0.0268793601},
                             {16, 0.0055},
                             {20, 7.90569415e-4},
                             {22, 1.77827941e-4},
                             {23, 3.33380358e-5},
                             {24, 2.5e-5},
                             {31, 3.33380358e-6}});
  EXPECT_EQ(table.magnitude, 1.0f);
  EXPECT_NEAR(mla_softmax_scale(deepseek(1.0)), 0.135233779, 1e-8);
  EXPECT_NEAR(mla_softmax_scale(deepseek(0.707)), 0.114721387, 1e-8);
  ModelConfig plain = deepseek(1.0);
  plain.rope_scaling = {};
  EXPECT_NEAR(mla_softmax_scale(plain), 0.0721687836, 1e-8);
}

TEST(RopeTable, Llama3) {
  ModelConfig c;
  c.rope_theta = 500000;
  c.rope_scaling = {.rope_type = RopeType::kLlama3,
                    .factor = 8,
                    .original_max_position_embeddings = 8192,
                    .low_freq_factor = 1,
                    .high_freq_factor = 4};
  const RopeTable table = rope_table(c, 128, {});
  expect_frequencies(table, {{0, 1},
                             {10, 0.128687373},
                             {28, 0.00321144599},
                             {29, 0.00216657076},
                             {30, 0.00137189357},
                             {31, 8.56751413e-4},
                             {33, 3.1269375e-4},
                             {34, 1.78507813e-4},
                             {35, 9.55621235e-5},
                             {63, 3.06892599e-7}});
}

TEST(RopeTable, GgufDivisorsEqualTheFormula) {
  ModelConfig c;
  c.rope_theta = 500000;
  const Tensor divisors = zeros(DType::kF32, {64});
  for (size_t i = 0; i < 64; ++i) divisors.data<float>()[i] = i <= 28 ? 1.0f : 8.0f;
  divisors.data<float>()[29] = 1.207484f;
  expect_frequencies(rope_table(c, 128, divisors), {{28, 0.00321144599}, {29, 0.00216657076}, {63, 3.06892599e-7}});
}

TEST(RopeTable, Qwen3HonoursAttnFactor) {
  ModelConfig c;
  c.rope_theta = 1e6;
  c.rope_scaling = {.rope_type = RopeType::kYarn,
                    .factor = 4,
                    .original_max_position_embeddings = 32768,
                    .attn_factor = 0.8782488562869419};
  EXPECT_NEAR(rope_table(c, 128, {}).magnitude, 1.0, 1e-6);
  c.rope_scaling.attn_factor.reset();
  EXPECT_NEAR(rope_table(c, 128, {}).magnitude, 1.1386, 1e-4);
  c.rope_scaling.attention_factor = 0.5;
  EXPECT_EQ(rope_table(c, 128, {}).magnitude, 0.5f);
}

}  // namespace
}  // namespace fathom

#include "quant/synthetic.h"

#include <gmock/gmock.h>

#include <cmath>

#include "formats/checkpoint.h"
#include "quant/quantize.h"
#include "quant/synthetic_blocks.h"
#include "tensor/dequantize.h"
#include "tests/testing.h"
#include "text/tokenizer.h"

namespace fathom {
namespace {

constexpr SyntheticShape kTinyDense{"tiny-dense", "qwen2",
                                    R"({"model_type":"qwen2","vocab_size":300,"hidden_size":256,
"intermediate_size":256,"num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,
"max_position_embeddings":128,"rms_norm_eps":1e-6,"tie_word_embeddings":true,"bos_token_id":null,"eos_token_id":299})"};

uint64_t bytes_of(const char* shape, const char* mixture) {
  uint64_t bytes = 0;
  for (const TensorInfo& t : synthetic_tensors(synthetic_config(find_synthetic_shape(shape)), find_mixture(mixture)))
    bytes += t.size_bytes;
  return bytes;
}

uint64_t values_of(const char* shape) {
  uint64_t values = 0;
  for (const TensorInfo& t : synthetic_tensors(synthetic_config(find_synthetic_shape(shape)), find_mixture("F32")))
    values += t.shape.count();
  return values;
}

TEST(Synthetic, ShapesHaveTheParametersOfThePublishedModels) {
  EXPECT_EQ(values_of("smollm2-135m"), 134'515'008U);
  EXPECT_EQ(values_of("r1-distill-qwen-1.5b"), 1'777'088'000U);
  EXPECT_EQ(values_of("r1-distill-qwen-7b"), 7'615'616'512U);
  EXPECT_EQ(values_of("deepseek-v2-lite"), 15'706'484'224U);
}

TEST(Synthetic, MixturesApply) {
  EXPECT_EQ(bytes_of("smollm2-135m", "F32"), 134'515'008U * 4);
  const auto tensors =
      synthetic_tensors(synthetic_config(find_synthetic_shape("deepseek-v2-lite")), find_mixture("Q4_K_M"));
  const auto type_of = [&](std::string_view name) {
    for (const TensorInfo& t : tensors)
      if (t.name == name) return t.dtype;
    return DType::kBool;
  };
  EXPECT_EQ(type_of("output.weight"), DType::kQ6_K);
  EXPECT_EQ(type_of("blk.1.ffn_gate_exps.weight"), DType::kQ4_K);
  EXPECT_EQ(type_of("blk.10.ffn_down_exps.weight"), DType::kQ5_0);  // 1408 is no multiple of 256
  EXPECT_EQ(type_of("blk.1.ffn_down_exps.weight"), DType::kQ8_0);
  EXPECT_EQ(type_of("blk.1.ffn_gate_inp.weight"), DType::kF32);
}

TEST(Synthetic, BlocksHaveTheDeviationOfTrainedWeights) {
  for (const DType type : {DType::kF32, DType::kF16, DType::kBF16, DType::kQ8_0, DType::kQ4_0, DType::kQ4_1,
                           DType::kQ5_0, DType::kQ5_1, DType::kQ4_K, DType::kQ5_K, DType::kQ6_K}) {
    ASSERT_TRUE(has_random_blocks(type)) << type;
    const size_t n = 64 * 256;
    std::vector<std::byte> blocks(n / info(type).block_size * info(type).block_bytes);
    fill_random_blocks(type, blocks, 7);
    std::vector<float> values(n);
    dequantize(type, blocks.data(), values.data(), n);
    double sum = 0, squares = 0;
    for (const float x : values) sum += x, squares += static_cast<double>(x) * x;
    const double mean = sum / static_cast<double>(n), deviation = std::sqrt(squares / static_cast<double>(n));
    EXPECT_GT(deviation, 0.01) << type;
    EXPECT_LT(deviation, 0.05) << type;
    EXPECT_LT(std::abs(mean), 0.005) << type;
  }
  EXPECT_FALSE(has_random_blocks(DType::kIQ2_S));
}

TEST(Synthetic, FileOpensReadsTextAndIsTheSameEveryTime) {
  const testing::TempDir folder;
  const std::filesystem::path file = folder.path() / "a.gguf", again = folder.path() / "b.gguf";
  write_synthetic(file, kTinyDense, find_mixture("Q4_K_M"), {});
  write_synthetic(again, kTinyDense, find_mixture("Q4_K_M"), {});
  EXPECT_EQ(testing::read_file(file), testing::read_file(again));
  const std::unique_ptr<Checkpoint> checkpoint = open_checkpoint(file);
  EXPECT_EQ(checkpoint->config().hidden_size, 256U);
  EXPECT_TRUE(checkpoint->config().tie_word_embeddings);
  const Tokenizer tokenizer(*checkpoint->tokenizer());
  const std::string text = "the \xC3\xA9nd\n";
  EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text);
}

TEST(Synthetic, RefusesTypesItCannotMake) {
  const testing::TempDir folder;
  EXPECT_THROW(write_synthetic(folder.path() / "a.gguf", kTinyDense, find_mixture("Q2_K"), {}), UsageError);
  EXPECT_THROW(find_synthetic_shape("gpt-5"), UsageError);
}

}  // namespace
}  // namespace fathom

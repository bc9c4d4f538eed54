#include "train/step_bench.h"

#include <gtest/gtest.h>

#include <cmath>

namespace fathom {
namespace {

ModelConfig small_config() {
  ModelConfig c;
  c.model_type = "llama";
  c.vocab_size = 50;
  c.hidden_size = 32;
  c.intermediate_size = 48;
  c.num_hidden_layers = 2;
  c.num_attention_heads = 4;
  c.num_key_value_heads = 2;
  c.head_dim = 8;
  c.max_position_embeddings = 16;
  c.tie_word_embeddings = true;
  return c;
}

TEST(StepBench, StepsLearnTheirBatch) {
  StepBench bench(small_config(), 3, 8, 2, best_kernels());
  EXPECT_EQ(bench.tokens(), 24u);
  EXPECT_GT(bench.run(), 0);
  const double first = bench.loss();
  EXPECT_NEAR(first, std::log(50.0), 0.1);  // new weights know nothing
  for (int i = 0; i < 20; ++i) bench.run();
  EXPECT_LT(bench.loss(), first - 0.1);
}

TEST(StepBench, CountsParametersAndOperations) {
  const StepBench bench(small_config(), 3, 8, 1, best_kernels());
  // Of a layer: queries and outputs, keys and values of half as many heads, three matrices of the feed-forward.
  const double layer = 2 * 32 * 32 + 2 * 16 * 32 + 3 * 48 * 32, table = 50 * 32;
  EXPECT_EQ(static_cast<double>(bench.parameters()), 2 * (layer + 2 * 32) + 32 + table);
  const double attention = 2 * 4 * (8 + 8) * 8 / 2.0;  // layers, heads, a query's and a value's product, half of 8
  EXPECT_EQ(bench.operations(), 6 * 24 * (2 * layer + table + attention));
}

TEST(StepBench, RefusesWhatDoesNotFit) {
  EXPECT_THROW(StepBench(small_config(), 1, 17, 1, best_kernels()), Error);
  ModelConfig empty = small_config();
  empty.vocab_size = 0;
  EXPECT_THROW(StepBench(empty, 1, 8, 1, best_kernels()), Error);
}

TEST(ProductBench, TimesEachProduct) {
  ProductBench bench(16, 32, 48, 2, best_kernels());
  const ProductSeconds s = bench.run();
  EXPECT_GT(s.forward, 0);
  EXPECT_GT(s.input, 0);
  EXPECT_GT(s.weight, 0);
  EXPECT_EQ(bench.operations(), 2.0 * 16 * 32 * 48);
}

}  // namespace
}  // namespace fathom

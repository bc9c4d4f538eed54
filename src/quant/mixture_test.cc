#include "quant/mixture.h"

#include <gtest/gtest.h>

#include <map>

#include "base/error.h"
#include "tests/testing.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

/// Our choice for every tensor of `source`, by name.
std::map<std::string, DType> choices(const GgufFile& source, const MixtureOptions& options) {
  std::vector<TensorInfo> tensors = source.tensors();
  sort_for_writing(tensors);
  const std::vector<TensorChoice> chosen = choose_types(tensors, mixture_model(source.metadata()), options);
  std::map<std::string, DType> out;
  for (size_t i = 0; i < tensors.size(); ++i) out[tensors[i].name] = chosen[i].type;
  return out;
}

TEST(Mixture, EveryGoldenFileHasTheTypesThatTheRulesGive) {
  size_t compared = 0;
  for (const auto& entry : fs::directory_iterator(testing::golden_dir() / "gguf")) {
    const std::string name = entry.path().filename().string();
    const size_t first = name.find('.'), second = name.find('.', first + 1);
    if (second == std::string::npos || entry.path().extension() != ".gguf") continue;  // <name>.<TYPE>.gguf
    const fs::path source = entry.path().parent_path() / (name.substr(0, first) + ".gguf");
    if (!fs::exists(source)) continue;
    SCOPED_TRACE(name);
    const GgufFile from(source), to(entry.path());
    const Mixture& mixture = find_mixture(name.substr(first + 1, second - first - 1));
    const std::map<std::string, DType> got = choices(from, {.mixture = &mixture});
    std::vector<TensorInfo> order = from.tensors();
    sort_for_writing(order);
    ASSERT_EQ(order.size(), to.tensors().size());
    for (size_t i = 0; i < order.size(); ++i) EXPECT_EQ(order[i].name, to.tensors()[i].name);
    for (const TensorInfo& t : to.tensors()) EXPECT_EQ(got.at(t.name), t.dtype) << t.name;
    EXPECT_EQ(to.metadata().integer("general.file_type"), static_cast<uint64_t>(mixture.file_type));
    ++compared;
  }
  EXPECT_GE(compared, 16u);
}

/// A made-up dense or sparse model: one layer's matrices, `layers` times.
std::vector<TensorInfo> made_up(size_t layers, bool tied = false, size_t row = 256) {
  std::vector<TensorInfo> out;
  const auto add = [&](const std::string& name) { out.push_back({name, DType::kF32, Shape{4, row}, 16 * row}); };
  if (!tied) add("output.weight");
  add("token_embd.weight");
  for (size_t i = 0; i < layers; ++i)
    for (const char* part : {"attn_k", "attn_output", "attn_q", "attn_v", "ffn_down", "ffn_gate", "ffn_up"})
      add(cat("blk.", i, ".", part, ".weight"));
  sort_for_writing(out);
  return out;
}

DType choice_of(const std::string& name, const std::vector<TensorInfo>& tensors, const MixtureModel& model,
                const MixtureOptions& options) {
  const std::vector<TensorChoice> chosen = choose_types(tensors, model, options);
  for (size_t i = 0; i < tensors.size(); ++i)
    if (tensors[i].name == name) return chosen[i].type;
  ADD_FAILURE() << "no tensor " << name;
  return DType::kF32;
}

TEST(Mixture, LayersAreWrittenByNumberAndNotByText) {
  const std::vector<TensorInfo> tensors = made_up(12);
  EXPECT_EQ(tensors[0].name, "output.weight");
  EXPECT_EQ(tensors[1].name, "token_embd.weight");
  EXPECT_EQ(tensors[2].name, "blk.0.attn_k.weight");
  EXPECT_EQ(tensors.back().name, "blk.11.ffn_up.weight");
}

TEST(Mixture, MoreBitsGoToTheFirstAndLastEighthAndEveryThird) {
  const std::vector<TensorInfo> tensors = made_up(32);
  const MixtureOptions options{.mixture = &find_mixture("Q4_K_M")};
  const MixtureModel model{.architecture = "llama", .layers = 32, .gqa = 1};
  std::string raised;
  for (size_t i = 0; i < 32; ++i)
    if (choice_of(cat("blk.", i, ".ffn_down.weight"), tensors, model, options) == DType::kQ6_K) raised += cat(i, " ");
  EXPECT_EQ(raised, "0 1 2 3 6 9 12 15 18 21 24 27 28 29 30 31 ");
}

TEST(Mixture, EightExpertsAndSeventyBillionAreSpecial) {
  const std::vector<TensorInfo> tensors = made_up(80);
  const MixtureOptions q3{.mixture = &find_mixture("Q3_K_M")}, q4_0{.mixture = &find_mixture("Q4_0")};
  const MixtureModel mixtral{.architecture = "llama", .layers = 80, .gqa = 4, .experts = 8};
  EXPECT_EQ(choice_of("blk.0.attn_v.weight", tensors, mixtral, q3), DType::kQ8_0);
  EXPECT_EQ(choice_of("blk.0.attn_k.weight", tensors, mixtral, q4_0), DType::kQ8_0);
  EXPECT_EQ(choice_of("blk.0.attn_output.weight", tensors, mixtral, q3), DType::kQ5_K);
  EXPECT_EQ(choice_of("blk.0.attn_output.weight", tensors, mixtral, q4_0), DType::kQ4_0);
  const MixtureModel big{.architecture = "llama", .layers = 80, .gqa = 8, .is_70b = true};
  EXPECT_EQ(choice_of("blk.40.attn_v.weight", tensors, big, q3), DType::kQ5_K);
  EXPECT_EQ(choice_of("blk.0.attn_v.weight", tensors, big, q4_0), DType::kQ4_0);
}

TEST(Mixture, AnImportanceMatrixChangesTheFirstFfnDown) {
  const std::vector<TensorInfo> tensors = made_up(16);
  const MixtureModel model{.architecture = "llama", .layers = 16, .gqa = 1};
  for (const auto& [name, without, with] : {std::tuple{"Q4_0", DType::kQ4_0, DType::kQ4_1},
                                            {"Q5_0", DType::kQ5_0, DType::kQ5_1},
                                            {"IQ4_XS", DType::kQ5_K, DType::kIQ4_XS},
                                            {"IQ4_NL", DType::kQ5_K, DType::kIQ4_NL}}) {
    MixtureOptions options{.mixture = &find_mixture(name)};
    EXPECT_EQ(choice_of("blk.1.ffn_down.weight", tensors, model, options), without) << name;
    options.has_importance = true;
    EXPECT_EQ(choice_of("blk.1.ffn_down.weight", tensors, model, options), with) << name;
    EXPECT_EQ(choice_of("blk.2.ffn_down.weight", tensors, model, options), options.mixture->base) << name;
  }
}

TEST(Mixture, TheEmbeddingIsTheOutputWhereThereIsNone) {
  const MixtureModel model{.architecture = "llama", .layers = 1};
  MixtureOptions options{.mixture = &find_mixture("Q4_K_M")};
  EXPECT_EQ(choice_of("token_embd.weight", made_up(1), model, options), DType::kQ4_K);
  EXPECT_EQ(choice_of("token_embd.weight", made_up(1, true), model, options), DType::kQ6_K);
  options.output = DType::kQ5_K;
  EXPECT_EQ(choice_of("token_embd.weight", made_up(1, true), model, options), DType::kQ5_K);
  options.token_embedding = DType::kF16;
  EXPECT_EQ(choice_of("token_embd.weight", made_up(1, true), model, options), DType::kF16);
}

TEST(Mixture, RowsThatDoNotFitFallBackAndSaySo) {
  const MixtureModel model{.architecture = "llama", .layers = 1};
  for (const auto& [name, with_32, with_8] : {std::tuple{"Q2_K_S", DType::kQ4_0, DType::kF16},
                                              {"Q3_K_S", DType::kQ4_0, DType::kF16},
                                              {"Q4_K_S", DType::kQ5_0, DType::kF16},
                                              {"Q5_K_S", DType::kQ5_1, DType::kF16},
                                              {"Q6_K", DType::kQ8_0, DType::kF16},
                                              {"IQ4_XS", DType::kIQ4_NL, DType::kF16},
                                              {"Q8_0", DType::kQ8_0, DType::kF16},
                                              {"F16", DType::kF16, DType::kF16}}) {
    const MixtureOptions options{.mixture = &find_mixture(name)};
    EXPECT_EQ(choice_of("blk.0.attn_q.weight", made_up(1, false, 96), model, options), with_32) << name;
    EXPECT_EQ(choice_of("blk.0.attn_q.weight", made_up(1, false, 40), model, options), with_8) << name;
  }
  const std::vector<TensorInfo> tensors = made_up(1, false, 96);
  const std::vector<TensorChoice> chosen = choose_types(tensors, model, {.mixture = &find_mixture("Q4_K_S")});
  EXPECT_FALSE(chosen[0].wanted) << "the output is asked for as Q8_0 at once";
  EXPECT_EQ(chosen[2].wanted, DType::kQ4_K);
}

TEST(Mixture, NormsVectorsAndRoutersStay) {
  for (const auto& [name, shape, changes] : {std::tuple{"blk.0.attn_norm.weight", Shape{2, 256}, false},
                                             {"blk.0.ffn_gate_inp.weight", Shape{8, 256}, false},
                                             {"blk.0.exp_probs_b.bias", Shape{8, 256}, false},
                                             {"rope_freqs.weight", Shape{32}, false},
                                             {"blk.0.attn_q.weight", Shape{1, 256}, false},
                                             {"blk.0.attn_q.weight", Shape{2, 256}, true},
                                             {"blk.0.ffn_up_exps.weight", Shape{2, 4, 256}, true}})
    EXPECT_EQ(may_be_quantized({name, DType::kF32, shape, 0}), changes) << name << " " << shape;
}

TEST(Mixture, PatternsWinOverRulesAndMustMeetATensor) {
  const MixtureModel model{.architecture = "llama", .layers = 16};
  MixtureOptions options{.mixture = &find_mixture("Q4_K_M")};
  options.by_name = {{"blk\\.1[0-5]\\..*ffn_down", DType::kQ8_0}, {"ffn_down", DType::kQ5_0}};
  EXPECT_EQ(choice_of("blk.12.ffn_down.weight", made_up(16), model, options), DType::kQ8_0);
  EXPECT_EQ(choice_of("blk.2.ffn_down.weight", made_up(16), model, options), DType::kQ5_0);
  options.by_name = {{"ffn_donw", DType::kQ8_0}};
  EXPECT_THROW(choose_types(made_up(16), model, options), UsageError);
  options.by_name = {{"(", DType::kQ8_0}};
  EXPECT_THROW(choose_types(made_up(16), model, options), UsageError);
}

TEST(Mixture, ALayerThatASparseModelDoesNotHaveIsNamed) {
  const MixtureModel model{.architecture = "deepseek2", .layers = 1, .experts = 4};
  try {
    choose_types(made_up(2), model, {.mixture = &find_mixture("Q4_K_M")});
    FAIL() << "expected an error";
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "tensor blk.1.ffn_down.weight: expected a layer below 1, found 1");
  }
}

TEST(Mixture, NamesAreKnownInAnyCaseAndOthersListed) {
  EXPECT_EQ(&find_mixture("q4_k"), &find_mixture("Q4_K_M"));
  EXPECT_EQ(find_written_type("--output-type", "q6_k"), DType::kQ6_K);
  for (const auto& f : {+[] { find_mixture("Q9_K"); }, +[] { find_written_type("--output-type", "Q9_K"); },
                        +[] { find_written_type("--output-type", "IQ1_S"); }}) {
    try {
      f();
      ADD_FAILURE() << "expected an error";
    } catch (const UsageError& e) {
      EXPECT_NE(std::string(e.what()).find("Q6_K"), std::string::npos) << e.what();
    }
  }
}

}  // namespace
}  // namespace fathom

#include "quant/convert_to_gguf_about.h"

#include <gtest/gtest.h>

namespace fathom {
namespace {

/// What the reference converter makes of these names.
TEST(ConvertToGgufAbout, NamesAreTakenApart) {
  struct Want {
    const char* id;
    uint64_t parameters;
    const char *name, *organization, *basename, *finetune, *version, *size_label, *title;
  };
  const Want wants[] = {
      {"deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B", 1777088000, "DeepSeek-R1-Distill-Qwen-1.5B", "deepseek-ai",
       "DeepSeek-R1-Distill-Qwen", "", "", "1.5B", "DeepSeek R1 Distill Qwen 1.5B"},
      {"deepseek-ai/DeepSeek-V3-0324", 684531386000, "DeepSeek-V3-0324", "deepseek-ai", "DeepSeek", "", "V3-0324", "",
       "DeepSeek V3 0324"},
      {"Qwen/Qwen2.5-7B-Instruct", 7615616512, "Qwen2.5-7B-Instruct", "Qwen", "Qwen2.5", "Instruct", "", "7B",
       "Qwen2.5 7B Instruct"},
      {"meta-llama/Meta-Llama-3.1-8B-Instruct", 8030261248, "Meta-Llama-3.1-8B-Instruct", "meta-llama",
       "Meta-Llama-3.1", "Instruct", "", "8B", "Meta Llama 3.1 8B Instruct"},
      {"deepseek-ai/DeepSeek-V2-Lite-Chat", 15706484224, "DeepSeek-V2-Lite-Chat", "deepseek-ai", "DeepSeek-V2-Lite",
       "Chat", "", "", "DeepSeek V2 Lite Chat"},
      {"llama-tied", 0, "llama-tied", "", "", "", "", "", "Llama Tied"},
      {"v3", 400000, "v3", "", "", "", "v3", "", "v3"},
      {"v2-lite", 300000, "v2-lite", "", "", "", "", "", "v2 Lite"},
      {"mistralai/Mixtral-8x7B-Instruct-v0.1", 46702792704, "Mixtral-8x7B-Instruct-v0.1", "mistralai", "Mixtral",
       "Instruct", "v0.1", "8x7B", "Mixtral 8x7B Instruct v0.1"},
      {"bigscience/bloom-7b1", 7069016064, "bloom-7b1", "bigscience", "bloom", "", "", "7.1B", "Bloom 7b1"},
      {"Yarn-Llama-2-7b-128k", 6738415616, "Yarn-Llama-2-7b-128k", "", "Yarn-Llama-2", "128k", "", "7B",
       "Yarn Llama 2 7b 128k"},
      {"a model of mine", 5, "a model of mine", "", "", "", "", "", "A Model Of Mine"},
      {"./x-7b", 7000000000, "x-7b", "", "x", "", "", "7B", "X 7b"},
      {"Phi-3-mini-4k-instruct-fp16", 3821079552, "Phi-3-mini-4k-instruct-fp16", "", "Phi-3", "4k-instruct", "", "mini",
       "Phi 3 Mini 4k Instruct Fp16"},
      {"gpt2-xl", 1557611200, "gpt2-xl", "", "gpt2", "", "", "xl", "Gpt2 Xl"},
      {"my_model", 9, "my_model", "", "", "", "", "", "My_Model"}};
  for (const Want& want : wants) {
    SCOPED_TRACE(want.id);
    const ModelNameParts got = parse_model_name(want.id, want.parameters);
    EXPECT_EQ(got.name, want.name);
    EXPECT_EQ(got.organization, want.organization);
    EXPECT_EQ(got.basename, want.basename);
    EXPECT_EQ(got.finetune, want.finetune);
    EXPECT_EQ(got.version, want.version);
    EXPECT_EQ(got.size_label, want.size_label);
    EXPECT_EQ(title_from_name(got.name), want.title);
  }
  EXPECT_EQ(parse_model_name(std::string(100000, 'a'), 1).name, "") << "no name, but an attack";
}

TEST(ConvertToGgufAbout, SizesAreRounded) {
  EXPECT_EQ(size_label(1777088000, 0), "1.8B");
  EXPECT_EQ(size_label(332000, 0), "332K");
  EXPECT_EQ(size_label(402000, 8), "8x402K");
  EXPECT_EQ(size_label(37000000000, 256), "256x37B");
  EXPECT_EQ(size_label(1500000000000, 0), "1.5T");
  EXPECT_EQ(size_label(1, 0), "0.00K");
  EXPECT_EQ(size_label(9960000, 0), "10M");
  EXPECT_EQ(size_label(99500, 0), "100K");
}

TEST(ConvertToGgufAbout, ModelCardsAreRead) {
  using Values = std::vector<std::string>;
  const auto card = parse_model_card(
      "---\r\nlicense: mit # the short one\nlanguage:\n- en\n-  \"zh\"\nbase_model: ['a/b', c/d]\n"
      "library_name: transformers\nmodel-index:\n- name: x\n  results:\n  - task: y\nempty:\n---\n# Title\nlicense: "
      "no\n");
  EXPECT_EQ(card.at("license"), Values{"mit"});
  EXPECT_EQ(card.at("language"), (Values{"en", "zh"}));
  EXPECT_EQ(card.at("base_model"), (Values{"a/b", "c/d"}));
  EXPECT_EQ(card.at("model-index"), Values{}) << "what lies deeper is passed over";
  EXPECT_EQ(card.at("empty"), Values{});
  EXPECT_TRUE(parse_model_card("# No card\n---\nlicense: mit\n---\n").empty());
  EXPECT_TRUE(parse_model_card("---\nlicense: mit\n").empty()) << "never closed";
  EXPECT_TRUE(parse_model_card("").empty());
}

}  // namespace
}  // namespace fathom

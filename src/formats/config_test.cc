#include <fstream>

#include "formats/config_gguf.h"
#include "formats/config_json.h"
#include "formats/gguf_builder.h"
#include "tests/testing.h"

namespace fathom {
namespace {

using testing::GgufBuilder;

ModelConfig parsed(const std::string& text) {
  const json::value value = parse_json(text, "config.json");
  return config_from_json(JsonObject(value, "config.json"));
}

/// The message of the Error for `base` with further keys, which win; "" where it is accepted.
std::string error_of(const std::string& base, const std::string& keys) {
  json::value value = parse_json(base, "base");
  const json::value extra = parse_json("{" + keys + "}", "extra");
  for (const auto& [key, v] : extra.as_object()) value.as_object()[key] = v;
  try {
    (void)config_from_json(JsonObject(value, "config.json"));
    return "";
  } catch (const Error& e) {
    return e.what();
  }
}

TEST(ConfigJson, AbsentKeysHaveTheDefaultsOfTheClass) {
  const ModelConfig llama = parsed(R"({"model_type":"llama"})");
  EXPECT_EQ(llama.hidden_size, 4096u);
  EXPECT_EQ(llama.head_dim, 128u);
  EXPECT_EQ(llama.num_key_value_heads, 32u);
  EXPECT_EQ(llama.rope_theta, 10000);
  EXPECT_FALSE(llama.tie_word_embeddings);
  EXPECT_EQ(llama.eos_token_ids, std::vector<int>{2});
  EXPECT_EQ(parsed(R"({"model_type":"llama","num_attention_heads":8,"num_key_value_heads":null})").num_key_value_heads,
            8u);
  EXPECT_TRUE(parsed(R"({"model_type":"qwen2"})").attention_bias);
  EXPECT_EQ(parsed(R"({"model_type":"qwen3"})").head_dim, 128u);
  const ModelConfig v3 = parsed(R"({"model_type":"deepseek_v3"})");
  EXPECT_EQ(v3.q_lora_rank, 1536u);
  EXPECT_EQ(v3.head_dim, 192u);
  EXPECT_EQ(v3.topk_method, "noaux_tc");
  EXPECT_TRUE(v3.rope_interleaved);
  EXPECT_EQ(parsed(R"({"model_type":"deepseek_v3","q_lora_rank":null})").q_lora_rank, 0u);
}

TEST(ConfigJson, BothSpellingsOfRopeScalingAreOne) {
  const ModelConfig a = parsed(
      R"({"model_type":"llama","rope_theta":5e5,"rope_scaling":{"type":"yarn","factor":4,"original_max_position_embeddings":32}})");
  const ModelConfig b = parsed(
      R"({"model_type":"llama","rope_parameters":{"rope_type":"yarn","rope_theta":500000.0,"factor":4.0,"original_max_position_embeddings":32}})");
  for (const ModelConfig* c : {&a, &b}) {
    EXPECT_EQ(c->rope_theta, 5e5);
    EXPECT_EQ(c->rope_scaling.rope_type, RopeType::kYarn);
    EXPECT_EQ(c->rope_scaling.factor, 4);
    EXPECT_EQ(c->rope_scaling.original_max_position_embeddings, 32);
    EXPECT_EQ(c->rope_scaling.beta_fast, 32);
  }
  const ModelConfig none =
      parsed(R"({"model_type":"llama","rope_parameters":{"rope_type":"default","rope_theta":7000}})");
  EXPECT_EQ(none.rope_scaling.rope_type, RopeType::kDefault);
  EXPECT_EQ(none.rope_theta, 7000);
  EXPECT_EQ(parsed(R"({"model_type":"llama","rope_scaling":{"rope_type":"llama3","factor":8}})")
                .rope_scaling.original_max_position_embeddings,
            8192);
}

TEST(ConfigJson, WrongValuesAreRefusedByKey) {
  struct Case {
    const char *model_type, *keys, *expected;
  };
  const std::vector<Case> cases = {
      {"gpt2", "", "llama, qwen2, qwen3, qwen3_moe, deepseek_v2, deepseek_v3"},
      {"llama", R"("hidden_size":0)", "hidden_size"},
      {"llama", R"("hidden_size":-4096)", "hidden_size"},
      {"llama", R"("hidden_size":4294967296)", "hidden_size"},
      {"llama", R"("hidden_size":"4096")", "hidden_size"},
      {"llama", R"("hidden_size":4095)", "num_attention_heads"},
      {"llama", R"("num_attention_heads":0)", "num_attention_heads"},
      {"llama", R"("num_attention_heads":4611686018427387904,"head_dim":4)", "num_attention_heads"},
      {"llama", R"("num_key_value_heads":5)", "num_key_value_heads"},
      {"llama", R"("num_key_value_heads":0)", "num_key_value_heads"},
      {"llama", R"("num_hidden_layers":100000000)", "num_hidden_layers"},
      {"llama", R"("head_dim":63)", "head_dim"},
      {"llama", R"("head_dim":2147483646)", "head_dim"},
      {"llama", R"("vocab_size":0)", "vocab_size"},
      {"llama", R"("intermediate_size":0)", "intermediate_size"},
      {"llama", R"("max_position_embeddings":0)", "max_position_embeddings"},
      {"llama", R"("rms_norm_eps":0)", "rms_norm_eps"},
      {"llama", R"("rope_theta":0.5)", "rope_theta"},
      {"llama", R"("rope_theta":1e999)", ""},
      {"llama", R"("hidden_act":"gelu")", "hidden_act"},
      {"llama", R"("mlp_bias":true)", "mlp_bias"},
      {"llama", R"("partial_rotary_factor":0.5)", "partial_rotary_factor"},
      {"qwen2", R"("use_sliding_window":true)", "use_sliding_window"},
      {"llama", R"("rope_scaling":{"type":"dynamic","factor":2})", "dynamic"},
      {"llama", R"("rope_scaling":{"type":"linear"})", "factor"},
      {"llama", R"("rope_scaling":{"type":"yarn","factor":0.5})", "factor"},
      {"llama", R"("rope_scaling":{"rope_type":"llama3","factor":8,"low_freq_factor":4,"high_freq_factor":4})",
       "high_freq_factor"},
      {"llama", R"("rope_scaling":{"type":"yarn","factor":4,"original_max_position_embeddings":0})", "original_max"},
      {"llama", R"("rope_scaling":[1])", "rope_scaling"},
      {"llama", R"("eos_token_id":32000)", "eos_token_id"},
      {"llama", R"("eos_token_id":[1,"x"])", "eos_token_id"},
      {"llama", R"("bos_token_id":-7)", "bos_token_id"},
      {"llama", R"("quantization_config":{"quant_method":"gptq"})", "gptq"},
      {"llama", R"("quantization_config":{"quant_method":"fp8","weight_block_size":[64,64]})", "weight_block_size"},
      {"llama", R"("quantization_config":{"quant_method":"fp8","fmt":"e5m2","weight_block_size":[128,128]})", "fmt"},
      {"deepseek_v3", R"("n_group":7)", "n_group"},
      {"deepseek_v3", R"("n_group":0)", "n_group"},
      {"deepseek_v3", R"("n_group":256)", "num_experts_per_tok"},
      {"deepseek_v3", R"("topk_group":9)", "topk_group"},
      {"deepseek_v3", R"("num_experts_per_tok":129)", "num_experts_per_tok"},
      {"deepseek_v3", R"("num_experts_per_tok":0)", "num_experts_per_tok"},
      {"deepseek_v3", R"("kv_lora_rank":0)", "kv_lora_rank"},
      {"deepseek_v3", R"("qk_rope_head_dim":63)", "qk_rope_head_dim"},
      {"deepseek_v3", R"("v_head_dim":0)", "v_head_dim"},
      {"deepseek_v3", R"("num_key_value_heads":1)", "num_key_value_heads"},
      {"deepseek_v3", R"("first_k_dense_replace":62)", "first_k_dense_replace"},
      {"deepseek_v3", R"("scoring_func":"softmax")", "scoring_func"},
      {"deepseek_v3", R"("moe_layer_freq":2)", "moe_layer_freq"},
      {"deepseek_v3", R"("num_nextn_predict_layers":1000)", "num_nextn_predict_layers"},
      {"qwen3_moe", R"("mlp_only_layers":[0])", "mlp_only_layers"},
      {"qwen3_moe", R"("num_experts":0)", "num_experts"},
      {"qwen3_moe", R"("decoder_sparse_step":2)", "decoder_sparse_step"},
  };
  for (const Case& c : cases) {
    std::string error;
    try {
      error = error_of(cat(R"({"model_type":")", c.model_type, "\"}"), c.keys);
    } catch (const Error& e) {
      error = e.what();  // not even JSON
    }
    EXPECT_NE(error, "") << c.keys;
    EXPECT_NE(error.find(c.expected), std::string::npos) << c.keys << ": " << error;
  }
  EXPECT_THROW((void)parsed("{}"), Error);
}

class ConfigGguf : public ::testing::Test {
 protected:
  ModelConfig read(const GgufBuilder& b) {
    const auto path = dir_.path() / "x.gguf";
    std::ofstream(path, std::ios::binary) << b.bytes();
    notes_.clear();
    return config_from_gguf(GgufFile(path), &notes_);
  }
  std::string error_of(const GgufBuilder& b) {
    try {
      (void)read(b);
      return "";
    } catch (const Error& e) {
      return e.what();
    }
  }
  static GgufBuilder base(const std::string& architecture, uint32_t heads = 2) {
    GgufBuilder b;
    b.key("general.architecture", architecture);
    const auto key = [&](const char* name, uint32_t value) { b.key(architecture + "." + name, value); };
    key("block_count", 4), key("context_length", 128), key("embedding_length", 64), key("feed_forward_length", 96);
    key("attention.head_count", heads), key("vocab_size", 100);
    return b;
  }
  static GgufBuilder deepseek(uint32_t experts, uint32_t gating) {
    GgufBuilder b = base("deepseek2");
    const auto key = [&](const char* name, uint32_t value) { b.key(cat("deepseek2.", name), value); };
    key("attention.kv_lora_rank", 16), key("attention.key_length", 24), key("attention.value_length", 20);
    key("rope.dimension_count", 8), key("expert_count", experts), key("expert_used_count", 4);
    key("expert_feed_forward_length", 32), key("expert_gating_func", gating), key("leading_dense_block_count", 1);
    return b;
  }
  testing::TempDir dir_;
  std::vector<std::string> notes_;
};

TEST_F(ConfigGguf, OldFilesGetThePublishedGroupsAndSaySo) {
  const ModelConfig v3 = read(deepseek(256, 2));
  EXPECT_EQ(v3.n_group, 8u);
  EXPECT_EQ(v3.topk_group, 4u);
  EXPECT_EQ(v3.topk_method, "noaux_tc");
  EXPECT_EQ(v3.model_type, "deepseek_v3");
  EXPECT_EQ(notes_.size(), 1u);
  EXPECT_EQ(v3.qk_nope_head_dim, 16u);
  EXPECT_EQ(v3.v_head_dim, 20u);
  const ModelConfig v2 = read(deepseek(160, 1));
  EXPECT_EQ(v2.topk_group, 3u);
  EXPECT_EQ(v2.topk_method, "group_limited_greedy");
  EXPECT_EQ(v2.model_type, "deepseek_v2");
  const ModelConfig lite = read(deepseek(64, 1));
  EXPECT_EQ(lite.n_group, 1u);
  EXPECT_EQ(lite.topk_method, "greedy");
  EXPECT_TRUE(notes_.empty());
}

TEST_F(ConfigGguf, AKeyForMtpWithoutItsTensorsMeansNone) {
  GgufBuilder b = deepseek(64, 2);
  b.key("deepseek2.nextn_predict_layers", 1u);
  const ModelConfig c = read(b);
  EXPECT_EQ(c.num_hidden_layers, 3u);
  EXPECT_EQ(c.num_nextn_predict_layers, 0u);
}

TEST_F(ConfigGguf, RopeScalingFollowsTheKeys) {
  EXPECT_EQ(read(base("qwen2")).rope_scaling.rope_type, RopeType::kDefault);
  EXPECT_EQ(read(base("qwen2").key("qwen2.rope.scaling.factor", 4.0f)).rope_scaling.rope_type, RopeType::kLinear);
  EXPECT_EQ(read(base("qwen2").key("qwen2.rope.scale_linear", 4.0f)).rope_scaling.factor, 4);
  const ModelConfig none =
      read(base("qwen2").key("qwen2.rope.scaling.type", "none").key("qwen2.rope.scaling.factor", 4.0f));
  EXPECT_EQ(none.rope_scaling.rope_type, RopeType::kDefault);
  const ModelConfig yarn = read(base("qwen2")
                                    .key("qwen2.rope.scaling.type", "yarn")
                                    .key("qwen2.rope.scaling.factor", 4.0f)
                                    .key("qwen2.rope.scaling.original_context_length", 32u)
                                    .key("qwen2.rope.scaling.attn_factor", 0.5f));
  EXPECT_EQ(yarn.rope_scaling.rope_type, RopeType::kYarn);
  EXPECT_EQ(yarn.rope_scaling.original_max_position_embeddings, 32);
  EXPECT_EQ(yarn.rope_scaling.attn_factor, 0.5);
  EXPECT_TRUE(read(base("llama")).rope_interleaved);
  EXPECT_FALSE(read(base("qwen2")).rope_interleaved);
}

TEST_F(ConfigGguf, WrongValuesAreRefusedByKey) {
  const auto expect = [&](const GgufBuilder& b, const std::string& part) {
    EXPECT_NE(error_of(b).find(part), std::string::npos) << part << ": " << error_of(b);
  };
  expect(GgufBuilder(), "general.architecture");
  expect(base("gemma"), "llama, qwen2, qwen3, qwen3moe, deepseek2");
  expect(GgufBuilder().key("general.architecture", "llama"), "embedding_length");
  expect(base("llama", 0), "num_attention_heads");
  expect(base("llama", 3), "head_dim");
  expect(base("llama").key("llama.expert_count", 8u), "experts");
  expect(base("llama").key("llama.rope.dimension_count", 16u), "rope.dimension_count");
  expect(base("llama").key("llama.attention.value_length", 16u), "value_length");
  expect(base("llama").key("llama.rope.scaling.type", "longrope").key("llama.rope.scaling.factor", 2.0f), "longrope");
  expect(base("llama").key("llama.rope.freq_base", std::nanf("")), "rope_theta");
  expect(base("llama").key("llama.attention.head_count_kv", std::vector<int32_t>{1, 2}), "one integer for all layers");
  expect(base("llama").key("llama.attention.head_count_kv", GgufType::kI32, GgufBuilder::raw<int32_t>(-1)),
         "not negative");
  expect(deepseek(0, 2), "expert_count");
  expect(deepseek(64, 3), "expert_gating_func");
  expect(deepseek(64, 2).key("deepseek2.nextn_predict_layers", 4u), "nextn_predict_layers");
  expect(deepseek(64, 2).key("deepseek2.expert_group_count", 7u), "n_group");
}

}  // namespace
}  // namespace fathom

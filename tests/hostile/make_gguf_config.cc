// L4 in GGUF's keys: hyper-parameters that are missing, or contradict each other. The matrix of every key and every
// kind of wrong value is tests/hostile/keys_test.cc; here is one file for each thing that is said about them.
#include "base/error.h"
#include "tests/hostile/cases.h"

namespace fathom::testing {
namespace {

using B = GgufBuilder;

/// A header of this architecture with ten usable keys and then those of `add`, which leaves out what it sets itself.
B header_of(const std::string& architecture, std::vector<std::string> without) {
  B b;
  b.key("general.architecture", architecture);
  const auto key = [&](std::string name, uint32_t value) {
    if (std::find(without.begin(), without.end(), name) == without.end()) b.key(architecture + "." + name, value);
  };
  key("block_count", 4), key("context_length", 128), key("embedding_length", 64), key("feed_forward_length", 96);
  key("attention.head_count", 2), key("vocab_size", 100);
  if (architecture == "llama" || architecture == "qwen2" || architecture == "qwen3") return b;
  key("expert_count", 8), key("expert_used_count", 4), key("expert_feed_forward_length", 32);
  if (architecture == "qwen3moe") return b;
  key("attention.kv_lora_rank", 16), key("attention.key_length", 24), key("attention.value_length", 20);
  key("rope.dimension_count", 8), key("expert_gating_func", 2);
  return b;
}

/// One key of an architecture set to another value (or left out where `set` does nothing).
HostileCase key_case(std::string name, const std::string& architecture, const std::string& key,
                     std::function<void(B&, const std::string&)> set) {
  return gguf_case(std::move(name), [=] {
    B b = header_of(architecture, {key});
    set(b, architecture + "." + key);
    return b.bytes();
  });
}
HostileCase number_case(std::string name, const std::string& architecture, const std::string& key, uint32_t value) {
  return key_case(std::move(name), architecture, key, [value](B& b, const std::string& k) { b.key(k, value); });
}
HostileCase float_case(std::string name, const std::string& architecture, const std::string& key, float value) {
  return key_case(std::move(name), architecture, key, [value](B& b, const std::string& k) { b.key(k, value); });
}

}  // namespace

std::vector<HostileCase> gguf_config_cases() {
  const auto absent = [](B&, const std::string&) {};
  return {
      gguf_case("L4_gguf_no_architecture", [] { return B().key("a", 1u).bytes(); }),
      gguf_case("L4_gguf_unknown_architecture",
                [] { return B().key("general.architecture", "mamba\x1b[31m").bytes(); }),
      gguf_case("L4_gguf_architecture_is_a_number", [] { return B().key("general.architecture", 7u).bytes(); }),
      key_case("L4_gguf_no_block_count", "llama", "block_count", absent),
      key_case("L4_gguf_no_head_count", "llama", "attention.head_count", absent),
      key_case("L4_gguf_no_kv_lora_rank", "deepseek2", "attention.kv_lora_rank", absent),
      key_case("L4_gguf_no_expert_used_count", "qwen3moe", "expert_used_count", absent),
      number_case("L4_gguf_zero_heads", "llama", "attention.head_count", 0),
      number_case("L4_gguf_zero_layers", "qwen2", "block_count", 0),
      number_case("L4_gguf_a_billion_layers", "qwen3", "block_count", 1'000'000'000),
      number_case("L4_gguf_zero_vocabulary", "llama", "vocab_size", 0),
      gguf_case(
          "L4_gguf_vocabulary_beyond_the_embedding",
          [] {
            TinyGguf tiny;
            tiny.without = {"llama.vocab_size"};
            return tiny.builder().key("llama.vocab_size", 500'000'000u).bytes();
          },
          /*compute=*/true),
      number_case("L4_gguf_head_sizes_do_not_divide", "llama", "attention.head_count", 3),
      number_case("L4_gguf_odd_rope", "llama", "attention.key_length", 33),
      number_case("L4_gguf_value_length", "llama", "attention.value_length", 16),
      number_case("L4_gguf_rope_dimensions", "qwen2", "rope.dimension_count", 16),
      number_case("L4_gguf_llama_with_experts", "llama", "expert_count", 8),
      number_case("L4_gguf_no_experts", "deepseek2", "expert_count", 0),
      number_case("L4_gguf_fewer_experts_than_used", "qwen3moe", "expert_used_count", 9),
      number_case("L4_gguf_gating", "deepseek2", "expert_gating_func", 3),
      number_case("L4_gguf_groups_do_not_divide", "deepseek2", "expert_group_count", 3),
      number_case("L4_gguf_groups_of_one", "deepseek2", "expert_group_count", 8),
      number_case("L4_gguf_zero_latent", "deepseek2", "attention.kv_lora_rank", 0),
      number_case("L4_gguf_rope_longer_than_the_head", "deepseek2", "rope.dimension_count", 24),
      number_case("L4_gguf_odd_mla_rope", "deepseek2", "rope.dimension_count", 7),
      number_case("L4_gguf_more_mtp_than_layers", "deepseek2", "nextn_predict_layers", 4),
      float_case("L4_gguf_eps_nan", "llama", "attention.layer_norm_rms_epsilon", std::nanf("")),
      float_case("L4_gguf_theta_nan", "llama", "rope.freq_base", std::nanf("")),
      float_case("L4_gguf_head_count_is_a_float", "llama", "attention.head_count", 2.0f),
      float_case("L4_gguf_experts_scale", "deepseek2", "expert_weights_scale", -1.0f),
      key_case("L4_gguf_head_count_is_text", "llama", "attention.head_count",
               [](B& b, const std::string& k) { b.key(k, "two"); }),
      key_case("L4_gguf_head_count_negative", "llama", "attention.head_count",
               [](B& b, const std::string& k) { b.key(k, GgufType::kI32, B::raw(-2)); }),
      key_case("L4_gguf_layers_differ", "llama", "attention.head_count_kv",
               [](B& b, const std::string& k) {
                 b.key(k, std::vector<int32_t>{1, 2, 1, 2});
               }),
      key_case("L4_gguf_block_count_beyond_2_63", "llama", "block_count",
               [](B& b, const std::string& k) { b.key(k, GgufType::kU64, B::raw(~uint64_t{0})); }),
      key_case("L4_gguf_theta_is_a_list", "llama", "rope.freq_base",
               [](B& b, const std::string& k) { b.key(k, std::vector<int32_t>{1}); }),
      key_case("L4_gguf_norm_flag", "deepseek2", "expert_weights_norm",
               [](B& b, const std::string& k) { b.key(k, GgufType::kBool, B::raw<uint8_t>(7)); }),
      key_case("L4_gguf_rope_type", "llama", "rope.scaling.type",
               [](B& b, const std::string& k) { b.key(k, "longrope").key("llama.rope.scaling.factor", 2.0f); }),
      key_case("L4_gguf_rope_type_is_a_number", "llama", "rope.scaling.type",
               [](B& b, const std::string& k) { b.key(k, 1u); }),
      key_case("L4_gguf_yarn_ext_factor", "llama", "rope.scaling.type",
               [](B& b, const std::string& k) { b.key(k, "yarn").key("llama.rope.scaling.yarn_ext_factor", 0.5f); }),
      key_case("L4_gguf_yarn_factor_infinite", "llama", "rope.scaling.type",
               [](B& b, const std::string& k) { b.key(k, "yarn").key("llama.rope.scaling.factor", INFINITY); }),
      key_case("L4_gguf_yarn_log_multiplier", "deepseek2", "rope.scaling.type",
               [](B& b, const std::string& k) {
                 b.key(k, "yarn").key("deepseek2.rope.scaling.factor", 4.0f);
                 b.key("deepseek2.rope.scaling.yarn_log_multiplier", INFINITY);
               }),
      gguf_case("L4_gguf_temperature",
                [] { return header_of("llama", {}).key("general.sampling.temp", -1.0f).bytes(); }),
      gguf_case(
          "L4_gguf_tensor_missing", [] { return header_of("llama", {}).bytes(); }, /*compute=*/true),
      gguf_case(
          "L4_gguf_width_of_another_model",
          [] {
            TinyGguf tiny;
            tiny.without = {"llama.embedding_length"};
            return tiny.builder().key("llama.embedding_length", 64u).bytes();
          },
          /*compute=*/true),
      gguf_case(
          "L4_gguf_rows_of_angles",
          [] {  // 2^30 angles would be computed before a tensor is asked for
            return header_of("llama", {})
                .key("llama.attention.key_length", 1u << 30)
                .key("llama.attention.value_length", 1u << 30)
                .bytes();
          },
          /*compute=*/true),
  };
}

}  // namespace fathom::testing

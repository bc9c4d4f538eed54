// L4 in config.json and generation_config.json: one file for each thing that is said about hyper-parameters.
#include "base/error.h"
#include "tests/hostile/cases.h"

namespace fathom::testing {
namespace {

constexpr const char* kV3 =
    R"("model_type":"deepseek_v3","num_key_value_heads":2,"q_lora_rank":null,"kv_lora_rank":16,"qk_nope_head_dim":16,)"
    R"("qk_rope_head_dim":8,"v_head_dim":16,"n_routed_experts":8,"num_experts_per_tok":4,"n_group":2,"topk_group":1,)"
    R"("moe_intermediate_size":32,"first_k_dense_replace":1)";
constexpr const char* kMoe =
    R"("model_type":"qwen3_moe","head_dim":16,"num_experts":8,"num_experts_per_tok":2,"moe_intermediate_size":32)";

/// The first of equal keys in `more` counts for nothing: later ones win.
HostileCase v3_case(std::string name, const std::string& more) {
  return config_case(std::move(name), cat("{", kV3, ",", more, "}"));
}
HostileCase moe_case(std::string name, const std::string& more) {
  return config_case(std::move(name), cat("{", kMoe, ",", more, "}"));
}
HostileCase rope_case(std::string name, const std::string& rope) {
  return config_case(std::move(name), cat(R"({"rope_scaling":)", rope, "}"));
}
HostileCase text_case(std::string name, std::string file, std::string text) {
  return folder_case(std::move(name), [=](Files& files) { files[file] = text; });
}

std::string nested(size_t depth, char open) { return R"({"x":)" + std::string(depth, open); }

/// Two lists of end tokens that have nothing in common, as long as the files may be.
void many_end_tokens(Files& files) {
  const auto list = [](int begin, int n) {
    std::string out = "[";
    for (int i = 0; i < n; ++i) out += cat(i ? "," : "", begin + i);
    return out + "]";
  };
  files["config.json"].insert(1, R"("vocab_size":2147483647,"eos_token_id":)" + list(0, 200'000) + ",");
  // Equal keys: the last wins, so the short ones go.
  for (const char* gone : {R"("vocab_size":259,)", R"(,"eos_token_id":258)"})
    files["config.json"].erase(files["config.json"].find(gone), std::string(gone).size());
  files["generation_config.json"] = cat(R"({"eos_token_id":)", list(1'000'000, 200'000), R"(,"top_p":7})");
}

std::vector<HostileCase> sizes() {
  return {
      config_case("L4_config_model_type_missing", R"({"model_type":null})"),
      config_case("L4_config_model_type_unknown", R"({"model_type":"gpt_neox"})"),
      config_case("L4_config_zero_heads", R"({"num_attention_heads":0})"),
      config_case("L4_config_zero_layers", R"({"num_hidden_layers":0})"),
      config_case("L4_config_a_billion_layers", R"({"num_hidden_layers":1000000000})"),
      config_case("L4_config_negative_width", R"({"hidden_size":-32})"),
      config_case("L4_config_width_is_text", R"({"hidden_size":"32"})"),
      config_case("L4_config_width_is_a_long_list", cat(R"({"hidden_size":[)", std::string(200, '1'), "]}")),
      config_case("L4_config_width_is_half", R"({"hidden_size":32.5})"),
      config_case("L4_config_huge_vocabulary", R"({"vocab_size":9000000000000000000})"),
      config_case("L4_config_vocabulary_beyond_2_63", R"({"vocab_size":18446744073709551615})"),
      config_case("L4_config_head_sizes_do_not_divide", R"({"num_attention_heads":3,"num_key_value_heads":3})"),
      config_case("L4_config_kv_heads_do_not_divide", R"({"num_attention_heads":4,"num_key_value_heads":3})"),
      config_case("L4_config_odd_head", R"({"head_dim":17})"),
      config_case("L4_config_huge_head", R"({"head_dim":1073741824})"),
      config_case("L4_config_no_positions", R"({"max_position_embeddings":0})"),
      config_case("L4_config_no_width_of_the_mlp", R"({"intermediate_size":0})"),
      config_case("L4_config_eps_zero", R"({"rms_norm_eps":0})"),
      config_case("L4_config_eps_huge", R"({"rms_norm_eps":1e300})"),
      config_case("L4_config_theta_one", R"({"rope_theta":1})"),
      config_case("L4_config_flag_is_a_number", R"({"tie_word_embeddings":1})"),
      config_case("L4_config_bos_beyond_the_vocabulary", R"({"bos_token_id":259})"),
      config_case("L4_config_eos_beyond_the_vocabulary", R"({"eos_token_id":[1,259]})"),
      config_case("L4_config_eos_is_text", R"({"eos_token_id":"</s>"})"),
      config_case("L4_config_activation", R"({"hidden_act":"gelu"})"),
      config_case("L4_config_sliding_window", R"({"use_sliding_window":true})"),
      config_case("L4_config_mlp_bias", R"({"mlp_bias":true})"),
      config_case("L4_config_partial_rotary", R"({"partial_rotary_factor":0.5})"),
      config_case("L4_config_quantised_otherwise", R"({"quantization_config":{"quant_method":"awq"}})"),
      config_case("L4_config_fp8_of_another_form", R"({"quantization_config":{"quant_method":"fp8","fmt":"e5m2"}})"),
      config_case("L4_config_fp8_of_another_block",
                  R"({"quantization_config":{"quant_method":"fp8","weight_block_size":[64,64]}})"),
      config_case("L4_config_fp8_without_block", R"({"quantization_config":{"quant_method":"fp8"}})"),
      config_case("L4_config_quantisation_is_text", R"({"quantization_config":"fp8"})"),
      folder_case(
          "L4_config_tensor_of_another_shape",
          [](Files& files) {
            const std::string key = R"("intermediate_size":32)";
            files["config.json"].replace(files["config.json"].find(key), key.size(), R"("intermediate_size":64)");
          },
          /*compute=*/true),
      folder_case("L4_config_many_end_tokens", many_end_tokens),
  };
}

std::vector<HostileCase> rope() {
  return {
      rope_case("L4_rope_type", R"({"rope_type":"su","factor":2})"),
      rope_case("L4_rope_without_factor", R"({"rope_type":"linear"})"),
      rope_case("L4_rope_factor_below_one", R"({"rope_type":"linear","factor":0.5})"),
      rope_case("L4_rope_partial", R"({"rope_type":"linear","factor":2,"partial_rotary_factor":0.5})"),
      rope_case("L4_rope_frequencies_reversed",
                R"({"rope_type":"llama3","factor":8,"low_freq_factor":4,"high_freq_factor":1})"),
      rope_case("L4_rope_low_frequency", R"({"rope_type":"llama3","factor":8,"low_freq_factor":0})"),
      rope_case("L4_rope_original_zero", R"({"rope_type":"yarn","factor":4,"original_max_position_embeddings":0})"),
      rope_case("L4_rope_beta", R"({"rope_type":"yarn","factor":4,"beta_slow":-1})"),
      rope_case("L4_rope_beta_fast", R"({"rope_type":"yarn","factor":4,"beta_fast":0})"),
      rope_case("L4_rope_attention_factor", R"({"rope_type":"yarn","factor":4,"attention_factor":0})"),
      rope_case("L4_rope_attn_factor", R"({"rope_type":"yarn","factor":4,"attn_factor":-1})"),
      rope_case("L4_rope_not_truncated", R"({"rope_type":"yarn","factor":4,"truncate":false})"),
      rope_case("L4_rope_is_a_list", "[]"),
  };
}

std::vector<HostileCase> experts() {
  return {
      v3_case("L4_v3_zero_latent", R"("kv_lora_rank":0)"),
      v3_case("L4_v3_odd_rope", R"("qk_rope_head_dim":7)"),
      v3_case("L4_v3_no_nope", R"("qk_nope_head_dim":0)"),
      v3_case("L4_v3_huge_value_head", R"("v_head_dim":2000000000)"),
      v3_case("L4_v3_kv_heads", R"("num_key_value_heads":1)"),
      v3_case("L4_v3_attention_bias", R"("attention_bias":true)"),
      v3_case("L4_v3_more_used_than_there_are", R"("num_experts_per_tok":5)"),
      v3_case("L4_v3_none_used", R"("num_experts_per_tok":0)"),
      v3_case("L4_v3_groups_do_not_divide", R"("n_group":3)"),
      v3_case("L4_v3_more_groups_used_than_there_are", R"("topk_group":3)"),
      v3_case("L4_v3_groups_of_one", R"("n_group":8)"),
      v3_case("L4_v3_many_experts", R"("n_routed_experts":1000000)"),
      v3_case("L4_v3_many_shared_experts", R"("n_shared_experts":1000000)"),
      v3_case("L4_v3_more_dense_than_layers", R"("first_k_dense_replace":2)"),
      v3_case("L4_v3_groups_of_one_all_used", R"("n_group":8,"topk_group":4)"),
      v3_case("L4_v3_huge_query_latent", R"("q_lora_rank":9000000000)"),
      v3_case("L4_v3_no_width_of_an_expert", R"("moe_intermediate_size":0)"),
      v3_case("L4_v3_scoring", R"("scoring_func":"softmax")"),
      v3_case("L4_v3_scaling", R"("routed_scaling_factor":-1)"),
      v3_case("L4_v3_layer_frequency", R"("moe_layer_freq":2)"),
      v3_case("L4_v3_many_mtp", R"("num_nextn_predict_layers":100000)"),
      moe_case("L4_moe_no_experts", R"("num_experts":0)"),
      moe_case("L4_moe_more_used_than_there_are", R"("num_experts_per_tok":9)"),
      moe_case("L4_moe_sparse_step", R"("decoder_sparse_step":2)"),
      moe_case("L4_moe_dense_between", R"("mlp_only_layers":[0])"),
      moe_case("L4_moe_dense_between_is_text", R"("mlp_only_layers":"0")"),
  };
}

std::vector<HostileCase> texts() {
  return {
      text_case("L4_config_is_empty", "config.json", ""),
      text_case("L4_config_is_a_list", "config.json", "[]"),
      text_case("L4_config_is_cut_off", "config.json", R"({"model_type":"llama","vocab_)"),
      text_case("L4_config_goes_on", "config.json", "{}{}"),
      text_case("L10_config_nests_lists_without_end", "config.json", nested(1'000'000, '[')),
      text_case("L10_generation_config_nests_without_end", "generation_config.json", nested(5000, '[')),
      folder_case("L4_config_too_large", [](Files& files) { files["config.json"] = std::string(20 << 20, ' '); }),
      text_case("L4_generation_temperature", "generation_config.json", R"({"temperature":-0.5})"),
      text_case("L4_generation_top_p", "generation_config.json", R"({"top_p":1.5})"),
      text_case("L4_generation_top_k", "generation_config.json", R"({"top_k":3000000000})"),
      text_case("L4_generation_eos", "generation_config.json", R"({"eos_token_id":[2,-5]})"),
  };
}

}  // namespace

std::vector<HostileCase> config_cases() {
  std::vector<HostileCase> out;
  for (auto* group : {sizes, rope, experts, texts})
    for (HostileCase& one : group()) out.push_back(std::move(one));
  return out;
}

}  // namespace fathom::testing

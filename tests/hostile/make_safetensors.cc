// L1, L2, L3 and L10 for safetensors: headers that lie about lengths, spans, types and shapes; FP8 without its scales.
#include "base/error.h"
#include "tests/hostile/cases.h"

namespace fathom::testing {
namespace {

/// The tiny folder with these weights.
HostileCase weights_case(std::string name, std::function<std::string()> bytes, bool compute = false) {
  return folder_case(
      std::move(name), [=](Files& files) { files["model.safetensors"] = bytes(); }, compute);
}
HostileCase header_case(std::string name, std::string header, std::string data = std::string(16, 'd'),
                        bool compute = false) {
  return weights_case(
      std::move(name), [=] { return safetensors_bytes(header, data); }, compute);
}
/// One tensor "w".
HostileCase tensor_case(std::string name, const std::string& dtype, const std::string& shape,
                        const std::string& offsets) {
  return header_case(std::move(name),
                     cat(R"({"w":{"dtype":)", dtype, R"(,"shape":)", shape, R"(,"data_offsets":)", offsets, "}}"));
}

std::string escaped(const std::string& bytes) {  // JSON holds text: every byte as a letter of its own
  static const std::vector<std::string> letters = byte_letters();
  std::string out;
  for (char c : bytes) out += c == '"' || c == '\\' ? "_" : letters[static_cast<uint8_t>(c)];
  return out;
}

std::vector<HostileCase> lengths() {
  return {
      weights_case("L1_safetensors_empty", [] { return std::string(); }),
      weights_case("L1_safetensors_header_length", [] { return GgufBuilder::raw(~uint64_t{0}) + "{}"; }),
      weights_case("L10_safetensors_header_over_long", [] { return GgufBuilder::raw<uint64_t>(100'000'001) + "{}"; }),
      weights_case("L10_safetensors_header_beyond_the_file", [] { return GgufBuilder::raw<uint64_t>(1000) + "{}"; }),
      header_case("L10_safetensors_header_is_no_json", "{\"w\":"),
      header_case("L10_safetensors_header_is_a_list", "[]"),
      header_case("L10_safetensors_header_nests_without_end", std::string(100'000, '[')),
      header_case("L10_safetensors_entry_is_a_number", R"({"w":7})"),
      header_case("L10_safetensors_metadata_is_a_number", R"({"__metadata__":{"format":7}})"),
      header_case(
          "L3_safetensors_tensor_twice",
          R"({"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}})"),
      weights_case("L1_safetensors_names_of_many",
                   [] {
                     std::string header = "{";
                     for (const std::string& name : names_of_one_hash(60'000))
                       header += cat("\"", escaped(name), R"(":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},)");
                     header.back() = '}';
                     return safetensors_bytes(header, "rest");
                   }),
  };
}

std::vector<HostileCase> spans() {
  return {
      tensor_case("L2_safetensors_tensor_beyond_the_file", R"("F32")", "[8]", "[0,32]"),
      tensor_case("L2_safetensors_offset_beyond_the_file", R"("F32")", "[4]", "[4096,4112]"),
      tensor_case("L2_safetensors_offset_wraps", R"("U8")", "[4]", "[18446744073709551611,18446744073709551615]"),
      tensor_case("L10_safetensors_offsets_reversed", R"("F32")", "[4]", "[16,0]"),
      tensor_case("L10_safetensors_offset_negative", R"("F32")", "[4]", "[-16,0]"),
      tensor_case("L10_safetensors_one_offset", R"("F32")", "[4]", "[16]"),
      tensor_case("L10_safetensors_offsets_are_text", R"("F32")", "[4]", R"("0,16")"),
      tensor_case("L10_safetensors_shape_mismatch", R"("F32")", "[5]", "[0,16]"),
      tensor_case("L10_safetensors_type_mismatch", R"("F64")", "[4]", "[0,16]"),
      tensor_case("L10_safetensors_type_unknown", R"("F4")", "[4]", "[0,16]"),
      tensor_case("L10_safetensors_type_is_a_number", "32", "[4]", "[0,16]"),
      tensor_case("L3_safetensors_dimensions_wrap", R"("F32")", "[4294967296,4294967296,4]", "[0,16]"),
      tensor_case("L3_safetensors_zero_hides_a_wrap", R"("F32")", "[0,4294967296,4294967296]", "[0,0]"),
      tensor_case("L3_safetensors_dimension_negative", R"("F32")", "[-4]", "[0,16]"),
      tensor_case("L3_safetensors_dimension_is_half", R"("F32")", "[4.5]", "[0,16]"),
      tensor_case("L3_safetensors_many_dimensions", R"("F32")", "[1,1,1,1,4]", "[0,16]"),
      header_case(
          "L10_safetensors_spans_overlap",
          R"({"a":{"dtype":"U8","shape":[12],"data_offsets":[0,12]},"b":{"dtype":"U8","shape":[8],"data_offsets":[8,16]}})"),
      header_case("L10_safetensors_bytes_between", R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[12,16]}})"),
      header_case("L10_safetensors_bytes_after", R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})"),
  };
}

/// A folder with the embedding in FP8 and these scales.
HostileCase fp8_case(std::string name, const std::string& weight, const std::string& scales, size_t bytes) {
  const std::string header = cat(R"({"model.embed_tokens.weight":)", weight,
                                 scales.empty() ? "" : R"(,"model.embed_tokens.weight_scale_inv":)", scales, "}");
  return header_case(std::move(name), header, std::string(bytes, '8'));
}

std::vector<HostileCase> fp8() {
  const std::string weight = R"({"dtype":"F8_E4M3","shape":[200,32],"data_offsets":[0,6400]})";
  return {
      fp8_case("L10_fp8_without_scales", weight, "", 6400),
      fp8_case("L10_fp8_scales_too_few", weight, R"({"dtype":"F32","shape":[1,1],"data_offsets":[6400,6404]})", 6404),
      fp8_case("L10_fp8_scales_of_integers", weight, R"({"dtype":"I32","shape":[2,1],"data_offsets":[6400,6408]})",
               6408),
      fp8_case("L10_fp8_vector", R"({"dtype":"F8_E4M3","shape":[64],"data_offsets":[0,64]})",
               R"({"dtype":"F32","shape":[1],"data_offsets":[64,68]})", 68),
      header_case("L10_experts_are_no_stack",
                  R"({"model.layers.0.mlp.experts.gate_up_proj":{"dtype":"U8","shape":[4,4],"data_offsets":[0,16]}})"),
      header_case(
          "L10_experts_of_half_a_block",
          R"({"model.layers.0.mlp.experts.gate_up_proj":{"dtype":"F8_E4M3","shape":[1,4,2],"data_offsets":[0,8]},)"
          R"("model.layers.0.mlp.experts.gate_up_proj_scale_inv":{"dtype":"F32","shape":[1,2,1],"data_offsets":[8,16]}})"),
      header_case("L10_weights_of_integers",
                  R"({"model.embed_tokens.weight":{"dtype":"I32","shape":[259,32],"data_offsets":[0,33152]}})",
                  std::string(33152, 0), /*compute=*/true),
  };
}

}  // namespace

std::vector<HostileCase> safetensors_cases() {
  std::vector<HostileCase> out;
  for (auto* group : {lengths, spans, fp8})
    for (HostileCase& one : group()) out.push_back(std::move(one));
  return out;
}

}  // namespace fathom::testing

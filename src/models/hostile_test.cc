// Checkpoints that are whole as files and wrong as models are refused by an Error that names the tensor, one case per
// known way of being wrong.
#include <optional>

#include "base/json.h"
#include "formats/safetensors.h"
#include "models/model.h"
#include "tests/testing.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;
using Tensors = std::vector<std::pair<std::string, Tensor>>;

/// Copies a golden model with one change and returns the message of the Error that loading gives.
std::string load_changed(const std::string& model, const std::function<void(Tensors&, json::object&)>& change) {
  const fs::path from = testing::golden_dir() / "models" / model;
  const testing::TempDir dir;
  const SafetensorsFile file(from / "model.safetensors");
  Tensors tensors;
  for (const StoredRange& range : file.ranges()) tensors.emplace_back(range.info.name, file.tensor(range.info.name));
  json::value config = read_json_file(from / "config.json");
  change(tensors, config.as_object());
  write_safetensors(dir.path() / "model.safetensors", tensors);
  std::ofstream(dir.path() / "config.json") << to_json(config);
  try {
    load_model(*open_checkpoint(dir.path()));
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

Tensor& named(Tensors& tensors, const std::string& name) {
  for (auto& [key, tensor] : tensors)
    if (key == name) return tensor;
  throw Error("the test names a tensor that is not there: " + name);
}
void drop(Tensors& tensors, const std::string& name) {
  named(tensors, name);
  std::erase_if(tensors, [&](const auto& t) { return t.first == name; });
}

TEST(HostileModel, TheGoldenModelItselfLoads) {
  if (!fs::exists(testing::golden_dir() / "models" / "qwen2")) GTEST_SKIP() << "needs golden model qwen2";
  EXPECT_EQ(load_changed("qwen2", [](Tensors&, json::object&) {}), "");
}

TEST(HostileModel, WrongTypesAndAbsentTensorsAreNamed) {
  if (!fs::exists(testing::golden_dir() / "models" / "v3")) GTEST_SKIP() << "needs the golden models";
  using ::testing::HasSubstr;
  for (const DType type : {DType::kI32, DType::kF64})
    for (const char* name :
         {"model.norm.weight", "model.layers.0.self_attn.q_proj.weight", "model.embed_tokens.weight"})
      EXPECT_THAT(load_changed("qwen2", [&](Tensors& t,
                                            json::object&) { named(t, name) = zeros(type, named(t, name).shape()); }),
                  ::testing::AllOf(HasSubstr(name), HasSubstr(info(type).name)));
  for (const char* name :
       {"model.layers.1.self_attn.q_proj.bias", "model.norm.weight", "model.layers.2.mlp.up_proj.weight"})
    EXPECT_THAT(load_changed("qwen2", [&](Tensors& t, json::object&) { drop(t, name); }), HasSubstr(name));
  for (const char* name : {"lm_head.weight", "model.layers.1.mlp.gate.e_score_correction_bias",
                           "model.layers.2.mlp.experts.7.down_proj.weight"})
    EXPECT_THAT(load_changed("v3", [&](Tensors& t, json::object&) { drop(t, name); }), HasSubstr(name));
  EXPECT_THAT(
      load_changed("qwen3", [](Tensors& t, json::object&) { drop(t, "model.layers.0.self_attn.k_norm.weight"); }),
      HasSubstr("k_norm"));
  EXPECT_THAT(
      load_changed("qwen2", [](Tensors& t, json::object&) { named(t, "model.norm.weight") = zeros(DType::kF32, {7}); }),
      HasSubstr("model.norm.weight: expected shape"));
  EXPECT_THAT(load_changed("v3", [](Tensors&, json::object& c) { c["attention_bias"] = true; }),
              HasSubstr("attention_bias"));
}

}  // namespace
}  // namespace fathom

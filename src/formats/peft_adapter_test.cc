// Adapters in peft's format: what is read, what is written, and what is refused by name.
#include "formats/peft_adapter.h"

#include <gmock/gmock.h>

#include <fstream>

#include "base/json.h"
#include "formats/safetensors.h"
#include "tests/testing.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr char kA[] = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";
constexpr char kB[] = "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight";

Tensor floats(const Shape& shape, uint64_t seed) {
  return from_values(testing::random_floats(shape.count(), seed), shape);
}

class PeftAdapterTest : public ::testing::Test {
 protected:
  PeftAdapterTest() { write({{kA, floats({2, 6}, 1)}, {kB, floats({5, 2}, 2)}}); }
  void write(const std::vector<std::pair<std::string, Tensor>>& tensors) {
    write_safetensors(folder() / "adapter_model.safetensors", tensors);
  }
  /// adapter_config.json with further or other keys.
  void configure(const json::object& changes = {}) {
    json::object config{{"peft_type", "LORA"}, {"r", 2}, {"lora_alpha", 3}, {"target_modules", {"q_proj"}}};
    for (const auto& change : changes) config[change.key()] = change.value();
    std::ofstream(folder() / "adapter_config.json") << to_json(config);
  }
  std::string error() const {
    try {
      read_peft_adapter(folder());
    } catch (const Error& e) {
      return e.what();
    }
    return "none";
  }
  const fs::path& folder() const { return dir_.path(); }

 private:
  testing::TempDir dir_;
};

TEST_F(PeftAdapterTest, ReadsWhatMatters) {
  configure({{"megatron_core", "megatron.core"}, {"use_dora", false}, {"rank_pattern", json::object()}});
  const PeftAdapter got = read_peft_adapter(folder());
  EXPECT_EQ(got.r, 2u);
  EXPECT_EQ(got.scale(), 1.5f);
  ASSERT_EQ(got.matrices.size(), 1u);
  EXPECT_EQ(got.matrices[0].weight, "model.layers.0.self_attn.q_proj.weight");
  EXPECT_EQ(got.matrices[0].a.shape(), (Shape{2, 6}));
  configure({{"use_rslora", true}, {"r", 2}, {"lora_alpha", 3}});
  EXPECT_EQ(read_peft_adapter(folder()).scale(), static_cast<float>(3 / std::sqrt(2.0)));
}

TEST_F(PeftAdapterTest, WritesWhatItReads) {
  configure();
  PeftAdapter adapter = read_peft_adapter(folder());
  adapter.base_model_name_or_path = "someone/model";
  const testing::TempDir out;
  write_peft_adapter(out.path() / "new", adapter);
  const PeftAdapter got = read_peft_adapter(out.path() / "new");
  EXPECT_EQ(adapter_id(got), adapter_id(adapter));
  EXPECT_EQ(got.base_model_name_or_path, "someone/model");
  EXPECT_EQ(got.target_modules, std::vector<std::string>{"q_proj"});
}

TEST_F(PeftAdapterTest, IdFollowsEveryValueAndTheScale) {
  configure();
  PeftAdapter adapter = read_peft_adapter(folder());
  const std::string before = adapter_id(adapter);
  adapter.lora_alpha = 4;
  EXPECT_NE(adapter_id(adapter), before);
  adapter.lora_alpha = 3;
  EXPECT_EQ(adapter_id(adapter), before);
  adapter.matrices[0].b.data<float>()[3] += 1;
  EXPECT_NE(adapter_id(adapter), before);
}

TEST_F(PeftAdapterTest, RefusesWhatItDoesNotSupportByName) {
  const std::vector<std::pair<json::object, std::string>> cases = {
      {{{"peft_type", "IA3"}}, "peft_type: expected LORA, found IA3"},
      {{{"task_type", "SEQ_CLS"}}, "task_type: expected CAUSAL_LM, found SEQ_CLS"},
      {{{"bias", "all"}}, "bias: expected none, found all"},
      {{{"use_dora", true}}, "use_dora"},
      {{{"modules_to_save", json::array{"lm_head"}}}, "modules_to_save"},
      {{{"rank_pattern", json::object{{"q_proj", 4}}}}, "rank_pattern"},
      {{{"fan_in_fan_out", true}}, "fan_in_fan_out"},
      {{{"an_option_of_tomorrow", 0.5}}, "an_option_of_tomorrow"},
      {{{"init_lora_weights", "pissa"}}, "init_lora_weights"},
      {{{"r", 0}}, "r: expected 1 to 65536, found 0"},
      {{{"r", 3}}, "expected lora_A [3, K] and lora_B [O, 3], found [2, 6] and [5, 2]"},
      {{{"r", "2"}}, "r: expected"},
      {{{"lora_alpha", 1e300}}, "lora_alpha: expected a finite number"},
  };
  for (const auto& [changes, want] : cases) {
    configure(changes);
    EXPECT_THAT(error(), HasSubstr(want));
  }
}

TEST_F(PeftAdapterTest, RefusesTensorsThatAreNoPair) {
  configure();
  const Tensor a = floats({2, 6}, 1), b = floats({5, 2}, 2);
  write({{kA, a}});
  EXPECT_THAT(error(), HasSubstr("expected lora_A and lora_B, found one of them"));
  write({{kA, a}, {kB, b}, {"base_model.model.lm_head.weight", b}});
  EXPECT_THAT(error(), AllOf(HasSubstr("lm_head"), HasSubstr("not supported")));
  write({{"q_proj.lora_A.weight", a}, {kB, b}});
  EXPECT_THAT(error(), HasSubstr("q_proj.lora_A.weight"));
  write({{kA, floats({12}, 1)}, {kB, b}});
  EXPECT_THAT(error(), HasSubstr("expected a matrix"));
  write({{kA, make_tensor(DType::kI32, {2, 6})}, {kB, b}});
  EXPECT_THAT(error(), HasSubstr("expected F32, F16 or BF16, found I32"));
  write({});
  EXPECT_THAT(error(), HasSubstr("expected adapted matrices, found none"));
}

TEST_F(PeftAdapterTest, RefusesAbsentFiles) {
  EXPECT_THAT(error(), HasSubstr("adapter_config.json"));
  EXPECT_THROW(read_peft_adapter(folder() / "absent"), Error);
  configure();
  fs::rename(folder() / "adapter_model.safetensors", folder() / "adapter_model.bin");
  EXPECT_THAT(error(), HasSubstr("pickle"));
}

}  // namespace
}  // namespace fathom

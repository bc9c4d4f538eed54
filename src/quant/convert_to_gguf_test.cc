#include "quant/convert_to_gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <functional>

#include "formats/config_gguf.h"
#include "formats/gguf.h"
#include "formats/safetensors.h"
#include "tensor/dequantize.h"
#include "tensor/float_types.h"
#include "tests/testing.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using testing::TempDir;

/// Keys that a file says of itself, and those that golden files have made up.
bool is_compared(const std::string& key) {
  for (const char* prefix : {"tokenizer.", "fathom.", "general.name", "general.version", "general.sampling."})
    if (key.starts_with(prefix)) return false;
  return true;
}

std::string bytes_of(const Tensor& t) { return {reinterpret_cast<const char*>(t.bytes()), t.size_bytes()}; }

void expect_same_file(const GgufFile& got, const GgufFile& want) {
  for (const auto& entry : want.metadata().entries()) {
    if (!is_compared(entry.key)) continue;
    const auto& entries = got.metadata().entries();
    const auto it = std::find_if(entries.begin(), entries.end(), [&](const auto& e) { return e.key == entry.key; });
    ASSERT_NE(it, entries.end()) << entry.key;
    EXPECT_EQ(it->type, entry.type) << entry.key;
    EXPECT_EQ(got.metadata().value_bytes(*it), want.metadata().value_bytes(entry)) << entry.key;
  }
  for (const auto& entry : got.metadata().entries())
    EXPECT_TRUE(!is_compared(entry.key) || want.metadata().has(entry.key)) << entry.key << " is too much";
  EXPECT_EQ(got.tensors().size(), want.tensors().size());
  for (const TensorInfo& t : want.tensors()) {
    ASSERT_TRUE(got.has(t.name)) << t.name;
    const Tensor a = got.tensor(t.name), b = want.tensor(t.name);
    EXPECT_EQ(a.dtype(), b.dtype()) << t.name;
    ASSERT_EQ(a.shape(), b.shape()) << t.name;
    EXPECT_TRUE(bytes_of(a) == bytes_of(b)) << t.name;
  }
}

struct Twin {
  const char *model, *gguf;
  std::optional<DType> type;
  bool mtp = true, fp8_as_q8 = false;
};

/// The files that the reference converter made of the same folders.
TEST(ConvertToGgufTwins, EqualTheReferenceConverter) {
  const Twin twins[] = {{"llama-tied", "llama-tied", std::nullopt},
                        {"llama3", "llama3", DType::kF32},
                        {"qwen2", "qwen2", std::nullopt},
                        {"qwen2", "qwen2", DType::kBF16},
                        {"qwen2", "qwen2.F16", DType::kF16},
                        {"qwen2-wide", "qwen2-wide", std::nullopt},
                        {"qwen2-wide", "qwen2-wide.Q8_0", DType::kQ8_0},
                        {"qwen3", "qwen3", std::nullopt},
                        {"qwen3-moe", "qwen3-moe", std::nullopt},
                        {"v2-lite", "v2-lite", std::nullopt},
                        {"v2", "v2", std::nullopt},
                        {"v3", "v3", std::nullopt, /*mtp=*/false},
                        {"v3", "v3-mtp", std::nullopt},
                        {"v3-fp8", "v3-fp8", DType::kBF16, /*mtp=*/false, /*fp8_as_q8=*/true}};
  const TempDir temp;
  for (const Twin& twin : twins) {
    SCOPED_TRACE(twin.gguf);
    const fs::path file = temp.path() / "a.gguf";
    ToGgufOptions options;
    options.types = {twin.type, twin.fp8_as_q8, twin.mtp};
    options.threads = 2;
    const ToGgufResult result = convert_to_gguf(testing::golden_dir() / "models" / twin.model, file, options);
    EXPECT_EQ(result.bytes, fs::file_size(file));
    const GgufFile got(file), want(testing::golden_dir() / "gguf" / cat(twin.gguf, ".gguf"));
    expect_same_file(got, want);
    EXPECT_EQ(result.tensors, want.tensors().size());
  }
}

class ConvertToGguf : public ::testing::Test {
 protected:
  /// A copy of a golden folder that a test may change.
  fs::path copy_of(const char* model) {
    const fs::path folder = dir_.path() / model;
    fs::create_directory(folder);
    for (const char* name : {"config.json", "model.safetensors"})
      fs::copy_file(testing::golden_dir() / "models" / model / name, folder / name);
    return folder;
  }
  static void put(const fs::path& path, const std::string& text) { std::ofstream(path, std::ios::binary) << text; }
  ToGgufResult convert(const fs::path& folder, const ToGgufOptions& options = {}) {
    return convert_to_gguf(folder, file_, options);
  }
  std::string error_of(const fs::path& folder) {
    try {
      convert(folder);
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  }
  /// The folder's weights with some replaced, renamed or left out (an undefined tensor).
  void rewrite(const fs::path& folder,
               const std::function<void(std::vector<std::pair<std::string, Tensor>>&)>& change) {
    const SafetensorsFile file(folder / "model.safetensors");
    std::vector<std::pair<std::string, Tensor>> tensors;
    for (const StoredRange& range : file.ranges()) tensors.emplace_back(range.info.name, file.tensor(range.info.name));
    change(tensors);
    write_safetensors(folder / "model.safetensors", tensors);
  }

  TempDir dir_;
  fs::path file_ = dir_.path() / "a.gguf";
};

TEST_F(ConvertToGguf, WhatTheFolderSaysTravels) {
  const fs::path folder = copy_of("v3");
  const std::string generation =
      R"({"temperature":0.6,"top_p":0.95,"top_k":40,"repetition_penalty":1.1,"eos_token_id":[1,2]})";
  put(folder / "generation_config.json", generation);
  put(folder / "README.md", "---\nlicense: mit\nbase_model: deepseek-ai/DeepSeek-V3\ntags:\n- moe\n---\n# A model\n");
  convert(folder);
  const GgufFile file(file_);
  const GgufMetadata& m = file.metadata();
  EXPECT_EQ(m.string("fathom.hf.config.json"), testing::read_file(folder / "config.json"));
  EXPECT_EQ(m.string("fathom.hf.generation_config.json"), generation);
  EXPECT_FALSE(m.has("fathom.hf.tokenizer.json"));
  const json::value types = parse_json(*m.string("fathom.hf.dtypes"), "dtypes");
  EXPECT_EQ(types.at("default"), "BF16");
  EXPECT_THAT(to_json(types.at("F32")), HasSubstr("model.layers.1.mlp.gate.e_score_correction_bias"));
  EXPECT_EQ(m.string("general.license"), "mit");
  EXPECT_EQ(m.string("general.base_model.0.name"), "DeepSeek V3");
  EXPECT_EQ(m.string("general.base_model.0.organization"), "Deepseek Ai");
  EXPECT_EQ(m.strings("general.tags"), std::vector<std::string>{"moe"});
  const GenerationConfig g = generation_config_from_gguf(m);
  EXPECT_EQ(g.temperature, 0.6);
  EXPECT_EQ(g.top_p, 0.95);
  EXPECT_EQ(g.top_k, 40);
  EXPECT_EQ(g.repetition_penalty, 1.1);
  ToGgufOptions options;
  options.fathom_keys = false;
  convert(folder, options);
  const GgufFile plain(file_);
  for (const auto& entry : plain.metadata().entries()) EXPECT_FALSE(entry.key.starts_with("fathom.hf"));
}

/// yarn with a magnitude of its own: the reader computes with the same one.
TEST_F(ConvertToGguf, AttnFactorTravels) {
  convert(testing::golden_dir() / "models" / "qwen3-yarn");
  const ModelConfig back = open_checkpoint(file_)->config();
  const RopeScaling want = open_checkpoint(testing::golden_dir() / "models" / "qwen3-yarn")->config().rope_scaling;
  ASSERT_TRUE(want.attn_factor && back.rope_scaling.attn_factor);
  EXPECT_FLOAT_EQ(*back.rope_scaling.attn_factor, *want.attn_factor);
  EXPECT_EQ(back.rope_scaling.factor, want.factor);
}

/// transformers 5 stacks experts: gate_up_proj [E, 2F, D], down_proj [E, D, F].
TEST_F(ConvertToGguf, StackedExpertsGiveTheSameFile) {
  const fs::path folder = copy_of("qwen3-moe");
  const std::unique_ptr<Checkpoint> golden = open_checkpoint(testing::golden_dir() / "models" / "qwen3-moe");
  rewrite(folder, [&](auto& tensors) {
    std::erase_if(tensors, [](const auto& t) { return t.first.find(".experts.") != std::string::npos; });
    const auto stack = [&](size_t layer, const char* name, std::vector<const char*> parts) {
      std::string data;
      Shape one;
      for (size_t e = 0; e < 8; ++e)
        for (const char* part : parts) {
          const Tensor t = golden->find(cat("model.layers.", layer, ".mlp.experts.", e, ".", part, ".weight")).data;
          data += bytes_of(t);
          one = t.shape();
        }
      Tensor all = make_tensor(DType::kBF16, {8, one[0] * parts.size(), one[1]});
      std::memcpy(all.bytes(), data.data(), data.size());
      tensors.emplace_back(cat("model.layers.", layer, ".mlp.experts.", name), all);
    };
    for (size_t layer = 0; layer < 3; ++layer) {
      stack(layer, "gate_up_proj", {"gate_proj", "up_proj"});
      stack(layer, "down_proj", {"down_proj"});
    }
  });
  convert(folder);
  expect_same_file(GgufFile(file_), GgufFile(testing::golden_dir() / "gguf" / "qwen3-moe.gguf"));
}

/// FP8 blocks: value * scale in f32, then rounded once; the same through the whole-tensor function.
TEST_F(ConvertToGguf, Fp8BecomesBf16) {
  const fs::path folder = testing::golden_dir() / "models" / "v3-fp8";
  const ToGgufResult result = convert(folder);
  EXPECT_EQ(result.type, DType::kBF16);
  EXPECT_THAT(result.notes, ::testing::Contains(HasSubstr("rounded from F8_E4M3 to BF16")));
  const std::unique_ptr<Checkpoint> source = open_checkpoint(folder), made = open_checkpoint(file_);
  size_t fp8 = 0;
  for (const TensorInfo& t : source->tensors()) {
    if (t.dtype != DType::kF8E4M3 || t.name.find("kv_b_proj") != std::string::npos) continue;
    const StoredTensor stored = source->find(t.name);
    const Tensor want = dequantize(stored.data, stored.scale_inv), got = made->find(t.name).data;
    ASSERT_EQ(got.shape(), want.shape()) << t.name;
    for (size_t i = 0; i < want.count(); ++i)
      ASSERT_EQ(got.data<uint16_t>()[i], bf16_from_f32(want.data<float>()[i])) << t.name << " " << i;
    ++fp8;
  }
  EXPECT_GT(fp8, 30u);
}

TEST_F(ConvertToGguf, OverflowsAreCounted) {
  const fs::path folder = copy_of("llama-tied");
  rewrite(folder, [](auto& tensors) {
    for (auto& [name, t] : tensors)
      if (name == "model.layers.1.mlp.down_proj.weight") {
        Tensor changed = make_tensor(t.dtype(), t.shape());
        std::memcpy(changed.bytes(), t.bytes(), t.size_bytes());
        changed.template data<float>()[7] = 65520;
        changed.template data<float>()[9] = -1e30f;
        changed.template data<float>()[10] = 65519;
        t = changed;
      }
  });
  ToGgufOptions options;
  options.types.type = DType::kF16;
  EXPECT_THAT(convert(folder, options).notes,
              ::testing::Contains("tensor blk.1.ffn_down.weight: 2 values above 65504 became infinite in F16"));
}

TEST_F(ConvertToGguf, BrokenFoldersAreNamed) {
  const fs::path folder = copy_of("v3");
  const auto rename = [&](const std::string& from, const std::string& to) {
    rewrite(folder, [&](auto& tensors) {
      for (auto& [name, t] : tensors)
        if (name == from) name = to;
    });
  };
  rename("model.layers.1.mlp.experts.3.up_proj.weight", "model.layers.1.mlp.experts.9.up_proj.weight");
  EXPECT_EQ(error_of(folder), "tensor model.layers.1.mlp.experts.3.up_proj.weight is missing");
  rename("model.layers.1.mlp.experts.9.up_proj.weight", "model.layers.1.mlp.experts.3.up_proj.weight");
  rename("model.norm.weight", "model.abnorm.weight");
  EXPECT_EQ(error_of(folder), "tensor model.norm.weight is missing");
  rename("model.abnorm.weight", "model.norm.weight");
  rename("model.layers.3.shared_head.norm.weight", "model.layers.3.shared_head.abnorm.weight");
  EXPECT_EQ(error_of(folder), "tensor model.layers.3.shared_head.abnorm.weight: GGUF has no name for it");
  rename("model.layers.3.shared_head.abnorm.weight", "model.layers.3.shared_head.norm.weight");
  rename("lm_head.weight", "model.layers.7.input_layernorm.weight");
  EXPECT_THAT(error_of(folder), HasSubstr("lm_head.weight is missing"));
  rename("model.layers.7.input_layernorm.weight", "lm_head.weight");
  EXPECT_EQ(error_of(folder), "");
}

TEST_F(ConvertToGguf, ManyMissingTensorsAreCounted) {
  const fs::path folder = copy_of("qwen3-moe");
  const auto lose = [&](const char* prefix) {
    rewrite(folder,
            [&](auto& tensors) { std::erase_if(tensors, [&](auto& t) { return t.first.starts_with(prefix); }); });
  };
  lose("model.layers.1.self_attn.");
  EXPECT_THAT(error_of(folder),
              ::testing::StartsWith("6 tensors are missing: model.layers.1.self_attn.q_proj.weight, "));
  lose("model.");
  EXPECT_THAT(error_of(folder), ::testing::StartsWith("at least 100 tensors are missing: "));
  EXPECT_THAT(error_of(folder), ::testing::EndsWith(", ..."));
}

TEST_F(ConvertToGguf, ScalesThatAreNotFiniteAreRefused) {
  const std::string name = "model.layers.1.mlp.experts.2.up_proj.weight_scale_inv";
  for (const float value : {NAN, INFINITY, -INFINITY}) {
    const fs::path folder = copy_of("v3-fp8");
    rewrite(folder, [&](auto& tensors) {
      for (auto& [tensor, t] : tensors) {
        if (tensor != name) continue;
        Tensor changed = make_tensor(t.dtype(), t.shape());
        std::memcpy(changed.bytes(), t.bytes(), t.size_bytes());
        changed.template data<float>()[1] = value;
        t = changed;
      }
    });
    EXPECT_EQ(error_of(folder),
              cat("tensor ", name, ": expected finite scales, found ", value, " for the block of row 0, column 128"));
    EXPECT_FALSE(fs::exists(file_));
    fs::remove_all(folder);
  }
}

TEST_F(ConvertToGguf, MtpLayersCanBeLeftOut) {
  ToGgufOptions options;
  options.types.mtp = false;
  const ToGgufResult result = convert(testing::golden_dir() / "models" / "v3", options);
  EXPECT_THAT(result.notes, ::testing::Contains(HasSubstr("of layers from 3 on left out: the MTP layers")));
  EXPECT_EQ(open_checkpoint(file_)->config().num_nextn_predict_layers, 0u);
}

TEST_F(ConvertToGguf, StoppedWorkLeavesNothingBehind) {
  size_t calls = 0;
  const WorkProgress stop = [&](uint64_t, uint64_t) {
    if (++calls == 5) throw Interrupted();
  };
  EXPECT_THROW(convert_to_gguf(testing::golden_dir() / "models" / "v3", file_, {}, stop), Interrupted);
  EXPECT_TRUE(fs::is_empty(dir_.path()));
}

}  // namespace
}  // namespace fathom

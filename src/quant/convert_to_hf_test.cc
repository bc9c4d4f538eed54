#include "quant/convert_to_hf.h"

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <map>

#include "base/json.h"
#include "formats/gguf_names.h"
#include "formats/gguf_writer.h"
#include "formats/safetensors.h"
#include "quant/convert_to_gguf.h"
#include "quant/convert_to_hf_config.h"
#include "tensor/dequantize.h"
#include "tests/testing.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

/// Type, shape and bytes of every tensor of a folder.
using Weights = std::map<std::string, std::string>;
Weights weights_of(const fs::path& folder) {
  const std::unique_ptr<Checkpoint> checkpoint = open_checkpoint(folder);
  Weights out;
  for (size_t i = 0; i < checkpoint->tensors().size(); ++i) {
    const Tensor t = checkpoint->stored(i);
    out[checkpoint->tensors()[i].name] =
        cat(t.dtype(), t.shape(), ":") + std::string(reinterpret_cast<const char*>(t.bytes()), t.size_bytes());
  }
  return out;
}

void expect_same(const Weights& want, const Weights& got) {
  for (const auto& [name, bytes] : want) {
    const auto it = got.find(name);
    if (it == got.end()) {
      ADD_FAILURE() << name << " is missing";
    } else {
      EXPECT_EQ(bytes.substr(0, bytes.find(':')), it->second.substr(0, it->second.find(':'))) << name;
      EXPECT_TRUE(bytes == it->second) << name;
    }
  }
  for (const auto& [name, bytes] : got) EXPECT_TRUE(want.count(name)) << name << " is new";
}

bool any_note(const std::vector<std::string>& notes, std::string_view text) {
  for (const std::string& note : notes)
    if (note.find(text) != std::string::npos) return true;
  return false;
}

class ToHf : public ::testing::Test {
 protected:
  FolderReport convert(const fs::path& gguf, const ToHfOptions& options = {}) {
    fs::remove_all(out());
    return convert_to_hf(gguf, out(), options);
  }
  fs::path out() const { return dir_.path() / "folder"; }
  fs::path model(const std::string& name) const { return testing::golden_dir() / "models" / name; }
  fs::path golden(const std::string& name) const { return testing::golden_dir() / "gguf" / (name + ".gguf"); }
  std::string text(const std::string& name) const { return testing::read_file(out() / name); }

  /// A copy of a GGUF file with other keys.
  fs::path edited(const fs::path& from, const std::function<void(GgufKeys&)>& edit) {
    const GgufFile file(from);
    GgufKeys keys;
    keys.copy(file.metadata());
    edit(keys);
    const fs::path path = dir_.path() / "edited.gguf";
    GgufWriter writer(path, keys, file.tensors());
    for (const TensorInfo& t : file.tensors()) {
      const Tensor data = file.tensor(t.name);
      writer.write({data.bytes(), data.size_bytes()});
    }
    writer.commit();
    return path;
  }
  fs::path to_gguf(const std::string& name, const ToGgufOptions& options = {}) {
    const fs::path path = dir_.path() / (name + ".gguf");
    convert_to_gguf(model(name), path, options);
    return path;
  }
  testing::TempDir dir_;
};

TEST_F(ToHf, FilesOfLlamaCppGiveTheCheckpointBackBitForBit) {
  for (const char* name :
       {"llama-tied", "llama3", "qwen2", "qwen2-wide", "qwen3", "qwen3-moe", "v2-lite", "v2", "v3", "v3-mtp"}) {
    SCOPED_TRACE(name);
    if (!fs::exists(golden(name))) continue;
    // llama3.gguf is F32 throughout, which holds the checkpoint's BF16 values.
    const bool wider = std::string(name) == "llama3";
    const FolderReport report =
        convert(golden(name), {.type = wider ? std::optional(DType::kBF16) : std::nullopt, .folder = {}});
    EXPECT_FALSE(any_note(report.notes, "rounded"));
    Weights want = weights_of(model(std::string(name) == "v3-mtp" ? "v3" : name));
    if (std::string(name) == "v3")  // that file leaves the MTP layer out
      std::erase_if(want, [](const auto& item) { return item.first.starts_with("model.layers.3."); });
    expect_same(want, weights_of(out()));
  }
}

TEST_F(ToHf, ConfigsMadeFromKeysSayWhatTheCheckpointsSay) {
  for (const char* name :
       {"llama-tied", "llama3", "qwen2", "qwen2-wide", "qwen3", "qwen3-moe", "v2-lite", "v2", "v3-mtp"}) {
    SCOPED_TRACE(name);
    const FolderReport report = convert(golden(name));
    EXPECT_TRUE(any_note(report.notes, "config.json was made from the file's keys"));
    const auto want_from = open_checkpoint(model(std::string(name) == "v3-mtp" ? "v3" : name));
    const auto got_from = open_checkpoint(out());
    const ModelConfig &want = want_from->config(), &got = got_from->config();
    EXPECT_EQ(want.model_type, got.model_type);
    EXPECT_EQ(want.num_hidden_layers, got.num_hidden_layers);
    EXPECT_EQ(want.head_dim, got.head_dim);
    EXPECT_EQ(want.q_lora_rank, got.q_lora_rank);
    EXPECT_EQ(want.topk_method, got.topk_method);
    EXPECT_EQ(want.n_group, got.n_group);
    EXPECT_EQ(want.norm_topk_prob, got.norm_topk_prob);
    EXPECT_EQ(want.rms_norm_eps, got.rms_norm_eps);
    EXPECT_EQ(want.rope_theta, got.rope_theta);
    EXPECT_EQ(want.rope_interleaved, got.rope_interleaved);
    EXPECT_EQ(want.tie_word_embeddings, got.tie_word_embeddings);
    EXPECT_EQ(want.rope_scaling.rope_type, got.rope_scaling.rope_type);
    EXPECT_EQ(want.rope_scaling.factor, got.rope_scaling.factor);
    EXPECT_EQ(want.rope_scaling.original_max_position_embeddings, got.rope_scaling.original_max_position_embeddings);
    EXPECT_EQ(want.rope_scaling.mscale, got.rope_scaling.mscale);
    EXPECT_EQ(want.num_nextn_predict_layers, got.num_nextn_predict_layers);
    EXPECT_EQ(want.eos_token_ids, got.eos_token_ids);
  }
}

TEST_F(ToHf, ThereAndBackAgainIsTheSame) {
  for (const fs::directory_entry& entry : fs::directory_iterator(testing::golden_dir() / "models")) {
    const std::string name = entry.path().filename().string();
    if (name == "v3-fp8") continue;
    SCOPED_TRACE(name);
    const FolderReport report = convert(to_gguf(name));
    expect_same(weights_of(model(name)), weights_of(out()));
    EXPECT_EQ(testing::read_file(model(name) / "config.json"), text("config.json"));
    EXPECT_FALSE(any_note(report.notes, "config.json")) << report.notes[0];
    EXPECT_FALSE(any_note(report.notes, "rounded"));
  }
}

TEST_F(ToHf, WiderFilesComeBackInTheFoldersTypes) {
  ToGgufOptions options;
  options.types.type = DType::kF32;
  convert(to_gguf("v3", options));
  expect_same(weights_of(model("v3")), weights_of(out()));
  EXPECT_EQ(testing::read_file(model("v3") / "config.json"), text("config.json"));
}

TEST_F(ToHf, Fp8ComesBackPlainWithANote) {
  const FolderReport report = convert(to_gguf("v3-fp8"));
  EXPECT_TRUE(any_note(report.notes, "quantization_config is left out"));
  const auto want = open_checkpoint(model("v3-fp8")), got = open_checkpoint(out());
  for (const TensorInfo& t : want->tensors()) {
    if (t.name.ends_with("_scale_inv")) continue;
    const StoredTensor a = want->find(t.name), b = got->find(t.name);
    const Tensor x = dequantize(a.data, a.scale_inv), y = dequantize(b.data);
    std::vector<std::byte> rounded(2 * x.count());
    encode_values(x.data<float>(), x.count(), DType::kBF16, rounded.data());
    if (b.data.dtype() == DType::kBF16)
      EXPECT_EQ(0, std::memcmp(rounded.data(), b.data.bytes(), rounded.size())) << t.name;
    else
      EXPECT_EQ(0, std::memcmp(x.bytes(), y.bytes(), x.size_bytes())) << t.name;
  }
}

TEST_F(ToHf, QuantisedTensorsAreDequantisedWithANote) {
  for (const char* name : {"qwen2-wide.Q4_K_M", "v3.Q8_0", "v3-legacy.Q8_0", "v2-lite.Q4_K_M"}) {
    SCOPED_TRACE(name);
    for (const DType type : {DType::kF32, DType::kF16, DType::kBF16}) {
      const FolderReport report = convert(golden(name), {.type = type, .folder = {}});
      EXPECT_TRUE(any_note(report.notes, "were quantised"));
      EXPECT_EQ(type != DType::kF32, any_note(report.notes, "were rounded to"));
      const auto from = open_checkpoint(golden(name)), to = open_checkpoint(out());
      for (const TensorInfo& t : to->tensors()) {
        if (!t.name.ends_with("_proj.weight") || !from->has(t.name)) continue;  // kv_b_proj is joined
        const Tensor x = dequantize(from->find(t.name).data), y = to->find(t.name).data;
        std::vector<std::byte> want(y.size_bytes());
        encode_values(x.data<float>(), x.count(), type, want.data());
        EXPECT_EQ(0, std::memcmp(want.data(), y.bytes(), want.size())) << t.name;
      }
    }
  }
}

TEST_F(ToHf, LegacyAndSplitFormsGiveTheSameFolder) {
  const ToHfOptions f32{.type = DType::kF32, .folder = {}};
  convert(golden("v3.Q4_K_M"), f32);
  const Weights whole = weights_of(out());
  for (const fs::directory_entry& entry : fs::directory_iterator(testing::golden_dir() / "gguf" / "split"))
    if (entry.path().filename().string().find("-00002-of-") != std::string::npos) {
      convert(entry.path(), f32);
      expect_same(whole, weights_of(out()));
    }
}

TEST_F(ToHf, GateAndUpInOneStackAreTakenApart) {
  const GgufFile file(golden("v3"));
  GgufKeys keys;
  keys.copy(file.metadata());
  std::vector<TensorInfo> tensors;
  std::vector<std::string> data;
  const auto bytes = [&](const std::string& name) {
    const Tensor t = file.tensor(name);
    return std::string(reinterpret_cast<const char*>(t.bytes()), t.size_bytes());
  };
  for (TensorInfo t : file.tensors()) {
    const std::optional<ExpertStack> stack = expert_stack(t.name);
    if (stack && stack->projection == "up") continue;
    std::string values = bytes(t.name);
    if (stack && stack->projection == "gate") {
      const std::string gate = values, up = bytes(gguf_expert_stack(stack->layer, "up_proj"));
      const size_t one = gate.size() / t.shape[0];
      values.clear();
      for (size_t e = 0; e < t.shape[0]; ++e) values += gate.substr(e * one, one) + up.substr(e * one, one);
      t.name = gguf_merged_stack(stack->layer);
      t.shape = {t.shape[0], 2 * t.shape[1], t.shape[2]};
    }
    tensors.push_back(t);
    data.push_back(values);
  }
  const fs::path path = dir_.path() / "merged.gguf";
  GgufWriter writer(path, keys, tensors);
  for (const std::string& d : data) writer.write(std::as_bytes(std::span(d)));
  writer.commit();
  convert(golden("v3"));
  const Weights want = weights_of(out());
  convert(path);
  expect_same(want, weights_of(out()));
}

TEST_F(ToHf, KeysThatContradictTheKeptConfigWin) {
  const fs::path path = edited(to_gguf("llama3"), [](GgufKeys& keys) {
    keys.set_u32("llama.context_length", 4096);
    keys.set_f32("llama.attention.layer_norm_rms_epsilon", 1e-4f);
  });
  const FolderReport report = convert(path);
  EXPECT_TRUE(any_note(report.notes, "max_position_embeddings, rms_norm_eps"));
  const auto checkpoint = open_checkpoint(out());
  EXPECT_EQ(4096u, checkpoint->config().max_position_embeddings);
  EXPECT_EQ(1e-4, checkpoint->config().rms_norm_eps);
  EXPECT_EQ(RopeType::kLlama3, checkpoint->config().rope_scaling.rope_type);
}

TEST_F(ToHf, AKeptConfigThatCannotBeReadIsNotUsed) {
  const fs::path path = to_gguf("qwen3");
  for (const char* bad : {"{", "[]", "{\"model_type\": \"other\"}", "{\"model_type\": \"llama\"}"}) {
    const FolderReport report =
        convert(edited(path, [&](GgufKeys& keys) { keys.set_string("fathom.hf.config.json", bad); }));
    EXPECT_TRUE(any_note(report.notes, "fathom.hf.config.json is not used")) << bad;
    EXPECT_EQ("qwen3", open_checkpoint(out())->config().model_type);
  }
}

TEST_F(ToHf, FrequenciesThatNoScalingGivesAreRefused) {
  const GgufFile file(golden("llama3"));
  const Tensor freqs = file.tensor("rope_freqs.weight");
  const auto checkpoint = open_checkpoint(golden("llama3"));
  const std::optional<RopeScaling> found = llama3_from_rope_freqs(checkpoint->config(), freqs);
  ASSERT_TRUE(found);
  EXPECT_EQ(8, found->factor);
  EXPECT_EQ(64, found->original_max_position_embeddings);
  std::vector<float> other(freqs.data<float>(), freqs.data<float>() + freqs.count());
  other[1] *= 1.5f;
  EXPECT_FALSE(llama3_from_rope_freqs(checkpoint->config(), from_values(other, freqs.shape())));
}

TEST_F(ToHf, ShardsHaveAnIndexAndTheSameTensors) {
  convert(golden("v3-mtp"));
  const Weights whole = weights_of(out());
  const FolderReport report =
      convert(golden("v3-mtp"), {.type = {}, .folder = {.max_shard_bytes = 100'000, .threads = 3}});
  EXPECT_GT(report.files, 3u);
  EXPECT_TRUE(fs::exists(out() / "model.safetensors.index.json"));
  EXPECT_FALSE(fs::exists(out() / "model.safetensors"));
  expect_same(whole, weights_of(out()));
  for (const fs::directory_entry& entry : fs::directory_iterator(out()))
    EXPECT_LT(fs::file_size(entry.path()), 130'000u) << entry.path();
}

TEST_F(ToHf, StoppedWorkLeavesNothing) {
  for (const uint64_t stop_at : {uint64_t{1}, uint64_t{100'000}, uint64_t{300'000}})
    EXPECT_THROW(convert_to_hf(golden("v3"), out(), {},
                               [&](uint64_t done, uint64_t) {
                                 if (done >= stop_at) throw Interrupted();
                               }),
                 Interrupted);
  EXPECT_TRUE(fs::is_empty(dir_.path()));
}

TEST_F(ToHf, AFolderWithFilesIsNotTouched) {
  fs::create_directory(out());
  std::ofstream(out() / "mine") << "x";
  try {
    convert_to_hf(golden("qwen3"), out());
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("or an empty one"), std::string::npos);
  }
  EXPECT_EQ("x", text("mine"));
  fs::remove_all(out());
  fs::create_directory(dir_.path() / "other");
  fs::create_directory_symlink(dir_.path() / "other", out());
  EXPECT_THROW(convert_to_hf(golden("qwen3"), out()), Error);  // a link cannot be replaced by a folder
  fs::remove(out());
  fs::create_directory(out());
  convert_to_hf(golden("qwen3"), out());
  EXPECT_TRUE(fs::exists(out() / "config.json"));
}

TEST_F(ToHf, TensorsWithoutANameAreRefused) {
  const GgufFile file(golden("qwen3"));
  for (const char* name : {"blk.0.attn_rot_embd.weight", "blk.0.ffn_gate_exps.weight", "something"}) {
    GgufKeys keys;
    keys.copy(file.metadata());
    std::vector<TensorInfo> tensors = file.tensors();
    tensors.push_back({name, DType::kF32, {4}, 0});
    GgufWriter writer(dir_.path() / "x.gguf", keys, tensors);
    for (const TensorInfo& t : file.tensors()) {
      const Tensor data = file.tensor(t.name);
      writer.write({data.bytes(), data.size_bytes()});
    }
    const std::vector<float> values(4);
    writer.write(std::as_bytes(std::span(values)));
    writer.commit();
    try {
      convert(dir_.path() / "x.gguf");
      FAIL() << name;
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find(name), std::string::npos) << e.what();
    }
    EXPECT_FALSE(fs::exists(out()));
  }
}

TEST(GgufNames, BothDirectionsAreInverse) {
  for (const fs::directory_entry& entry : fs::directory_iterator(testing::golden_dir() / "gguf")) {
    if (entry.path().extension() != ".gguf") continue;
    const GgufFile file(entry.path());
    for (const TensorInfo& t : file.tensors()) {
      if (expert_stack(t.name)) continue;
      const std::optional<std::string> hf = hf_name(t.name);
      ASSERT_TRUE(hf) << t.name;
      EXPECT_EQ(t.name, gguf_name(*hf));
    }
  }
  EXPECT_FALSE(hf_name("blk.00.attn_q.weight"));
  EXPECT_FALSE(hf_name("blk.0.attn_q"));
  EXPECT_FALSE(expert_stack("blk.0.ffn_gate.weight"));
}

}  // namespace
}  // namespace fathom

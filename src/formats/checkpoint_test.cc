#include "formats/checkpoint.h"

#include <cstring>
#include <fstream>
#include <set>

#include "formats/gguf_builder.h"
#include "formats/safetensors.h"
#include "tensor/dequantize.h"
#include "tests/testing.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;
using testing::GgufBuilder;

std::vector<fs::path> listed(const fs::path& folder, const std::string& extension) {
  std::vector<fs::path> out;
  if (!exists(folder)) return out;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    if (extension.empty() ? exists(entry.path() / "config.json") : entry.path().extension() == extension)
      out.push_back(entry.path());
  }
  std::sort(out.begin(), out.end());
  return out;
}

std::string error_of(const fs::path& path) {
  try {
    (void)open_checkpoint(path);
    return "";
  } catch (const Error& e) {
    return e.what();
  }
}

void write(const fs::path& path, const std::string& text) { std::ofstream(path, std::ios::binary) << text; }

TEST(Checkpoint, EveryGoldenFolderOpens) {
  size_t folders = 0;
  for (const char* kind : {"models", "train"}) {
    for (const fs::path& path : listed(testing::golden_dir() / kind, "")) {
      const auto checkpoint = open_checkpoint(path);
      uint64_t bytes = 0;
      for (const TensorInfo& t : checkpoint->tensors()) {
        if (t.name.ends_with("_scale_inv"))
          bytes += t.size_bytes;
        else
          bytes += checkpoint->find(t.name).data.size_bytes();
      }
      EXPECT_EQ(bytes, checkpoint->weight_bytes());
      EXPECT_FALSE(checkpoint->tokenizer());
      ++folders;
    }
  }
  if (!folders) GTEST_SKIP() << "needs golden/models";
}

TEST(Checkpoint, EveryGoldenGgufOpens) {
  const std::vector<fs::path> files = listed(testing::golden_dir() / "gguf", ".gguf");
  if (files.empty()) GTEST_SKIP() << "needs golden/gguf";
  for (const fs::path& path : files) {
    const auto checkpoint = open_checkpoint(path);
    EXPECT_TRUE(checkpoint->has("model.embed_tokens.weight")) << path;
    EXPECT_TRUE(checkpoint->tokenizer()) << path;
    EXPECT_EQ(checkpoint->config().eos_token_ids, std::vector<int>{1}) << path;
    EXPECT_EQ(checkpoint->config().bos_token_id, 0) << path;
  }
}

/// HF row (h d + j d/2 + i) of GGUF row (h d + 2 i + j): spec/gguf.md 3.1.
std::vector<float> unpermuted(const Tensor& gguf, size_t heads) {
  const size_t rows = gguf.dim(0), columns = gguf.count() / rows, d = rows / heads;
  std::vector<float> out(gguf.count());
  for (size_t h = 0; h < heads; ++h)
    for (size_t i = 0; i < d / 2; ++i)
      for (size_t j = 0; j < 2; ++j)
        std::memcpy(&out[(h * d + j * (d / 2) + i) * columns], gguf.data<float>() + (h * d + 2 * i + j) * columns,
                    4 * columns);
  return out;
}

/// kv_b_proj [heads (nope + v), lora] from k_b [heads, lora, nope] and v_b [heads, v, lora].
std::vector<float> joined_kv_b(const Tensor& k_b, const Tensor& v_b) {
  const size_t heads = k_b.dim(0), lora = k_b.dim(1), nope = k_b.dim(2), v = v_b.dim(1);
  std::vector<float> out(heads * (nope + v) * lora);
  for (size_t h = 0; h < heads; ++h)
    for (size_t c = 0; c < lora; ++c) {
      for (size_t r = 0; r < nope; ++r)
        out[(h * (nope + v) + r) * lora + c] = k_b.data<float>()[(h * lora + c) * nope + r];
      for (size_t r = 0; r < v; ++r)
        out[(h * (nope + v) + nope + r) * lora + c] = v_b.data<float>()[(h * v + r) * lora + c];
    }
  return out;
}

std::vector<float> floats(const Checkpoint& checkpoint, const std::string& name) {
  const StoredTensor stored = checkpoint.find(name);
  const Tensor t = dequantize(stored.data, stored.scale_inv);
  return {t.data<float>(), t.data<float>() + t.count()};
}

std::vector<float> as_in_hf(const Checkpoint& gguf, const std::string& name) {
  const ModelConfig& c = gguf.config();
  const std::string attn = name.substr(0, name.find("kv_b_proj"));
  if (name.ends_with("kv_b_proj.weight") && !gguf.has(name))
    return joined_kv_b(dequantize(gguf.find(attn + "k_b_proj.weight").data),
                       dequantize(gguf.find(attn + "v_b_proj.weight").data));
  const bool q = name.find("self_attn.q_proj") != std::string::npos,
             k = name.find("self_attn.k_proj") != std::string::npos;
  if (c.model_type == "llama" && (q || k))
    return unpermuted(dequantize(gguf.find(name).data), q ? c.num_attention_heads : c.num_key_value_heads);
  return floats(gguf, name);
}

/// What both formats say of a model; llama3's scaling is a tensor in GGUF.
std::string summary(const ModelConfig& c) {
  const RopeScaling& r = c.rope_scaling;
  std::string text = cat(c.model_type, " V", c.vocab_size, " D", c.hidden_size, " F", c.intermediate_size, " L",
                         c.num_hidden_layers, " H", c.num_attention_heads, " K", c.num_key_value_heads, " d",
                         c.head_dim, " ctx", c.max_position_embeddings, " eps", c.rms_norm_eps, " theta", c.rope_theta,
                         " tie", c.tie_word_embeddings, " bias", c.attention_bias, " bos", c.bos_token_id);
  text += cat(" experts ", c.n_routed_experts, " ", c.num_experts_per_tok, " ", c.n_shared_experts, " ",
              c.moe_intermediate_size, " ", c.first_k_dense_replace, " ", c.n_group, " ", c.topk_group, " ",
              c.scoring_func, " ", c.topk_method, " ", c.norm_topk_prob, " ", c.routed_scaling_factor);
  text += cat(" mla ", c.q_lora_rank, " ", c.kv_lora_rank, " ", c.qk_nope_head_dim, " ", c.qk_rope_head_dim, " ",
              c.v_head_dim);
  for (int id : c.eos_token_ids) text += cat(" eos", id);
  if (r.rope_type != RopeType::kLlama3 && r.rope_type != RopeType::kDefault)
    text += cat(" rope ", static_cast<int>(r.rope_type), " ", r.factor, " ", r.original_max_position_embeddings, " ",
                r.beta_fast, " ", r.beta_slow, " ", r.mscale, " ", r.mscale_all_dim);
  return text;
}

TEST(Checkpoint, LosslessGgufTwinsEqualTheirFolders) {
  size_t twins = 0, tensors = 0;
  for (const fs::path& path : listed(testing::golden_dir() / "gguf", ".gguf")) {
    std::string name = path.stem().string();
    if (name == "v3-fp8") continue;  // its matrices became Q8_0
    const bool with_mtp = name.ends_with("-mtp");
    if (with_mtp) name.resize(name.size() - 4);
    const fs::path folder = testing::golden_dir() / "models" / name;
    if (!exists(folder / "config.json")) continue;
    const auto gguf = open_checkpoint(path), hf = open_checkpoint(folder);
    EXPECT_EQ(summary(hf->config()), summary(gguf->config())) << name;
    EXPECT_EQ(hf->config().rms_norm_eps, gguf->config().rms_norm_eps);
    EXPECT_EQ(hf->config().rope_scaling.mscale, gguf->config().rope_scaling.mscale);
    EXPECT_EQ(gguf->config().num_nextn_predict_layers, with_mtp ? 1u : 0u);
    const std::string mtp = cat("model.layers.", hf->config().num_hidden_layers, ".");
    for (const TensorInfo& t : hf->tensors()) {
      if (t.name.starts_with(mtp) && !with_mtp) {
        EXPECT_FALSE(gguf->has(t.name));
        continue;
      }
      const std::vector<float> want = floats(*hf, t.name), got = as_in_hf(*gguf, t.name);
      ASSERT_EQ(got.size(), want.size()) << name << " " << t.name;
      EXPECT_EQ(0, std::memcmp(got.data(), want.data(), 4 * want.size())) << name << " " << t.name;
      ++tensors;
    }
    EXPECT_EQ(hf->has("lm_head.weight"), gguf->has("lm_head.weight"));
    ++twins;
  }
  if (!twins) GTEST_SKIP() << "needs golden/gguf and golden/models";
  RecordProperty("twins", static_cast<int>(twins));
  RecordProperty("tensors", static_cast<int>(tensors));
  EXPECT_GE(twins, 9u);
}

TEST(Checkpoint, QuantisedFilesHaveTheTwinsNamesAndShapes) {
  const fs::path base = testing::golden_dir() / "gguf";
  size_t compared = 0;
  for (const fs::path& path : listed(base, ".gguf")) {
    const std::string stem = path.stem().string(), twin = stem.substr(0, stem.find('.'));
    if (stem == twin || !exists(base / (twin + ".gguf"))) continue;
    const auto quantised = open_checkpoint(path), whole = open_checkpoint(testing::golden_dir() / "models" / twin);
    for (const TensorInfo& t : whole->tensors()) {
      if (t.name.find("kv_b_proj") != std::string::npos || !quantised->has(t.name)) continue;
      EXPECT_EQ(quantised->find(t.name).data.shape(), t.shape) << stem << " " << t.name;
      ++compared;
    }
  }
  if (!compared) GTEST_SKIP() << "needs golden/gguf";
}

TEST(Checkpoint, Fp8WeightsBringTheirScales) {
  const fs::path folder = testing::golden_dir() / "models" / "v3-fp8";
  if (!exists(folder)) GTEST_SKIP() << "needs golden/models/v3-fp8";
  const auto checkpoint = open_checkpoint(folder);
  size_t fp8 = 0;
  for (const TensorInfo& t : checkpoint->tensors()) {
    if (t.dtype != DType::kF8E4M3) continue;
    const StoredTensor w = checkpoint->find(t.name);
    EXPECT_EQ(w.scale_inv.shape(), (Shape{(t.shape[0] + 127) / 128, (t.shape[1] + 127) / 128}));
    ++fp8;
  }
  EXPECT_GT(fp8, 0u);
  EXPECT_EQ(checkpoint->config().num_nextn_predict_layers, 1u);
}

TEST(Checkpoint, APartOfASplitModelOpensAllOfIt) {
  const fs::path folder = testing::golden_dir() / "gguf" / "split";
  const std::vector<fs::path> parts = listed(folder, ".gguf");
  if (parts.empty()) GTEST_SKIP() << "needs golden/gguf/split";
  const auto split = open_checkpoint(folder), by_part = open_checkpoint(parts.back());
  const std::string name = parts[0].filename().string();
  const auto whole = open_checkpoint(folder.parent_path() / (name.substr(0, name.find("-0")) + ".gguf"));
  ASSERT_EQ(split->tensors().size(), whole->tensors().size());
  EXPECT_EQ(split->weight_bytes(), whole->weight_bytes());
  const std::string expert = "model.layers.1.mlp.experts.5.down_proj.weight";
  EXPECT_EQ(floats(*split, expert), floats(*whole, expert));
  EXPECT_EQ(floats(*by_part, expert), floats(*whole, expert));
  EXPECT_NE(split->description().find("3 files"), std::string::npos) << split->description();
}

TEST(Checkpoint, ReleasedPagesAreReadAgain) {
  const auto files = listed(testing::golden_dir() / "gguf", ".gguf");
  if (files.empty()) GTEST_SKIP() << "needs golden/gguf";
  const auto checkpoint = open_checkpoint(files[0]);
  const std::vector<float> before = floats(*checkpoint, "model.embed_tokens.weight");
  checkpoint->release(checkpoint->find("model.embed_tokens.weight").data);
  EXPECT_EQ(floats(*checkpoint, "model.embed_tokens.weight"), before);
  checkpoint->release(zeros(DType::kF32, {8}));  // not of a mapping: nothing happens
}

// --- Stacked experts ------------------------------------------------------------------------------------------------

constexpr const char* kTinyMoe = R"({"model_type":"qwen3_moe","vocab_size":8,"hidden_size":4,"num_hidden_layers":1,
  "num_attention_heads":1,"num_key_value_heads":1,"head_dim":4,"num_experts":3,"num_experts_per_tok":1,
  "moe_intermediate_size":2,"max_position_embeddings":16})";

Tensor counted(const Shape& shape) {
  Tensor t = make_tensor(DType::kF32, shape);
  for (size_t i = 0; i < t.count(); ++i) t.data<float>()[i] = static_cast<float>(i);
  return t;
}

void expect_stacked_experts(const Checkpoint& c) {
  // gate_up [3, 4, 4]: expert e, gate row r is row 4 e + r, up row r is row 4 e + 2 + r, each of 4 values.
  const std::string prefix = "model.layers.0.mlp.experts.";
  for (size_t e = 0; e < 3; ++e) {
    const StoredTensor gate = c.find(cat(prefix, e, ".gate_proj.weight")),
                       up = c.find(cat(prefix, e, ".up_proj.weight"));
    const StoredTensor down = c.find(cat(prefix, e, ".down_proj.weight"));
    EXPECT_EQ(gate.data.shape(), (Shape{2, 4}));
    EXPECT_EQ(down.data.shape(), (Shape{4, 2}));
    EXPECT_EQ(gate.data.data<float>()[0], static_cast<float>(16 * e));
    EXPECT_EQ(up.data.data<float>()[0], static_cast<float>(16 * e + 8));
    EXPECT_EQ(down.data.data<float>()[7], static_cast<float>(8 * e + 7));
  }
  for (const char* absent : {"3.gate_proj.weight", "01.up_proj.weight", "-1.up_proj.weight", "0.gate_proj.bias",
                             "18446744073709551616.up_proj.weight", "0.gate_proj", ""})
    EXPECT_FALSE(c.has(prefix + absent)) << absent;
  EXPECT_THROW((void)c.find(prefix + "3.down_proj.weight"), Error);
}

TEST(Checkpoint, StackedExpertsOfAFolderAreSliced) {
  const testing::TempDir dir;
  write(dir.path() / "config.json", kTinyMoe);
  write_safetensors(dir.path() / "model.safetensors", {{"model.layers.0.mlp.experts.gate_up_proj", counted({3, 4, 4})},
                                                       {"model.layers.0.mlp.experts.down_proj", counted({3, 4, 2})}});
  expect_stacked_experts(*open_checkpoint(dir.path()));
  write_safetensors(dir.path() / "model.safetensors", {{"model.layers.0.mlp.experts.gate_up_proj", counted({4, 4})}});
  EXPECT_THROW((void)open_checkpoint(dir.path())->find("model.layers.0.mlp.experts.0.up_proj.weight"), Error);
}

GgufBuilder tiny_gguf(const std::string& architecture) {
  GgufBuilder b;
  const auto key = [&](const char* name, uint32_t value) { b.key(architecture + "." + name, value); };
  b.key("general.architecture", architecture);
  key("block_count", 1), key("context_length", 16), key("embedding_length", 4), key("attention.head_count", 1);
  key("vocab_size", 8);
  return b;
}

TEST(Checkpoint, MergedExpertsOfAGgufAreSliced) {
  const testing::TempDir dir;
  GgufBuilder b = tiny_gguf("qwen3moe");
  b.key("qwen3moe.expert_count", 3u)
      .key("qwen3moe.expert_used_count", 1u)
      .key("qwen3moe.expert_feed_forward_length", 2u);
  const Tensor both = counted({3, 4, 4}), down = counted({3, 4, 2});
  const auto bytes = [](const Tensor& t) {
    return std::string(reinterpret_cast<const char*>(t.bytes()), t.size_bytes());
  };
  b.tensor("blk.0.ffn_gate_up_exps.weight", {4, 4, 3}, 0, bytes(both));
  b.tensor("blk.0.ffn_down_exps.weight", {2, 4, 3}, 0, bytes(down));
  write(dir.path() / "x.gguf", b.bytes());
  expect_stacked_experts(*open_checkpoint(dir.path() / "x.gguf"));
}

TEST(Checkpoint, StackedFp8ExpertsTakeTheirScales) {
  const testing::TempDir dir;
  std::string config = kTinyMoe;
  config.pop_back();
  write(dir.path() / "config.json",
        config + R"(,"quantization_config":{"quant_method":"fp8","weight_block_size":[128,128]}})");
  const std::string stack = "model.layers.0.mlp.experts.gate_up_proj";
  write_safetensors(dir.path() / "model.safetensors",
                    {{stack, zeros(DType::kF8E4M3, {2, 256, 4})}, {stack + "_scale_inv", counted({2, 2, 1})}});
  const auto checkpoint = open_checkpoint(dir.path());
  EXPECT_EQ(checkpoint->find("model.layers.0.mlp.experts.1.gate_proj.weight").scale_inv.data<float>()[0], 2.0f);
  EXPECT_EQ(checkpoint->find("model.layers.0.mlp.experts.1.up_proj.weight").scale_inv.data<float>()[0], 3.0f);
  write_safetensors(dir.path() / "model.safetensors", {{stack, zeros(DType::kF8E4M3, {2, 256, 4})}});
  EXPECT_THROW((void)open_checkpoint(dir.path())->find("model.layers.0.mlp.experts.1.up_proj.weight"), Error);
}

// --- What can be wrong with a path ----------------------------------------------------------------------------------

TEST(Checkpoint, MissingUnfinishedAndPickledFilesAreToldApart) {
  const testing::TempDir dir;
  const fs::path folder = dir.path() / "m";
  fs::create_directory(folder);
  const auto expect = [](const fs::path& path, const std::string& part) {
    EXPECT_NE(error_of(path).find(part), std::string::npos) << error_of(path);
  };
  expect(dir.path() / "absent", "is missing");
  write(dir.path() / "x.gguf.part", "");
  expect(dir.path() / "x.gguf", "still downloading");
  expect(dir.path() / "x.gguf.part", "still downloading");
  write(dir.path() / "y.pth", "PK");
  expect(dir.path() / "y.pth", "pickled");
  write(dir.path() / "z.txt", "hello there");
  expect(dir.path() / "z.txt", "expected a GGUF file");
  expect(folder, "config.json");
  write(folder / "config.json", kTinyMoe);
  expect(folder, "model.safetensors");
  write(folder / "pytorch_model.bin", "");
  expect(folder, "pickled");
  write(folder / "model-00001-of-00002.safetensors", "");
  expect(folder, "index.json is missing");
  write(folder / "model.safetensors.incomplete", "");
  expect(folder, "still downloading");
  fs::remove(folder / "model.safetensors.incomplete");

  const auto index = [&](const std::string& map) {
    write(folder / "model.safetensors.index.json", R"({"metadata":{"total_size":1},"weight_map":{)" + map + "}}");
  };
  const std::string first = "model-00001-of-00002.safetensors", second = "model-00002-of-00002.safetensors";
  write_safetensors(folder / first, {{"a", counted({2})}});
  index("\"a\":\"" + first + "\",\"b\":\"" + second + "\"");
  expect(folder, "shard 2 of 2 is missing");
  write(folder / (second + ".crdownload"), "");
  expect(folder, "shard 2 of 2 is still downloading");
  fs::remove(folder / (second + ".crdownload"));
  fs::create_directories(folder / ".cache" / "huggingface" / "download");
  write(folder / ".cache" / "huggingface" / "download" / "abc.incomplete", "");
  expect(folder, "shard 2 of 2 is still downloading");
  write_safetensors(folder / second, {{"b", counted({3})}});
  EXPECT_EQ(error_of(folder), "");
  EXPECT_EQ(open_checkpoint(folder)->find("b").data.count(), 3u);
  const std::string whole = testing::read_file(folder / second);
  write(folder / second, whole.substr(0, whole.size() - 4));
  expect(folder, "still downloading, or cut off");
  write_safetensors(folder / second, {{"a", counted({3})}, {"b", counted({1})}});
  expect(folder, "another shard");
  write_safetensors(folder / second, {{"c", counted({3})}});
  expect(folder, "tensor b is missing");
  for (const char* evil : {"../m/x", "/etc/passwd", "..", "sub/file", ""}) {
    index("\"a\":\"" + std::string(evil) + "\"");
    expect(folder, "beside the index");
  }
  index("");
  expect(folder, "");
  EXPECT_NE(error_of(folder), "");
}

TEST(Checkpoint, GenerationConfigAddsItsEndTokens) {
  const testing::TempDir dir;
  write(dir.path() / "config.json", kTinyMoe);
  write_safetensors(dir.path() / "model.safetensors", {{"a", counted({2})}});
  write(dir.path() / "generation_config.json",
        R"({"eos_token_id":[5,3],"temperature":0.6,"top_p":0.95,"top_k":-1,"do_sample":true})");
  const auto checkpoint = open_checkpoint(dir.path());
  EXPECT_EQ(checkpoint->config().eos_token_ids, (std::vector<int>{3, 5}));
  EXPECT_EQ(checkpoint->generation_config().temperature, 0.6);
  EXPECT_EQ(checkpoint->generation_config().top_p, 0.95);
  EXPECT_EQ(checkpoint->generation_config().top_k, std::nullopt);
  EXPECT_EQ(checkpoint->generation_config().do_sample, true);
  write(dir.path() / "generation_config.json", R"({"top_p":1.5})");
  EXPECT_NE(error_of(dir.path()).find("top_p"), std::string::npos);
  write(dir.path() / "generation_config.json", R"({"eos_token_id":8})");
  EXPECT_NE(error_of(dir.path()).find("eos_token_id"), std::string::npos);
}

TEST(Checkpoint, TheRealModelOpens) {
  const auto folder = testing::shared_path("models");
  const std::vector<fs::path> files = folder ? listed(*folder, ".gguf") : std::vector<fs::path>();
  if (files.empty()) GTEST_SKIP() << "needs $FATHOM_SHARED/models";
  for (const fs::path& path : files) {
    const auto checkpoint = open_checkpoint(path);
    const ModelConfig& c = checkpoint->config();
    for (size_t layer = 0; layer < c.num_hidden_layers; ++layer) {
      const StoredTensor q = checkpoint->find(cat("model.layers.", layer, ".self_attn.q_proj.weight"));
      EXPECT_EQ(q.data.shape(), (Shape{c.num_attention_heads * c.head_dim, c.hidden_size}));
    }
    const std::optional<TokenizerSpec> spec = checkpoint->tokenizer();
    ASSERT_TRUE(spec);
    EXPECT_EQ(spec->tokens.size(), c.vocab_size);
    EXPECT_FALSE(spec->merges.empty());
    EXPECT_FALSE(spec->chat_template.empty());
    EXPECT_FALSE(c.eos_token_ids.empty());
  }
}

}  // namespace
}  // namespace fathom

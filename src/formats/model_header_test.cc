#include "formats/model_header.h"

#include <gtest/gtest.h>

#include <fstream>

#include "formats/checkpoint.h"
#include "formats/config_json.h"
#include "formats/gguf_builder.h"
#include "formats/model_header_count.h"
#include "tests/testing.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;
using testing::GgufBuilder;
using State = ModelFile::State;

void write(const fs::path& path, const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; }

ExpertUse use_of(const ModelConfig& c) { return {c.num_hidden_layers, c.n_routed_experts, c.num_experts_per_tok}; }

/// deepseek_v3 with its class's defaults is the published model.
ModelConfig config_of(const std::string& text) {
  const json::value value = parse_json(text, "config.json");
  return config_from_json(JsonObject(value, "config.json"));
}

TEST(ModelHeader, TensorsEqualThoseOfTheStrictReaders) {
  for (const char* kind : {"models", "gguf"})
    for (const fs::directory_entry& entry : fs::directory_iterator(testing::golden_dir() / kind)) {
      if (!entry.is_directory() && entry.path().extension() != ".gguf") continue;
      if (entry.path().filename() == "split") continue;
      const ModelHeader header = read_model_header(entry.path());
      EXPECT_TRUE(header.complete()) << entry.path();
      const std::unique_ptr<Checkpoint> checkpoint = open_checkpoint(entry.path());
      const std::vector<TensorInfo>& want = checkpoint->tensors();
      ASSERT_EQ(header.tensors.size(), want.size()) << entry.path();
      for (size_t i = 0; i < want.size(); ++i) {
        const TensorInfo& got = header.tensors[i].info;
        EXPECT_EQ(got.name, want[i].name);
        EXPECT_EQ(got.dtype, want[i].dtype);
        EXPECT_EQ(got.shape, want[i].shape);
        EXPECT_EQ(got.size_bytes, want[i].size_bytes);
      }
      EXPECT_EQ(header.config->num_nextn_predict_layers, checkpoint->config().num_nextn_predict_layers);
    }
}

TEST(ModelHeader, ConfigurationsImplyWhatTheFilesHold) {
  for (const char* kind : {"models", "gguf"})
    for (const fs::directory_entry& entry : fs::directory_iterator(testing::golden_dir() / kind)) {
      if (!entry.is_directory() && entry.path().extension() != ".gguf") continue;
      if (entry.path().filename() == "split") continue;
      const ModelHeader header = read_model_header(entry.path());
      const ParameterCount counted = count_parameters(header.tensors, use_of(*header.config));
      const ParameterCount derived = count_parameters(*header.config);
      EXPECT_EQ(counted.total, derived.total) << entry.path();
      EXPECT_EQ(counted.routed, derived.routed) << entry.path();
      EXPECT_EQ(counted.active, derived.active) << entry.path();
      EXPECT_EQ(counted.embedding, derived.embedding) << entry.path();
      EXPECT_EQ(counted.mtp, derived.mtp) << entry.path();
    }
}

// spec/models.md 1.1 and 1.2.
TEST(ModelHeader, PublishedModelsHaveThePublishedNumbers) {
  const ParameterCount v3 = count_parameters(
      config_of(R"({"model_type": "deepseek_v3", "num_nextn_predict_layers": 1, "max_position_embeddings": 163840})"));
  EXPECT_EQ(v3.total, 671'026'419'200u);
  EXPECT_NEAR(static_cast<double>(v3.active), 37.55e9, 0.005e9);
  EXPECT_NEAR(static_cast<double>(v3.active - v3.embedding), 36.6e9, 0.05e9);
  EXPECT_NEAR(static_cast<double>(v3.total + v3.mtp), 684.5e9, 0.05e9);  // "685B" on the hub, with scales
  const ParameterCount lite = count_parameters(config_of(
      R"({"model_type": "deepseek_v2", "hidden_size": 2048, "num_hidden_layers": 27, "first_k_dense_replace": 1,
          "intermediate_size": 10944, "moe_intermediate_size": 1408, "n_routed_experts": 64, "n_shared_experts": 2,
          "num_experts_per_tok": 6, "num_attention_heads": 16, "q_lora_rank": null, "vocab_size": 102400})"));
  EXPECT_EQ(lite.total, 15'706'484'224u);
  EXPECT_NEAR(static_cast<double>(lite.active), 2.66e9, 0.01e9);
  const ParameterCount qwen = count_parameters(config_of(
      R"({"model_type": "qwen2", "hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28,
          "num_attention_heads": 12, "num_key_value_heads": 2, "vocab_size": 151936})"));
  EXPECT_EQ(qwen.total, 1'777'088'000u);
  EXPECT_EQ(qwen.active, qwen.total);
  const ParameterCount llama = count_parameters(config_of(
      R"({"model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
          "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256})"));
  EXPECT_EQ(llama.total, 8'030'261'248u);
}

TEST(ModelHeader, CutFilesSayWhatTheyHave) {
  const testing::TempDir dir;
  const std::string whole = testing::read_file(testing::golden_dir() / "gguf" / "qwen2.gguf");
  write(dir.path() / "cut.gguf", whole.substr(0, whole.size() / 2));
  const ModelHeader header = read_model_header(dir.path() / "cut.gguf");
  EXPECT_FALSE(header.complete());
  ASSERT_EQ(header.files.size(), 1u);
  EXPECT_EQ(header.files[0].state, State::kUnfinished);
  EXPECT_EQ(header.files[0].size_bytes, whole.size() / 2);
  EXPECT_LE(header.files[0].needed_bytes, whole.size());
  EXPECT_GT(header.files[0].needed_bytes + 64, whole.size());
  EXPECT_EQ(header.config->model_type, "qwen2");
  write(dir.path() / "cut.gguf", whole.substr(0, 40));
  EXPECT_THROW(read_model_header(dir.path() / "cut.gguf"), Error);
  // Whole, but under the name that a downloader gives.
  write(dir.path() / "whole.gguf.part", whole);
  EXPECT_EQ(read_model_header(dir.path() / "whole.gguf.part").files[0].state, State::kUnfinished);
}

TEST(ModelHeader, PartsOfASplitModelMayBeMissing) {
  const testing::TempDir dir;
  const fs::path split = testing::golden_dir() / "gguf" / "split";
  std::vector<fs::path> parts;
  for (const auto& entry : fs::directory_iterator(split)) parts.push_back(entry.path());
  std::sort(parts.begin(), parts.end());
  ASSERT_EQ(parts.size(), 3u);
  EXPECT_TRUE(read_model_header(parts[1]).complete());  // any part leads to all
  fs::copy_file(parts[0], dir.path() / parts[0].filename());
  fs::copy_file(parts[2], dir.path() / parts[2].filename());
  const ModelHeader header = read_model_header(dir.path() / parts[2].filename());
  EXPECT_FALSE(header.complete());
  EXPECT_EQ(header.files[1].state, State::kMissing);
  EXPECT_NE(header.files[1].problem.find("part 2 of 3 is missing"), std::string::npos);
  EXPECT_EQ(header.files_here(), 2u);
  EXPECT_EQ(header.config->model_type, "deepseek_v3");
  // Without the first part there is no metadata, but tensors.
  fs::remove(dir.path() / parts[0].filename());
  const ModelHeader last = read_model_header(dir.path() / parts[2].filename());
  EXPECT_FALSE(last.gguf);
  EXPECT_FALSE(last.problems.empty());
  EXPECT_EQ(last.tensors.size(), header.tensors.size() - header.files[0].tensors);
}

TEST(ModelHeader, UnknownTypesAndArchitecturesAreListed) {
  const testing::TempDir dir;
  write(dir.path() / "new.gguf", GgufBuilder()
                                     .key("general.architecture", "mamba9")
                                     .tensor("a.weight", {256, 2}, 34, std::string(108, 'x'))
                                     .tensor("b.weight", {4}, 0, std::string(16, 'x'))
                                     .bytes());
  const ModelHeader header = read_model_header(dir.path() / "new.gguf");
  EXPECT_TRUE(header.complete());
  EXPECT_FALSE(header.config);
  EXPECT_NE(header.config_problem.find("mamba9"), std::string::npos);
  ASSERT_EQ(header.tensors.size(), 2u);
  EXPECT_EQ(header.tensors[0].type, "TQ1_0");
  EXPECT_FALSE(header.tensors[0].type_known);
  EXPECT_EQ(header.tensors[0].values(), 512u);
  EXPECT_EQ(header.tensors[1].info.size_bytes, 16u);
}

TEST(ModelHeader, ClaimsOfLargeTensorsCountWithoutOverflow) {
  const testing::TempDir dir;
  GgufBuilder builder;
  builder.key("general.architecture", "huge");
  for (int i = 0; i < 9; ++i)  // of an unknown type: no bytes, and so no end of the file, bound them
    builder.tensor_info(cat("t", i), {uint64_t{1} << 61, 1}, 99, 0);
  write(dir.path() / "huge.gguf", builder.bytes());
  const ModelHeader header = read_model_header(dir.path() / "huge.gguf");
  EXPECT_EQ(count_parameters(header.tensors, {}).total, ~uint64_t{0});
  GgufBuilder wrap;
  wrap.tensor_info("t", {uint64_t{1} << 40, uint64_t{1} << 40}, 0, 0);
  write(dir.path() / "wrap.gguf", wrap.bytes());
  EXPECT_THROW(read_model_header(dir.path() / "wrap.gguf"), Error);
}

TEST(ModelHeader, SafetensorsOfNewTypesAndWrongOnes) {
  const testing::TempDir dir;
  const fs::path path = dir.path() / "a.safetensors";
  const auto file = [&](const std::string& header, size_t data) {
    write(path, GgufBuilder::raw<uint64_t>(header.size()) + header + std::string(data, '\0'));
  };
  file(R"({"w": {"dtype": "F8_E5M2", "shape": [2, 3], "data_offsets": [0, 6]}, "__metadata__": {"format": "pt"}})", 6);
  ModelHeader header = read_model_header(path);
  EXPECT_TRUE(header.complete());
  EXPECT_EQ(header.tensors[0].type, "F8_E5M2");
  EXPECT_EQ(header.safetensors.at("format"), "pt");
  file(R"({"w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}})", 10);
  EXPECT_EQ(read_model_header(path).files[0].state, State::kUnfinished);
  for (const char* wrong :
       {R"({"w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 6]}})",
        R"({"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}})",  // what the reader of weights refuses
        R"({"w": {"dtype": "F32", "shape": [4], "data_offsets": [8, 24]}})",
        R"({"v": {"dtype": "F32", "shape": [6], "data_offsets": [0, 24]},
            "w": {"dtype": "F32", "shape": [2], "data_offsets": [8, 16]}})",
        R"({"w": {"dtype": "F32", "shape": [6], "data_offsets": [0, 24]},
            "w": {"dtype": "F32", "shape": [6], "data_offsets": [0, 24]}})",
        R"({"w": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}})",
        R"({"w": {"dtype": "X", "shape": [4294967296, 4294967296], "data_offsets": [0, 4]}})",
        R"({"w": {"dtype": "X", "shape": [1], "data_offsets": [4, 0]}})",
        R"({"w": {"dtype": "X", "shape": [1], "data_offsets": [0, 18446744073709551615]}})", R"({"w": 3})", "{"}) {
    file(wrong, 24);
    EXPECT_THROW(read_model_header(path), Error) << wrong;
  }
}

TEST(ModelHeader, FoldersWithoutAllTheirShards) {
  const testing::TempDir dir;
  write(dir.path() / "config.json", R"({"model_type": "deepseek_v3", "num_nextn_predict_layers": 1})");
  ModelHeader header = read_model_header(dir.path());
  EXPECT_EQ(header.files_here(), 0u);
  EXPECT_EQ(header.config->num_nextn_predict_layers, 1u);
  write(dir.path() / "model.safetensors.index.json",
        R"({"metadata": {"total_size": 1234}, "weight_map": {"a": "m-1.safetensors", "b": "m-2.safetensors"}})");
  write(dir.path() / "m-2.safetensors.part", "");
  header = read_model_header(dir.path());
  ASSERT_EQ(header.files.size(), 2u);
  EXPECT_NE(header.files[0].problem.find("shard 1 of 2 is missing"), std::string::npos);
  EXPECT_NE(header.files[1].problem.find("shard 2 of 2 is still downloading"), std::string::npos);
  EXPECT_EQ(header.indexed_bytes, 1234u);
  EXPECT_EQ(header.absent_tensors, 2u);
  for (const char* wrong : {R"({"weight_map": {"a": "../m-1.safetensors"}})", R"({"weight_map": {}})", "{"}) {
    write(dir.path() / "model.safetensors.index.json", wrong);
    header = read_model_header(dir.path());
    EXPECT_FALSE(header.complete());
    ASSERT_EQ(header.problems.size(), 2u) << wrong;
    EXPECT_NE(header.problems[0].find("index.json: "), std::string::npos);
    EXPECT_NE(header.problems[1].find("still downloading"), std::string::npos);
  }
}

std::string shard_of(const char* name) {
  const std::string header = cat(R"({")", name, R"(": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}})");
  return GgufBuilder::raw<uint64_t>(header.size()) + header + std::string(8, '\0');
}

TEST(ModelHeader, ShardsWithoutAnIndexNameWhatIsMissing) {
  const testing::TempDir dir;
  write(dir.path() / "config.json", R"({"model_type": "new"})");
  write(dir.path() / "model-00002-of-00004.safetensors", shard_of("a"));
  write(dir.path() / "model-00003-of-00004.safetensors", shard_of("b"));
  write(dir.path() / "model-00004-of-00004.safetensors.incomplete", "");
  const ModelHeader header = read_model_header(dir.path());
  EXPECT_EQ(header.tensors.size(), 2u);
  std::vector<std::string> missing;
  for (const ModelFile& f : header.files)
    if (f.state == State::kMissing) missing.push_back(f.path.filename());
  EXPECT_EQ(missing,
            (std::vector<std::string>{"model-00001-of-00004.safetensors", "model-00004-of-00004.safetensors"}));
  EXPECT_NE(header.files[3].problem.find("still downloading"), std::string::npos);
}

TEST(ModelHeader, ShardsMustBeWhatTheIndexSays) {
  const testing::TempDir dir;
  write(dir.path() / "config.json", R"({"model_type": "new"})");
  const auto problems = [&](const char* weight_map) {
    write(dir.path() / "model.safetensors.index.json", cat(R"({"weight_map": )", weight_map, "}"));
    std::string all;
    for (const std::string& problem : read_model_header(dir.path()).problems) all += problem + "\n";
    return all;
  };
  write(dir.path() / "1.safetensors", shard_of("a"));
  write(dir.path() / "2.safetensors", shard_of("b"));
  EXPECT_EQ(problems(R"({"a": "1.safetensors", "b": "2.safetensors"})"), "");
  EXPECT_NE(problems(R"({"b": "1.safetensors", "a": "2.safetensors"})").find("2 tensors are in another shard"),
            std::string::npos);
  EXPECT_NE(problems(R"({"a": "1.safetensors", "b": "2.safetensors", "c": "2.safetensors"})")
                .find("names 1 tensors that no shard has"),
            std::string::npos);
  write(dir.path() / "2.safetensors", shard_of("a"));
  EXPECT_NE(problems(R"({"a": "1.safetensors", "b": "2.safetensors"})").find("tensor a is in two shards"),
            std::string::npos);
}

TEST(ModelHeader, BrokenConfigurationsDoNotHideTheTensors) {
  const testing::TempDir dir;
  write(dir.path() / "model.safetensors", shard_of("a"));
  for (const char* wrong : {"", "{\"model_type\": \"qw", "[1]", "7"}) {
    write(dir.path() / "config.json", wrong);
    const ModelHeader header = read_model_header(dir.path());
    EXPECT_EQ(header.tensors.size(), 1u);
    EXPECT_FALSE(header.complete());
    ASSERT_EQ(header.problems.size(), 1u);
    EXPECT_NE(header.problems[0].find("config.json: "), std::string::npos) << header.problems[0];
    EXPECT_EQ(header.problems[0], header.config_problem);
  }
}

/// Any damage is an Error or a report: never a crash, and never more memory than the file accounts for.
TEST(ModelHeader, DamagedHeadersAreReadOrRefused) {
  const testing::TempDir dir;
  for (const fs::path& source : {testing::golden_dir() / "gguf" / "v3.Q4_K_M.gguf",
                                 testing::golden_dir() / "models" / "v3-fp8" / "model.safetensors"}) {
    const size_t header = read_model_header(source).files[0].header_bytes;
    const std::string whole = testing::read_file(source).substr(0, header + 4096);
    const std::vector<uint8_t> bytes = testing::random_bytes(6 * 600, /*seed=*/7);
    size_t read = 0, refused = 0;
    for (size_t round = 0; round < 600; ++round) {
      const uint8_t* r = &bytes[6 * round];
      const size_t at = (r[0] | r[1] << 8 | r[2] << 16) % header;
      std::string damaged = whole;
      if (round % 4 == 0)
        damaged.resize(at);
      else
        damaged[at] = static_cast<char>(r[3]),
        damaged[(at + 1 + r[4] % 8) % header] ^= static_cast<char>(1 << r[5] % 8);
      const fs::path path = dir.path() / (source.extension() == ".gguf" ? "x.gguf" : "x.safetensors");
      write(path, damaged);
      try {
        const ModelHeader got = read_model_header(path);
        EXPECT_LE(got.tensors.size(), damaged.size());
        count_parameters(got.tensors, {});
        if (got.config) count_parameters(*got.config);
        ++read;
      } catch (const Error&) {
        ++refused;
      }
    }
    EXPECT_GT(read, 10u) << source;
    EXPECT_GT(refused, 10u) << source;
  }
}

}  // namespace
}  // namespace fathom

#include "quant/convert_safetensors.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>

#include "base/json.h"
#include "formats/safetensors.h"
#include "formats/safetensors_writer.h"
#include "quant/fp8.h"
#include "tensor/dequantize.h"
#include "tests/testing.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

bool any_note(const FolderReport& report, std::string_view text) {
  for (const std::string& note : report.notes)
    if (note.find(text) != std::string::npos) return true;
  return false;
}

bool same_bytes(const Tensor& a, const Tensor& b) {
  return a.dtype() == b.dtype() && a.shape() == b.shape() && std::memcmp(a.bytes(), b.bytes(), a.size_bytes()) == 0;
}

class FolderType : public ::testing::Test {
 protected:
  fs::path model(const std::string& name) const { return testing::golden_dir() / "models" / name; }
  fs::path path(const std::string& name) const { return dir_.path() / name; }
  json::value config(const std::string& name) const { return read_json_file(path(name) / "config.json"); }
  testing::TempDir dir_;
};

TEST_F(FolderType, ToF32AndBackToBF16IsTheSame) {
  for (const char* name : {"v3", "qwen2", "llama3"}) {
    SCOPED_TRACE(name);
    const FolderReport wide = convert_folder_type(model(name), path(cat(name, ".f32")), DType::kF32);
    EXPECT_FALSE(any_note(wide, "rounded"));
    EXPECT_TRUE(any_note(wide, "not copied: golden.safetensors"));
    EXPECT_EQ("float32", config(cat(name, ".f32")).at("torch_dtype").as_string());
    const FolderReport back = convert_folder_type(path(cat(name, ".f32")), path(name), DType::kBF16);
    EXPECT_FALSE(any_note(back, "rounded"));
    const auto want = open_checkpoint(model(name)), got = open_checkpoint(path(name));
    ASSERT_EQ(want->tensors().size(), got->tensors().size());
    for (const TensorInfo& t : want->tensors())
      EXPECT_TRUE(same_bytes(want->find(t.name).data, got->find(t.name).data)) << t.name;
    EXPECT_TRUE(read_json_file(model(name) / "config.json") == config(name));
    EXPECT_EQ(testing::read_file(model(name) / "golden.json"), testing::read_file(path(name) / "golden.json"));
  }
}

TEST_F(FolderType, Fp8IsMultipliedByItsScales) {
  const FolderReport report = convert_folder_type(model("v3-fp8"), path("x"), DType::kF32);
  EXPECT_TRUE(any_note(report, "72 FP8 matrices"));
  const auto want = open_checkpoint(model("v3-fp8")), got = open_checkpoint(path("x"));
  EXPECT_EQ(want->tensors().size() - 72, got->tensors().size());
  for (const TensorInfo& t : got->tensors()) {
    const StoredTensor from = want->find(t.name);
    EXPECT_TRUE(same_bytes(dequantize(from.data, from.scale_inv), got->find(t.name).data)) << t.name;
  }
  EXPECT_FALSE(config("x").as_object().contains("quantization_config"));
}

TEST_F(FolderType, Fp8OfPublishedWeightsComesBackWithTheSameValues) {
  // What has been FP8 once is FP8 again with the same numbers, where every block's largest value was 448.
  convert_folder_type(model("v3-fp8"), path("f32"), DType::kF32);
  const FolderReport report = convert_folder_type(path("f32"), path("fp8"), DType::kF8E4M3);
  EXPECT_TRUE(any_note(report, "72 matrices were rounded to FP8"));
  const auto want = open_checkpoint(model("v3-fp8")), got = open_checkpoint(path("fp8"));
  size_t same = 0;
  for (const TensorInfo& t : want->tensors()) {
    if (t.dtype != DType::kF8E4M3) continue;
    const StoredTensor a = want->find(t.name), b = got->find(t.name);
    ASSERT_EQ(DType::kF8E4M3, b.data.dtype()) << t.name;
    ASSERT_EQ(a.scale_inv.shape(), b.scale_inv.shape());
    same += same_bytes(a.data, b.data);
  }
  EXPECT_EQ(72u, same);
  EXPECT_TRUE(read_json_file(model("v3-fp8") / "config.json").at("quantization_config") ==
              config("fp8").at("quantization_config"));
}

TEST_F(FolderType, Fp8ErrorsAreThoseOfTheFormat) {
  for (const char* name : {"v3", "qwen3-moe", "llama-tied"}) {
    SCOPED_TRACE(name);
    convert_folder_type(model(name), path(name), DType::kF8E4M3, {.max_shard_bytes = 200'000, .threads = 2});
    const auto want = open_checkpoint(model(name)), got = open_checkpoint(path(name));
    size_t fp8 = 0;
    for (const TensorInfo& t : want->tensors()) {
      const StoredTensor from = want->find(t.name), to = got->find(t.name);
      if (!is_fp8_matrix(t.name)) {
        EXPECT_TRUE(same_bytes(from.data, to.data)) << t.name;
        continue;
      }
      ++fp8;
      const Tensor x = dequantize(from.data), y = dequantize(to.data, to.scale_inv);
      double error = 0, size = 0;
      for (size_t i = 0; i < x.count(); ++i) {
        error += std::pow(y.data<float>()[i] - x.data<float>()[i], 2);
        size += std::pow(x.data<float>()[i], 2);
      }
      EXPECT_LT(std::sqrt(error / size), 0.03) << t.name;  // half a step of 1/8 at most, spread evenly: about 0.026
    }
    EXPECT_GT(fp8, 0u);
    EXPECT_EQ("fp8", config(name).at("quantization_config").at("quant_method").as_string());
  }
  const auto kept = config("qwen3-moe").at("quantization_config").at("modules_to_not_convert").as_array();
  EXPECT_NE(std::find(kept.begin(), kept.end(), "model.layers.1.mlp.gate"), kept.end());
}

TEST_F(FolderType, Fp8FoldersStayAsTheyAre) {
  convert_folder_type(model("v3-fp8"), path("x"), DType::kF8E4M3);
  const auto want = open_checkpoint(model("v3-fp8")), got = open_checkpoint(path("x"));
  ASSERT_EQ(want->tensors().size(), got->tensors().size());
  for (const TensorInfo& t : want->tensors())
    EXPECT_TRUE(same_bytes(want->find(t.name).data, got->find(t.name).data)) << t.name;
  EXPECT_EQ(testing::read_file(model("v3-fp8") / "config.json"), testing::read_file(path("x") / "config.json"));
}

/// A one-layer model whose q_proj has these first values.
void write_model(const fs::path& folder, const std::vector<float>& values) {
  const auto from = open_checkpoint(testing::golden_dir() / "models/llama-tied");
  fs::create_directory(folder);
  std::vector<std::pair<std::string, Tensor>> tensors;
  for (size_t i = 0; i < from->tensors().size(); ++i) {
    Tensor t = make_tensor(DType::kF32, from->stored(i).shape());
    std::memcpy(t.bytes(), from->stored(i).bytes(), t.size_bytes());
    if (from->tensors()[i].name == "model.layers.0.self_attn.q_proj.weight")
      std::copy(values.begin(), values.end(), t.data<float>());
    tensors.emplace_back(from->tensors()[i].name, t);
  }
  write_safetensors(folder / "model.safetensors", tensors);
  fs::copy_file(testing::golden_dir() / "models/llama-tied/config.json", folder / "config.json");
}

TEST_F(FolderType, OverflowIsCountedAndNamed) {
  write_model(path("in"), {65504, 65519, 65520, -1e9f, INFINITY});
  const FolderReport report = convert_folder_type(path("in"), path("out"), DType::kF16);
  EXPECT_TRUE(any_note(report,
                       "2 values of 1 tensors are too large for F16 and became infinite: "
                       "model.layers.0.self_attn.q_proj.weight"))
      << report.notes.back();
  EXPECT_TRUE(any_note(report, "were rounded to F16"));
  EXPECT_EQ("float16", config("out").at("torch_dtype").as_string());
}

TEST_F(FolderType, Fp8RefusesWhatIsNotFinite) {
  write_model(path("in"), {1, INFINITY});
  try {
    convert_folder_type(path("in"), path("out"), DType::kF8E4M3);
    FAIL();
  } catch (const Error& e) {
    EXPECT_STREQ("tensor model.layers.0.self_attn.q_proj.weight: expected finite values for FP8, found one that is not",
                 e.what());
  }
  EXPECT_FALSE(fs::exists(path("out")));
}

TEST_F(FolderType, ScalesThatAreNotFiniteAreRefused) {
  convert_folder_type(model("v3-fp8"), path("in"), DType::kF8E4M3);
  const std::string file = testing::read_file(path("in") / "model.safetensors");
  const SafetensorsFile tensors(path("in") / "model.safetensors");
  for (const StoredRange& range : tensors.ranges()) {
    if (range.info.name != "model.layers.0.self_attn.o_proj.weight_scale_inv") continue;
    std::string changed = file;
    const float nan = NAN;
    std::memcpy(changed.data() + range.offset, &nan, sizeof nan);
    std::ofstream(path("in") / "model.safetensors", std::ios::binary) << changed;
  }
  try {
    convert_folder_type(path("in"), path("out"), DType::kBF16);
    FAIL();
  } catch (const Error& e) {
    EXPECT_STREQ(
        "tensor model.layers.0.self_attn.o_proj.weight_scale_inv: expected finite scales, found nan for the "
        "block of row 0, column 0",
        e.what());
  }
  EXPECT_FALSE(fs::exists(path("out")));
}

TEST_F(FolderType, OtherFilesAreCopiedAndWeightsOfOtherKindsAreNot) {
  write_model(path("in"), {});
  fs::create_directory(path("in") / "additional_chat_templates");
  std::ofstream(path("in") / "additional_chat_templates" / "rag.jinja") << "{{ messages }}";
  for (const char* name : {"tokenizer.json", "LICENSE", "chat_template.jinja", "pytorch_model.bin", ".hidden"})
    std::ofstream(path("in") / name) << name;
  fs::create_directory(path("in") / "onnx");
  const FolderReport report = convert_folder_type(path("in"), path("out"), DType::kBF16);
  for (const char* name : {"tokenizer.json", "LICENSE", "chat_template.jinja"})
    EXPECT_EQ(name, testing::read_file(path("out") / name));
  EXPECT_EQ("{{ messages }}", testing::read_file(path("out") / "additional_chat_templates" / "rag.jinja"));
  EXPECT_TRUE(any_note(report, "not copied: onnx/, pytorch_model.bin"));
  EXPECT_FALSE(fs::exists(path("out") / "pytorch_model.bin"));
}

TEST_F(FolderType, StoppedWorkLeavesNothing) {
  EXPECT_THROW(convert_folder_type(model("v3"), path("out"), DType::kF32, {},
                                   [](uint64_t done, uint64_t total) {
                                     if (done > total / 2) throw Interrupted();
                                   }),
               Interrupted);
  EXPECT_TRUE(fs::is_empty(dir_.path()));
  EXPECT_THROW(convert_folder_type(testing::golden_dir() / "gguf/qwen2.gguf", path("out"), DType::kF32), Error);
}

TEST(SafetensorsWriter, PiecesOfAnySizeAreOneFile) {
  testing::TempDir dir;
  const std::vector<uint8_t> bytes = testing::random_bytes(44, 1);
  const std::vector<TensorInfo> tensors = {
      {"a", DType::kF32, {2, 3}, 0}, {"b", DType::kU8, {4}, 0}, {"c", DType::kBF16, {8}, 0}};
  for (const size_t piece : {1, 7, 44}) {
    SafetensorsWriter writer(dir.path() / "x.safetensors", tensors, {{"format", "pt"}});
    for (size_t at = 0; at < bytes.size(); at += piece)
      writer.write(std::as_bytes(std::span(bytes)).subspan(at, std::min(piece, bytes.size() - at)));
    writer.commit();
    EXPECT_EQ(writer.total_bytes(), fs::file_size(dir.path() / "x.safetensors"));
    const SafetensorsFile file(dir.path() / "x.safetensors");
    EXPECT_EQ("pt", file.metadata().at("format"));
    EXPECT_EQ(0, std::memcmp(bytes.data(), file.tensor("a").bytes(), 24));
    EXPECT_EQ(0, std::memcmp(bytes.data() + 24, file.tensor("b").bytes(), 4));
    EXPECT_EQ(0, std::memcmp(bytes.data() + 28, file.tensor("c").bytes(), 16));
  }
}

TEST(SafetensorsWriter, RefusesBlocksAndNamesGivenTwice) {
  testing::TempDir dir;
  const auto error = [&](std::vector<TensorInfo> tensors) -> std::string {
    try {
      SafetensorsWriter writer(dir.path() / "x.safetensors", std::move(tensors));
      return "";
    } catch (const Error& e) {
      return e.what();
    }
  };
  EXPECT_NE(error({{"a", DType::kQ8_0, {32}, 0}}).find("has no type Q8_0"), std::string::npos);
  EXPECT_NE(error({{"a", DType::kF32, {1}, 0}, {"a", DType::kF32, {1}, 0}}).find("given twice"), std::string::npos);
  EXPECT_NE(error({{"__metadata__", DType::kF32, {1}, 0}}).find("reserved"), std::string::npos);
  EXPECT_TRUE(fs::is_empty(dir.path()));  // unfinished files are gone
}

}  // namespace
}  // namespace fathom

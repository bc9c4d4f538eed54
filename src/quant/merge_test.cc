// A LoRA adapter merged into weights: values against plain double sums, types that stay, and what is refused.
#include <gmock/gmock.h>

#include <cmath>
#include <cstring>

#include "formats/gguf.h"
#include "quant/convert_safetensors.h"
#include "quant/merge_gguf.h"
#include "tensor/dequantize.h"
#include "tests/testing.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

constexpr float kScale = 0.5f;

Tensor floats(const Shape& shape, uint64_t seed, float size) {
  const Tensor t = from_values(testing::random_floats(shape.count(), seed), shape);
  for (float& x : t.span<float>()) x *= size;
  return t;
}

class MergeTest : public ::testing::Test {
 protected:
  /// An adapter of these weights, rank 2, at dir_/adapter.
  PeftAdapter write_adapter(const std::vector<std::pair<std::string, Shape>>& weights) {
    PeftAdapter adapter{.r = 2, .lora_alpha = 2 * static_cast<double>(kScale)};
    for (const auto& [name, shape] : weights)
      adapter.matrices.push_back({name, floats({2, shape[1]}, name.size(), 0.1f), floats({shape[0], 2}, 5, 0.1f)});
    write_peft_adapter(adapter_folder(), adapter);
    return adapter;
  }
  fs::path adapter_folder() const { return dir_.path() / "adapter"; }
  const fs::path& folder() const { return dir_.path(); }

 private:
  testing::TempDir dir_;
};

double change_of(const PeftMatrix& m, size_t o, size_t k) {
  double sum = 0;
  for (size_t i = 0; i < m.a.dim(0); ++i)
    sum += static_cast<double>(m.b.data<float>()[o * m.a.dim(0) + i]) *
           static_cast<double>(m.a.data<float>()[i * m.a.dim(1) + k]);
  return static_cast<double>(kScale) * sum;
}

TEST_F(MergeTest, EveryValueOfAFolder) {
  const fs::path in = testing::golden_dir() / "models" / "v3-fp8";
  const std::unique_ptr<Checkpoint> base = open_checkpoint(in);
  const std::string name = "model.layers.1.self_attn.kv_b_proj.weight", kept = "model.layers.1.self_attn.o_proj.weight";
  const PeftAdapter adapter = write_adapter({{name, base->find(name).data.shape()}});
  const std::unique_ptr<Checkpoint> merged = open_merged(in, adapter_folder());
  const StoredTensor was = base->find(name);
  const Tensor before = dequantize(was.data, was.scale_inv), after = merged->find(name).data;
  for (size_t o = 0; o < after.dim(0); ++o)
    for (size_t k = 0; k < after.dim(1); ++k) {
      const size_t i = o * after.dim(1) + k;
      EXPECT_NEAR(static_cast<double>(after.data<float>()[i]),
                  static_cast<double>(before.data<float>()[i]) + change_of(adapter.matrices[0], o, k), 1e-6);
    }
  EXPECT_EQ(merged->find(kept).data.dtype(), base->find(kept).data.dtype());

  const FolderReport made =
      convert_folder_type(in, folder() / "fp8", DType::kF8E4M3, {.threads = 1, .adapter = adapter_folder()});
  EXPECT_THAT(made.notes, ::testing::Contains(HasSubstr("1 merged matrix was quantised: RMS error")));
  const std::unique_ptr<Checkpoint> written = open_checkpoint(folder() / "fp8");
  EXPECT_EQ(written->tensors().size(), base->tensors().size());
  const StoredTensor got = written->find(name);
  const Tensor values = dequantize(got.data, got.scale_inv);
  for (size_t i = 0; i < values.count(); ++i)
    EXPECT_NEAR(values.data<float>()[i], after.data<float>()[i], 0.07f * std::abs(after.data<float>()[i]) + 1e-3f);
}

TEST_F(MergeTest, AQuantisedFileKeepsItsTypes) {
  const fs::path in = testing::golden_dir() / "gguf" / "qwen2-wide.Q4_K_M.gguf", out = folder() / "out.gguf";
  const std::unique_ptr<Checkpoint> base = open_checkpoint(in);
  const std::string name = "model.layers.1.mlp.down_proj.weight";
  const PeftAdapter adapter = write_adapter({{name, base->find(name).data.shape()}});
  const MergedGguf made = merge_into_gguf(in, out, adapter_folder(), 2);
  EXPECT_EQ(made.bytes, fs::file_size(out));
  EXPECT_EQ(made.error.matrices, 1u);
  const double relative = std::sqrt(made.error.change / made.error.values);
  EXPECT_GT(relative, 0.001);
  EXPECT_LT(relative, 0.1);
  const GgufFile before(in), after(out);
  ASSERT_EQ(before.tensors().size(), after.tensors().size());
  size_t changed = 0;
  for (const TensorInfo& t : before.tensors()) {
    const Tensor a = before.tensor(t.name), b = after.tensor(t.name);
    ASSERT_EQ(a.dtype(), b.dtype()) << t.name;
    changed += std::memcmp(a.bytes(), b.bytes(), a.size_bytes()) != 0;
  }
  EXPECT_EQ(changed, 1u);
  EXPECT_EQ(before.metadata().entries().size(), after.metadata().entries().size());

  const Tensor was = dequantize(base->find(name).data), is = dequantize(open_checkpoint(out)->find(name).data);
  double error = 0, total = 0;
  for (size_t i = 0; i < is.count(); ++i) {
    const double want =
        static_cast<double>(was.data<float>()[i]) + change_of(adapter.matrices[0], i / is.dim(1), i % is.dim(1));
    error += (static_cast<double>(is.data<float>()[i]) - want) * (static_cast<double>(is.data<float>()[i]) - want);
    total += want * want;
  }
  EXPECT_NEAR(std::sqrt(error / total), relative, 1e-4 * relative);
}

TEST_F(MergeTest, RefusesWhatDoesNotFit) {
  const fs::path in = testing::golden_dir() / "gguf" / "qwen2-wide.gguf", out = folder() / "out.gguf";
  write_adapter({{"model.layers.7.mlp.down_proj.weight", {256, 512}}});
  EXPECT_THROW(merge_into_gguf(in, out, adapter_folder(), 1), Error);
  EXPECT_THROW(open_merged(in, adapter_folder()), Error);
  write_adapter({{"model.layers.1.mlp.down_proj.weight", {256, 256}}});
  EXPECT_THROW(merge_into_gguf(in, out, adapter_folder(), 1), Error);
  EXPECT_THROW(open_merged(in, adapter_folder())->find("model.layers.1.mlp.down_proj.weight"), Error);
  EXPECT_THROW(merge_into_gguf(in, in, adapter_folder(), 1), Error);
  EXPECT_FALSE(fs::exists(out));
}

}  // namespace
}  // namespace fathom

#include "quant/needed_tensors.h"

#include <gtest/gtest.h>

#include "tests/testing.h"

namespace fathom {
namespace {

/// A checkpoint that has lost one tensor.
class Without : public Checkpoint {
 public:
  Without(const Checkpoint& whole, std::string lost) : whole_(whole), lost_(std::move(lost)) {}
  const ModelConfig& config() const override { return whole_.config(); }
  const GenerationConfig& generation_config() const override { return whole_.generation_config(); }
  std::optional<TokenizerSpec> tokenizer() const override { return whole_.tokenizer(); }
  bool has(std::string_view name) const override { return name != lost_ && whole_.has(name); }
  StoredTensor find(std::string_view name) const override { return whole_.find(name); }
  const std::vector<TensorInfo>& tensors() const override { return whole_.tensors(); }
  Tensor stored(size_t index) const override { return whole_.stored(index); }
  uint64_t weight_bytes() const override { return whole_.weight_bytes(); }
  std::string description() const override { return whole_.description(); }
  void release(const Tensor& mapped) const override { whole_.release(mapped); }

 private:
  const Checkpoint& whole_;
  std::string lost_;
};

/// What an MTP module may share with the model.
bool may_be_absent(const std::string& name) {
  return name.find(".shared_head.") != name.npos ||
         (name.starts_with("model.layers.") && name.ends_with(".embed_tokens.weight"));
}

TEST(NeededTensors, AreThoseOfTheGoldenModels) {
  for (const char* model : {"llama-tied", "llama3", "qwen2", "qwen3", "qwen3-moe", "v2", "v2-lite", "v3", "v3-fp8"}) {
    SCOPED_TRACE(model);
    const auto whole = open_checkpoint(testing::golden_dir() / "models" / model);
    const size_t mtp = whole->config().num_nextn_predict_layers;
    EXPECT_TRUE(missing_tensors(*whole, mtp, 10).empty());
    for (const TensorInfo& t : whole->tensors()) {
      if (t.name.ends_with("_scale_inv")) continue;
      const std::vector<std::string> missing = missing_tensors(Without(*whole, t.name), mtp, 10);
      if (may_be_absent(t.name))
        EXPECT_TRUE(missing.empty()) << t.name;
      else
        EXPECT_EQ(missing, std::vector<std::string>{t.name});
    }
  }
}

TEST(NeededTensors, StopAtTheFirstFew) {
  const auto whole = open_checkpoint(testing::golden_dir() / "models" / "v3");
  EXPECT_EQ(missing_tensors(*whole, 1'000'000'000, 3),
            (std::vector<std::string>{"model.layers.4.enorm.weight", "model.layers.4.hnorm.weight",
                                      "model.layers.4.eh_proj.weight"}));
}

}  // namespace
}  // namespace fathom

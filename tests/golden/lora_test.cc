// Adapters that peft wrote, in $FATHOM_GOLDEN/lora, against peft's logits (law 3), on a folder and on its GGUF twin,
// and the invariance of a run with an adapter (law 2). Another set of files of the same form is checked by the same
// tests.
#include <cstring>
#include <regex>

#include "engine/forced.h"
#include "formats/peft_adapter.h"
#include "formats/safetensors.h"
#include "tests/testing.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

constexpr double kTolerance = 1e-4;  // of the largest logit

std::vector<std::string> names() {
  std::vector<std::string> out;
  const fs::path dir = testing::golden_dir() / "lora";
  if (fs::is_directory(dir))
    for (const auto& entry : fs::directory_iterator(dir)) out.push_back(entry.path().filename());
  std::sort(out.begin(), out.end());
  return out;
}

class LoraGolden : public ::testing::TestWithParam<std::string> {
 protected:
  fs::path folder() const { return testing::golden_dir() / "lora" / GetParam(); }
  fs::path model() const { return testing::golden_dir() / "models" / GetParam(); }
  fs::path gguf(const std::string& type = "") const {
    return testing::golden_dir() / "gguf" / cat(GetParam(), type, ".gguf");
  }
  std::unique_ptr<Engine> open(const fs::path& path, Profile profile, size_t threads = 2) const {
    return Engine::load(path, {.profile = profile, .threads = threads, .ctx = 64, .sequences = 2, .adapter = folder()});
  }
  std::vector<TokenId> ids() const {
    const Tensor t = SafetensorsFile(folder() / "golden.safetensors").tensor("input_ids");
    return {t.data<int64_t>(), t.data<int64_t>() + t.count()};
  }
};
INSTANTIATE_TEST_SUITE_P(All, LoraGolden, ::testing::ValuesIn(names()),
                         [](const auto& test) { return std::regex_replace(test.param, std::regex("\\W"), "_"); });

TEST_P(LoraGolden, LogitsArePefts) {
  const Tensor want = SafetensorsFile(folder() / "golden.safetensors").tensor("logits");
  for (const fs::path& path : {model(), gguf()}) {
    const std::unique_ptr<Engine> engine = open(path, Profile::kExact);
    const Tensor got = forced_forward(*engine, {ids()})[0].logits;
    ASSERT_EQ(got.count(), want.count());
    double worst = 0, largest = 0;
    for (size_t i = 0; i < got.count(); ++i) {
      worst = std::max(worst, std::abs(static_cast<double>(got.data<float>()[i] - want.data<float>()[i])));
      largest = std::max(largest, std::abs(static_cast<double>(want.data<float>()[i])));
    }
    EXPECT_LE(worst, kTolerance * largest) << path;
  }
}

TEST_P(LoraGolden, SameBitsInChunksInABatchAndOnAnyThreads) {
  const fs::path quantised = gguf(".Q8_0");
  const fs::path path = fs::exists(quantised) ? quantised : gguf();
  const std::unique_ptr<Engine> one = open(path, Profile::kInt8, 1), three = open(path, Profile::kInt8, 3);
  const Tensor alone = forced_forward(*one, {ids()})[0].logits;
  std::vector<TokenId> other = ids();
  std::reverse(other.begin(), other.end());
  for (const Tensor& got :
       {forced_forward(*three, {ids()}, {.chunk = 1})[0].logits, forced_forward(*three, {other, ids()})[1].logits})
    EXPECT_EQ(0, std::memcmp(got.bytes(), alone.bytes(), alone.size_bytes()));
}

TEST_P(LoraGolden, RefusesAnAdapterOfAnotherModel) {
  const fs::path other = testing::golden_dir() / "models" / "qwen2-wide";
  EXPECT_THROW(open(other, Profile::kExact), Error);
}

}  // namespace
}  // namespace fathom

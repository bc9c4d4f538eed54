// L10: files that are whole and hold numbers that are none; L9: files that change while they are used.
#include <gtest/gtest.h>
#include <unistd.h>

#include "base/error.h"
#include "engine/forced.h"
#include "formats/safetensors.h"
#include "sampling/sampler.h"
#include "tests/hostile/guard.h"
#include "tests/hostile/make_model.h"
#include "tests/hostile/open_fully.h"
#include "tests/testing.h"

namespace fathom::testing {
namespace {

/// Loads the model in every profile, computes, and draws a token from the last row of logits.
void compute_and_draw(const fs::path& path, Profile profile) {
  const std::unique_ptr<Engine> engine =
      Engine::load(path, {.profile = profile, .threads = 1, .ctx = 16, .prefill_chunk = 8});
  const std::vector<TokenId> ids = {1, 2, 3};
  const Tensor logits = forced_forward(*engine, {ids}).at(0).logits;
  const size_t V = engine->config().vocab_size;
  const Sampler sampler({.temperature = 1, .top_p = 1, .seed = 1}, V);
  (void)sampler.draw({logits.data<float>() + 2 * V, V}, /*position=*/3);
}

/// Neither a crash nor a token: the Error names the logits.
void expect_refusal(const fs::path& path) {
  for (const Profile profile : {Profile::kExact, Profile::kInt8}) {
    const Ending ending = guarded([&] { compute_and_draw(path, profile); });
    EXPECT_EQ(ending.failure, "");
    EXPECT_NE(ending.error.find("logits for position 3: expected finite numbers or -inf, found "), std::string::npos)
        << ending.error;
  }
}

TEST(L10, BlockScalesOfAGgufThatAreNoNumbers) {
  const TempDir dir;
  const fs::path path = dir.path() / "model.gguf";
  for (const uint16_t scale : {uint16_t{0x7E00}, uint16_t{0x7C00}, uint16_t{0xFC00}}) {  // NaN, infinity, -infinity
    TinyGguf tiny;
    tiny.scale = scale;
    put(path, tiny.bytes());
    expect_refusal(path);
  }
}

/// The golden model with these bytes over the beginning of one tensor.
void damage(const fs::path& from, const fs::path& to, const std::string& tensor, float value) {
  std::string bytes = read_file(from / "model.safetensors");
  const std::optional<Located> place = SafetensorsFile(from / "model.safetensors").locate(tensor);
  ASSERT_TRUE(place) << tensor;
  const size_t width = info(place->range.info.dtype).block_bytes;
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  std::string one(reinterpret_cast<const char*>(&bits) + (4 - width), width);  // bf16 is f32's upper half
  for (size_t i = 0; i < place->range.info.size_bytes; i += width) bytes.replace(place->range.offset + i, width, one);
  put(to / "model.safetensors", bytes);
  fs::copy_file(from / "config.json", to / "config.json", fs::copy_options::overwrite_existing);
}

TEST(L10, ScalesAndRoutersOfAFolderThatAreNoNumbers) {
  const fs::path from = golden_dir() / "models" / "v3-fp8";
  if (!fs::exists(from)) GTEST_SKIP() << "needs golden/models";
  const TempDir dir;
  for (const char* tensor : {"model.layers.0.self_attn.o_proj.weight_scale_inv", "model.norm.weight",
                             "model.layers.1.mlp.gate.weight", "model.layers.0.input_layernorm.weight"})
    for (const float value : {std::nanf(""), INFINITY}) {
      SCOPED_TRACE(cat(tensor, " ", value));
      damage(from, dir.path(), tensor, value);
      const Ending ending = guarded([&] { compute_and_draw(dir.path(), Profile::kExact); });
      EXPECT_EQ(ending.failure, "");
      EXPECT_NE(ending.error.find("logits for position 3"), std::string::npos) << ending.error;
    }
  // A bias alone may choose any experts, and the model still computes: nothing is wrong that anybody could see.
  damage(from, dir.path(), "model.layers.1.mlp.gate.e_score_correction_bias", std::nanf(""));
  EXPECT_EQ(guarded([&] { compute_and_draw(dir.path(), Profile::kExact); }).failure, "");
}

TEST(L9, AFileThatShrinksWhileItIsMappedEndsWithAMessage) {
  const TempDir dir;
  const fs::path path = dir.path() / "model.gguf";
  put(path, TinyGguf().bytes());
  EXPECT_EXIT(
      {
        const std::unique_ptr<Checkpoint> checkpoint = open_checkpoint(path);
        const Tensor last = checkpoint->stored(checkpoint->tensors().size() - 1);
        fs::resize_file(path, 64);
        volatile std::byte sum = last.bytes()[0];
        (void)sum;
        _exit(0);
      },
      ::testing::ExitedWithCode(1), "model.gguf: the file became shorter, or its disk failed, while it was in use");
}

TEST(L9, ALinkOutOfTheFolderIsAFileLikeAnyOther) {
  const TempDir dir;
  fs::create_directories(dir.path() / "blobs");
  fs::create_directories(dir.path() / "snapshots" / "main");
  for (const auto& [name, bytes] : tiny_folder()) {
    put(dir.path() / "blobs" / name, bytes);
    fs::create_symlink(fs::path("../../blobs") / name, dir.path() / "snapshots" / "main" / name);
  }
  const Ending ending = guarded([&] { open_and_compute(dir.path() / "snapshots" / "main"); });
  EXPECT_TRUE(ending.returned()) << ending.error << ending.failure;
}

TEST(L9, AFileThatIsReplacedWhileItIsMappedStaysAsItWas) {
  const TempDir dir;
  const fs::path path = dir.path() / "model.gguf", other = dir.path() / "other";
  put(path, TinyGguf().bytes());
  const std::unique_ptr<Checkpoint> checkpoint = open_checkpoint(path);
  put(other, std::string(64, 'x'));
  fs::rename(other, path);
  const Tensor last = checkpoint->stored(checkpoint->tensors().size() - 1);
  EXPECT_EQ(*last.data<float>(), 1.0f);
}

}  // namespace
}  // namespace fathom::testing

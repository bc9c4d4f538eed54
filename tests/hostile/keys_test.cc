// L4, all of it: every key of every architecture, absent, zero, huge, negative, of another type, in config.json and in
// GGUF. Each file is refused by an Error or opens; what opens is loaded and computed with.
#include <gtest/gtest.h>

#include "base/error.h"
#include "base/json.h"
#include "formats/gguf.h"
#include "tests/hostile/guard.h"
#include "tests/hostile/make_model.h"
#include "tests/hostile/open_fully.h"
#include "tests/testing.h"

namespace fathom::testing {
namespace {

enum Slot : size_t { kAccepted, kRefused };

void try_one(const fs::path& path, bool compute) {
  try {
    compute ? open_and_compute(path) : open_fully(path);
    count_in(kAccepted);
  } catch (const Error& e) {
    if (std::string_view(e.what()).empty()) throw std::runtime_error("an Error without a message");
    count_in(kRefused);
  }
}

const std::vector<json::value>& wrong_values() {
  static const std::vector<json::value> values = {
      0,      -1,   1,  2147483648,    INT64_MAX,         1e300,          0.5,    -0.0,
      "text", true, "", json::array{}, json::array{1, 2}, json::object{}, nullptr};
  return values;
}

/// The config with one key replaced or gone; `inner`: within that object.
json::object changed(const json::object& config, std::string_view inner, std::string_view key,
                     const json::value* value) {
  json::object out = config;
  json::object& place = inner.empty() ? out : out.at(inner).as_object();
  if (value)
    place[key] = *value;
  else
    place.erase(key);
  return out;
}

class Json : public ::testing::TestWithParam<const char*> {};

TEST_P(Json, EveryKeyWithEveryWrongValue) {
  const fs::path model = golden_dir() / "models" / GetParam();
  if (!fs::exists(model)) GTEST_SKIP() << "needs golden/models";
  const TempDir dir;
  // A link out of the folder, as in the hub's cache.
  fs::create_symlink(fs::absolute(model / "model.safetensors"), dir.path() / "model.safetensors");
  const json::object config = read_json_file(model / "config.json").as_object();
  const Ending ending = guarded(
      [&] {
        uint64_t step = 0;
        const auto both = [&](std::string_view inner, std::string_view key) {
          for (size_t i = 0; i <= wrong_values().size(); ++i) {
            at_step(++step);
            const json::value* value = i < wrong_values().size() ? &wrong_values()[i] : nullptr;
            put(dir.path() / "config.json", to_json(changed(config, inner, key, value)));
            try_one(dir.path(), /*compute=*/step % 4 == 0);
          }
        };
        for (const auto& [key, value] : config) {
          both("", key);
          if (value.is_object())
            for (const auto& [inner, ignored] : value.as_object()) both(key, inner);
        }
      },
      {.cpu_s = 60});
  EXPECT_TRUE(ending.returned()) << ending.error << ending.failure;
  EXPECT_GT(counted(kAccepted), 10u);
  EXPECT_GT(counted(kRefused), 100u);
}

INSTANTIATE_TEST_SUITE_P(L4, Json,
                         ::testing::Values("llama3", "qwen2", "qwen3-yarn", "qwen3-moe", "v2-lite", "v3-fp8"));

/// Value bytes of every type that is wrong somewhere.
struct Raw {
  GgufType type;
  std::string bytes;
};
std::vector<Raw> wrong_raw() {
  using B = GgufBuilder;
  const auto list = [](GgufType element, uint64_t count, const std::string& rest) {
    return Raw{GgufType::kArray, B::raw(static_cast<uint32_t>(element)) + B::raw(count) + rest};
  };
  return {{GgufType::kU32, B::raw(0u)},
          {GgufType::kU32, B::raw(1u)},
          {GgufType::kU32, B::raw(~0u)},
          {GgufType::kU64, B::raw(~uint64_t{0})},
          {GgufType::kI64, B::raw(INT64_MAX)},
          {GgufType::kI32, B::raw(-1)},
          {GgufType::kF32, B::raw(0.0f)},
          {GgufType::kF32, B::raw(std::nanf(""))},
          {GgufType::kF64, B::raw(1e300)},
          {GgufType::kBool, B::raw<uint8_t>(2)},
          {GgufType::kString, B::raw_string("text")},
          list(GgufType::kU8, 0, ""),
          list(GgufType::kI32, 2, B::raw(1) + B::raw(2)),
          list(GgufType::kString, 1, B::raw_string(""))};
}

/// The golden file again, with one key replaced (`value`) or left out (null).
std::string rewritten(const GgufFile& file, std::string_view changed_key, const Raw* value) {
  GgufBuilder b;
  for (const GgufMetadata::Entry& e : file.metadata().entries()) {
    if (e.key == changed_key) {
      if (value) b.key(e.key, value->type, value->bytes);
      continue;
    }
    std::string bytes(file.metadata().value_bytes(e));
    if (e.type == GgufType::kArray)
      bytes = GgufBuilder::raw(static_cast<uint32_t>(e.element)) + GgufBuilder::raw(e.count) + bytes;
    b.key(e.key, e.type, bytes);
  }
  for (const TensorInfo& t : file.tensors()) {
    std::vector<uint64_t> ne;
    for (size_t i = t.shape.rank(); i-- > 0;) ne.push_back(t.shape[i]);
    const Tensor data = file.tensor(t.name);
    b.tensor(t.name, ne, static_cast<uint32_t>(info(t.dtype).gguf_id),
             std::string(reinterpret_cast<const char*>(data.bytes()), data.size_bytes()));
  }
  return b.bytes();
}

class Gguf : public ::testing::TestWithParam<const char*> {};

TEST_P(Gguf, EveryKeyWithEveryWrongValue) {
  const fs::path path = golden_dir() / "gguf" / GetParam();
  if (!fs::exists(path)) GTEST_SKIP() << "needs golden/gguf";
  const TempDir dir;
  const fs::path target = dir.path() / "model.gguf";
  const Ending ending = guarded(
      [&] {
        const GgufFile file(path);
        const std::vector<Raw> values = wrong_raw();
        uint64_t step = 0;
        for (const GgufMetadata::Entry& e : file.metadata().entries()) {
          for (size_t i = 0; i <= values.size(); ++i) {
            at_step(++step);
            put(target, rewritten(file, e.key, i < values.size() ? &values[i] : nullptr));
            try_one(target, /*compute=*/step % 4 == 0);
          }
        }
      },
      {.cpu_s = 60});
  EXPECT_TRUE(ending.returned()) << ending.error << ending.failure;
  EXPECT_GT(counted(kAccepted), 10u);
  EXPECT_GT(counted(kRefused), 50u);
}

INSTANTIATE_TEST_SUITE_P(L4, Gguf,
                         ::testing::Values("qwen2.gguf", "qwen3-moe.gguf", "v2-lite.Q4_K_M.gguf", "v3.Q4_K_M.gguf"),
                         [](const auto& test) {
                           std::string name = test.param;
                           for (char& c : name)
                             if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
                           return name;
                         });

}  // namespace
}  // namespace fathom::testing

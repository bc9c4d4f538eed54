// L8: files that were cut off or damaged. Every cut of small files and random flips of bits: what opens is used fully
// (and, where small, computed with), everything else is an Error; nothing crashes, hangs or bloats.
// FATHOM_FLIPS=100000 flips that often (tools/flip_files.sh); the default is 1,000. FATHOM_FIRST_FLIP=N begins at seed
// N: a failure "at step N" is seed N - 1.
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

#include "base/error.h"
#include "tests/hostile/guard.h"
#include "tests/hostile/make_model.h"
#include "tests/hostile/open_fully.h"
#include "tests/testing.h"

namespace fathom::testing {
namespace {

enum Slot : size_t { kOpened, kRefused };

/// Runs one damaged file; an Error is what may happen.
void try_one(const fs::path& path, void (*use)(const fs::path&)) {
  try {
    use(path);
    count_in(kOpened);
  } catch (const Error&) {
    count_in(kRefused);
  }
}

/// `n` cuts, spread evenly; all of them where the file has no more bytes.
void cut_everywhere(const fs::path& file, const fs::path& open, const std::string& bytes, size_t n) {
  const Ending ending = guarded(
      [&] {
        const size_t step = std::max<size_t>(bytes.size() / n, 1);
        for (size_t size = 0; size < bytes.size(); size += step) {
          at_step(size);
          put(file, std::string_view(bytes).substr(0, size));
          try_one(open, open_fully);
        }
      },
      {.cpu_s = 60});
  EXPECT_TRUE(ending.returned()) << ending.error << ending.failure;
  EXPECT_GT(counted(kRefused), 0u);
}

size_t number_from(const char* variable, size_t otherwise) {
  const char* text = std::getenv(variable);
  return text ? std::strtoull(text, nullptr, 10) : otherwise;
}
size_t flips_wanted() { return number_from("FATHOM_FLIPS", 1000); }

/// One to four changes within the first `size` bytes: bits, bytes of special value, or a word of all ones.
std::string flipped(std::string bytes, size_t size, std::mt19937_64& random) {
  for (size_t n = 1 + random() % 4; n > 0; --n) {
    const size_t at = random() % size;
    switch (random() % 4) {
      case 0: bytes[at] = "\x00\xFF\x7F\x80"[random() % 4]; break;
      case 1:
        for (size_t i = at; i < std::min(at + 8, size); ++i) bytes[i] = '\xFF';
        break;
      default: bytes[at] = static_cast<char>(bytes[at] ^ 1 << random() % 8); break;
    }
  }
  return bytes;
}

/// Many children of a few hundred flips each, so that a failure is found again quickly: seed and step name it.
void flip(const fs::path& file, const fs::path& open, const std::string& bytes, size_t header, size_t flips,
          void (*use)(const fs::path&)) {
  constexpr size_t kPerChild = 500;
  uint64_t opened = 0, refused = 0;
  for (size_t begin = number_from("FATHOM_FIRST_FLIP", 0); begin < flips; begin += kPerChild) {
    const Ending ending = guarded(
        [&] {
          for (size_t i = begin; i < std::min(begin + kPerChild, flips); ++i) {
            at_step(i + 1);
            std::mt19937_64 random(i);
            put(file, flipped(bytes, random() % 4 ? header : bytes.size(), random));
            try_one(open, use);
          }
        },
        {.cpu_s = 60});
    ASSERT_TRUE(ending.returned()) << ending.error << ending.failure;
    opened += counted(kOpened), refused += counted(kRefused);
  }
  EXPECT_GT(opened, 0u);
  EXPECT_GT(refused, 0u);
}

class L8 : public ::testing::Test {
 protected:
  fs::path path(const std::string& name = "model.gguf") const { return dir_.path() / name; }
  TempDir dir_;
};

TEST_F(L8, EveryCutOfAGguf) { cut_everywhere(path(), path(), TinyGguf().bytes(), 20'000); }

TEST_F(L8, EveryCutOfAFoldersFiles) {
  const Files files = tiny_folder();
  write_files(dir_.path(), files);
  for (const auto& [name, bytes] : files) {
    SCOPED_TRACE(name);
    cut_everywhere(path(name), dir_.path(), bytes, name == "model.safetensors" ? 300 : 2000);
    put(path(name), bytes);
  }
}

TEST_F(L8, FlippedBitsOfAGguf) {
  const std::string bytes = TinyGguf().bytes();
  flip(path(), path(), bytes, bytes.find("attn_q") + 500, flips_wanted(), open_and_compute);
}

TEST_F(L8, FlippedBitsOfAFoldersFiles) {
  const Files files = tiny_folder();
  write_files(dir_.path(), files);
  for (const auto& [name, bytes] : files) {
    SCOPED_TRACE(name);
    const size_t header = name == "model.safetensors" ? bytes.find("}}") : bytes.size();
    flip(path(name), dir_.path(), bytes, header, flips_wanted() / 5, open_and_compute);
    put(path(name), bytes);
  }
}

TEST_F(L8, FlippedBitsOfMixturesOfExperts) {
  for (const char* name : {"v3.Q4_K_M.gguf", "qwen3-moe.gguf"}) {
    const fs::path golden = golden_dir() / "gguf" / name;
    if (!fs::exists(golden)) GTEST_SKIP() << "needs golden/gguf";
    flip(path(), path(), read_file(golden), 4000, flips_wanted() / 20, open_and_compute);
  }
}

}  // namespace
}  // namespace fathom::testing

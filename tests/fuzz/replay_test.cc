// The seed corpus and every input that once was a finding, through the fuzz targets: without clang, and under the
// sanitizers of the ordinary build. A property that does not hold ends the process with its reason.
#include "tests/fuzz/targets.h"
#include "tests/precompiled.h"
#include "tests/testing.h"

namespace fathom::fuzz {
namespace {
namespace fs = std::filesystem;

struct Target {
  const char* name;
  void (*run)(std::string_view);
};
constexpr Target kTargets[] = {{"gguf", gguf},
                               {"safetensors", safetensors},
                               {"config", config},
                               {"tokenizer", tokenizer},
                               {"chat_template", chat_template},
                               {"output_parser", output_parser},
                               {"http_request", http_request},
                               {"gbnf", gbnf},
                               {"json_schema", json_schema}};

size_t replay(const std::string& kind, const Target& target) {
  const fs::path folder = testing::source_dir() / "tests" / "fuzz" / kind / target.name;
  size_t files = 0;
  if (!fs::exists(folder)) return files;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    SCOPED_TRACE(entry.path());
    EXPECT_NO_THROW(target.run(testing::read_file(entry.path())));
    ++files;
  }
  return files;
}

TEST(Fuzz, TheSeedCorpusIsTakenByEveryTarget) {
  for (const Target& target : kTargets) EXPECT_GT(replay("corpus", target), 0u) << target.name;
}

TEST(Fuzz, NoFindingComesBack) {
  for (const Target& target : kTargets) replay("findings", target);
}

// Files that were cut off on their way.
TEST(Fuzz, EveryPrefixOfASeedIsTakenToo) {
  for (const Target& target : kTargets) {
    const fs::path folder = testing::source_dir() / "tests" / "fuzz" / "corpus" / target.name;
    std::vector<fs::path> seeds;
    for (const fs::directory_entry& entry : fs::directory_iterator(folder)) seeds.push_back(entry.path());
    std::sort(seeds.begin(), seeds.end());
    for (size_t i = 0; i < seeds.size(); i += 4) {
      SCOPED_TRACE(seeds[i]);
      const std::string bytes = testing::read_file(seeds[i]);
      const size_t step = 1 + bytes.size() / 100;
      for (size_t size = 0; size < bytes.size(); size += step)
        EXPECT_NO_THROW(target.run(std::string_view(bytes).substr(0, size)));
    }
  }
}

}  // namespace
}  // namespace fathom::fuzz

// Which files a pull takes: lists as they are on the hub.
#include "hub/choose.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace fathom {
namespace {

using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

Repository repository(const std::vector<std::string>& paths) {
  Repository out{{"o", "n", ""}, "main", std::string(40, 'c'), {}};
  for (size_t i = 0; i < paths.size(); ++i) out.files.push_back({paths[i], 1000 * (i + 1), "", std::string(40, 'a')});
  return out;
}

std::vector<std::string> chosen(const std::vector<std::string>& paths, const std::string& file = "", bool all = false) {
  std::vector<std::string> out;
  for (const RemoteFile& f : choose_files(repository(paths), file, all).files) out.push_back(f.path);
  return out;
}

template <class E>
std::string refusal(const std::vector<std::string>& paths, const std::string& file = "") {
  try {
    choose_files(repository(paths), file, false);
  } catch (const E& e) {
    return e.what();
  }
  return "";
}

TEST(Choose, SafetensorsComeWithWhatTheyNeed) {
  EXPECT_THAT(chosen({".gitattributes", "LICENSE-CODE", "README.md", "config.json", "configuration_deepseek.py",
                      "figures/a.png", "generation_config.json", "inference/model.py", "inference/configs/x.json",
                      "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
                      "model.safetensors.index.json", "pytorch_model.bin.index.json", "pytorch_model.bin",
                      "tokenizer.json", "tokenizer.model", "tf_model.h5", "merges.txt", "requirements.txt"}),
              UnorderedElementsAre("LICENSE-CODE", "README.md", "config.json", "generation_config.json",
                                   "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
                                   "model.safetensors.index.json", "tokenizer.json", "tokenizer.model", "merges.txt"));
  EXPECT_THAT(chosen({"consolidated.safetensors", "model.safetensors", "mtp.safetensors"}),
              UnorderedElementsAre("model.safetensors", "mtp.safetensors"));
  EXPECT_THAT(chosen({"consolidated.safetensors", "params.json"}),
              UnorderedElementsAre("consolidated.safetensors", "params.json"));
}

TEST(Choose, WhatIsLeftOutIsSaid) {
  const Choice choice = choose_files(repository({"model.safetensors", "pytorch_model.bin", "x.gguf"}), "", false);
  ASSERT_EQ(choice.notes.size(), 2u);
  EXPECT_THAT(choice.notes[0], HasSubstr("pickle"));
  EXPECT_THAT(choice.notes[1], HasSubstr("o/n:FILE"));
}

TEST(Choose, SmallFilesComeFirst) {
  Repository r = repository({"a.safetensors", "b.json"});
  r.files[0].sha256 = std::string(64, 'b');
  EXPECT_EQ(choose_files(r, "", false).files[0].path, "b.json");
}

TEST(Choose, OneGgufIsTakenManyAreListed) {
  EXPECT_THAT(chosen({"x.gguf", "README.md", "config.json", "mmproj-x.gguf"}),
              UnorderedElementsAre("x.gguf", "README.md"));
  const std::string text =
      refusal<UsageError>({"x-Q4_0.gguf", "big/x-F16-00001-of-00002.gguf", "big/x-F16-00002-of-00002.gguf"});
  EXPECT_THAT(text, HasSubstr("2 GGUF files"));
  EXPECT_THAT(text, HasSubstr("x-Q4_0.gguf  1.00 kB"));
  EXPECT_THAT(text, HasSubstr("big/x-F16-00001-of-00002.gguf  5.00 kB in 2 parts"));
}

TEST(Choose, BySelector) {
  const std::vector<std::string> paths = {"x-Q4_K_M.gguf",
                                          "x-Q4_K_S.gguf",
                                          "x-UD-Q5_0.gguf",
                                          "y.Q8_0.gguf",
                                          "BF16/x-00001-of-00002.gguf",
                                          "BF16/x-00002-of-00002.gguf",
                                          "imatrix.dat"};
  EXPECT_THAT(chosen(paths, "Q4_K_M"), UnorderedElementsAre("x-Q4_K_M.gguf"));
  EXPECT_THAT(chosen(paths, "q5_0"), UnorderedElementsAre("x-UD-Q5_0.gguf"));
  EXPECT_THAT(chosen(paths, "Q8_0"), UnorderedElementsAre("y.Q8_0.gguf"));
  for (const char* part : {"BF16", "BF16/x-00001-of-00002.gguf", "x-00002-of-00002.gguf"})
    EXPECT_THAT(chosen(paths, part), UnorderedElementsAre("BF16/x-00001-of-00002.gguf", "BF16/x-00002-of-00002.gguf"));
  EXPECT_THAT(chosen(paths, "imatrix.dat"), UnorderedElementsAre("imatrix.dat"));
  EXPECT_THAT(refusal<Error>(paths, "Q4_K"), HasSubstr("no file fits 'Q4_K'"));
  EXPECT_THAT(refusal<UsageError>(paths, "x"), HasSubstr("more than one file fits"));
  EXPECT_THAT(refusal<UsageError>({"x-Q4_0.gguf", "y-Q4_0.gguf"}, "Q4_0"), HasSubstr("y-Q4_0.gguf"));
  EXPECT_THAT(refusal<Error>({"config.json"}, "x.gguf"), HasSubstr("no file x.gguf"));
}

TEST(Choose, PartsMustBeThere) {
  EXPECT_THAT(refusal<Error>({"x-00001-of-00003.gguf", "x-00003-of-00003.gguf"}),
              HasSubstr("expected 3 parts, found 2"));
  EXPECT_THAT(refusal<UsageError>({"x-00001-of-00002.gguf", "x-00002-of-00002.gguf", "x-00001-of-00001.gguf"}),
              HasSubstr("2 GGUF files"));
}

TEST(Choose, NothingToUse) {
  EXPECT_THAT(refusal<Error>({"pytorch_model.bin", "config.json"}), HasSubstr("pickle files only"));
  EXPECT_THAT(refusal<Error>({"config.json"}), HasSubstr("found none among 1 files"));
  EXPECT_THAT(refusal<Error>({}), HasSubstr("found none"));
  EXPECT_THAT(chosen({"pytorch_model.bin", "x/y.py"}, "", true), UnorderedElementsAre("pytorch_model.bin", "x/y.py"));
}

TEST(Choose, ShortNamesAreThoseOfQuantisations) {
  const auto group = [](const std::string& name) { return GgufGroup{.name = name, .paths = {name}}; };
  const std::vector<GgufGroup> all = {
      group("x-Q4_K_M.gguf"), group("x-IQ1_S.gguf"), group("x-UD-IQ1_S.gguf"), group("big/x-BF16-00001-of-00002.gguf"),
      group("x.Q8_0.gguf"),   group("x-f16.gguf"),   group("x-instruct.gguf"), group("7b.gguf")};
  const std::vector<std::string> want = {"Q4_K_M", "x-IQ1_S.gguf", "x-UD-IQ1_S.gguf", "BF16",
                                         "Q8_0",   "F16",          "x-instruct.gguf", "7b.gguf"};
  for (size_t i = 0; i < all.size(); ++i) {
    const std::string name = short_name(all[i], all);
    EXPECT_EQ(name, want[i]);
    size_t fitting = 0;
    for (const GgufGroup& g : all) fitting += g.name == name || fits(g, name);
    EXPECT_EQ(fitting, 1u) << name;
  }
}

}  // namespace
}  // namespace fathom

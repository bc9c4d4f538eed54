// The token cache: the ids of its texts, kept over openings, rebuilt when damaged, never half there.
#include "train/token_cache.h"

#include "base/error.h"
#include "base/json.h"
#include "formats/tokenizer_json.h"
#include "tests/precompiled.h"
#include "tests/testing.h"
#include "train/character_tokenizer.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

class TokenCacheTest : public ::testing::Test {
 protected:
  TokenCacheTest() {
    write_character_tokenizer(folder_.path(), all_bytes());
    const TokenizerSpec spec = *tokenizer_from_folder(folder_.path());
    identity_ = tokenizer_identity(spec);
    tokenizer_.emplace(spec);
  }
  fs::path write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_.path() / name, std::ios::binary) << text;
    return folder_.path() / name;
  }
  fs::path cache_folder() const { return folder_.path() / "cache"; }
  TokenCache open(const std::vector<fs::path>& files, const WorkProgress& progress = {}) const {
    return TokenCache::open(files, *tokenizer_, identity_, cache_folder(), progress);
  }
  std::string error_of(const std::vector<fs::path>& files) const {
    try {
      open(files);
    } catch (const Error& e) {
      return e.what();
    }
    return "no error";
  }
  size_t files_in_cache() const {
    if (!fs::exists(cache_folder())) return 0;
    return static_cast<size_t>(std::distance(fs::directory_iterator(cache_folder()), fs::directory_iterator()));
  }

  testing::TempDir folder_;
  std::string identity_;
  std::optional<Tokenizer> tokenizer_;
};

TEST_F(TokenCacheTest, HoldsAllDocumentsEachWithItsEndToken) {
  const std::vector<fs::path> files{
      write("a.txt", "Hi\n"),
      write("b.jsonl", "{\"text\": \"x\"}\n\n{\"text\": \"\", \"n\": 1}\r\n{\"text\": \"yz\"}")};
  const TokenCache cache = open(files);
  const std::vector<TokenId> want{'H', 'i', '\n', 256, 'x', 256, 256, 'y', 'z', 256};
  EXPECT_EQ(std::vector(cache.ids().begin(), cache.ids().end()), want);
  const auto starts = cache.document_starts();
  EXPECT_EQ(std::vector(starts.begin(), starts.end()), (std::vector<uint64_t>{0, 4, 6, 7, 10}));
  ASSERT_EQ(cache.sources().size(), 2u);
  EXPECT_EQ(cache.sources()[0].tokens, (TokenRange{0, 4}));
  EXPECT_EQ(cache.sources()[1].tokens, (TokenRange{4, 10}));
  EXPECT_EQ(cache.sources()[1].documents, 3u);
  EXPECT_EQ(cache.sources()[0].missing_bytes, 0u);
  EXPECT_EQ(cache.notice(), "not encoded before");

  const TokenCache again = open(files);
  EXPECT_EQ(again.notice(), "");
  EXPECT_EQ(again.manifest(), cache.manifest());
  EXPECT_EQ(std::vector(again.ids().begin(), again.ids().end()), want);
  EXPECT_EQ(again.sources(), cache.sources());
  EXPECT_EQ(files_in_cache(), 2u);
}

TEST_F(TokenCacheTest, AnotherTextNameOrTokenizerIsAnotherCache) {
  const fs::path file = write("a.txt", "one");
  std::set<fs::path> manifests{open({file}).manifest()};
  write("a.txt", "two");
  manifests.insert(open({file}).manifest());
  manifests.insert(open({write("b.txt", "two")}).manifest());
  manifests.insert(open({file, file}).manifest());
  manifests.insert(TokenCache::open({file}, *tokenizer_, "another", cache_folder()).manifest());
  EXPECT_EQ(manifests.size(), 5u);
  TokenizerSpec spec = *tokenizer_from_folder(folder_.path());
  spec.merges.emplace_back("a", "b");
  EXPECT_NE(tokenizer_identity(spec), identity_);
}

TEST_F(TokenCacheTest, WhatIsDamagedIsBuiltAgain) {
  const fs::path file = write("a.txt", "a text of some length");
  const TokenCache cache = open({file});
  const std::string manifest = testing::read_file(cache.manifest());
  const fs::path tokens = fs::path(cache.manifest()).replace_extension(".tokens");
  const std::string data = testing::read_file(tokens);
  const auto rebuilt = [&](const char* why) {
    const TokenCache again = open({file});
    EXPECT_NE(again.notice().find(why), std::string::npos) << again.notice();
    EXPECT_EQ(testing::read_file(cache.manifest()), manifest);
    EXPECT_EQ(testing::read_file(tokens), data);
  };
  std::string bad = data;
  bad[9] ^= 1;
  std::ofstream(tokens, std::ios::binary) << bad;
  rebuilt("checksum");
  std::ofstream(tokens, std::ios::binary) << data.substr(0, data.size() - 8);
  rebuilt("bytes: expected");
  fs::remove(tokens);
  rebuilt(".tokens");
  std::ofstream(cache.manifest()) << manifest.substr(0, manifest.size() / 2);
  rebuilt("expected JSON");
  std::string other = manifest;
  other.replace(other.find("\"version\": 1"), 12, "\"version\": 9");
  std::ofstream(cache.manifest()) << other;
  rebuilt("version");
}

TEST_F(TokenCacheTest, AnInterruptionLeavesNothing) {
  std::string lines;
  for (int i = 0; i < 100; ++i) lines += "{\"text\": \"some text\"}\n";
  const fs::path file = write("a.jsonl", lines);
  size_t calls = 0;
  EXPECT_THROW(open({file},
                    [&](uint64_t done, uint64_t total) {
                      EXPECT_LE(done, total);
                      if (++calls == 50) throw Interrupted();
                    }),
               Interrupted);
  EXPECT_EQ(calls, 50u);
  EXPECT_EQ(files_in_cache(), 0u);
  EXPECT_EQ(open({file}).ids().size(), 1000u);
}

TEST_F(TokenCacheTest, ErrorsNameFileAndLine) {
  EXPECT_NE(error_of({write("a.jsonl", "{\"text\": \"x\"}\n{\"text\": 3}\n")})
                .find("a.jsonl:2: text: expected a string, found 3"),
            std::string::npos);
  EXPECT_NE(error_of({write("a.jsonl", "{\"text\": \"x\"}\n[]\n")}).find("a.jsonl:2: expected a JSON object"),
            std::string::npos);
  EXPECT_NE(error_of({write("a.jsonl", "{\"text\"\n")}).find("a.jsonl:1: expected JSON"), std::string::npos);
  EXPECT_NE(error_of({write("a.csv", "x")}).find("a.csv: expected training text in a file .txt or .jsonl"),
            std::string::npos);
  EXPECT_NE(error_of({write("a.txt", "")}).find("a.txt: expected a text"), std::string::npos);
  EXPECT_NE(error_of({folder_.path() / "absent.txt"}).find("absent.txt"), std::string::npos);
  EXPECT_NE(error_of({}).find("at least one file"), std::string::npos);
  EXPECT_EQ(files_in_cache(), 0u);
}

TEST_F(TokenCacheTest, SplitsOffTheEndOfEachSource) {
  const TokenCache cache =
      open({write("a.txt", std::string(19, 'a')), write("b.txt", std::string(4, 'b'))});  // 20 and 5
  const TokenSplit split = cache.split(0.1);
  EXPECT_EQ(split.train, (std::vector<TokenRange>{{0, 18}, {20, 24}}));
  EXPECT_EQ(split.validation, (std::vector<TokenRange>{{18, 20}, {24, 25}}));
  EXPECT_EQ(cache.split(0).train, (std::vector<TokenRange>{{0, 20}, {20, 25}}));
  EXPECT_TRUE(cache.split(0).validation.empty());
  EXPECT_THROW(cache.split(1), Error);
  EXPECT_THROW(cache.split(-0.1), Error);
}

TEST_F(TokenCacheTest, CountsTheBytesThatTheVocabularyLacks) {
  const testing::TempDir other;
  write_character_tokenizer(other.path(), "abc");
  const TokenizerSpec spec = *tokenizer_from_folder(other.path());
  const TokenCache cache =
      TokenCache::open({write("a.txt", "abc d! cab")}, Tokenizer(spec), tokenizer_identity(spec), cache_folder());
  EXPECT_EQ(cache.sources()[0].missing_bytes, 4u);
  EXPECT_EQ(cache.ids().size(), 7u);
}

}  // namespace
}  // namespace fathom

// The byte tokenizer as our own reader sees it.
#include "train/character_tokenizer.h"

#include "base/error.h"
#include "formats/tokenizer_json.h"
#include "tests/precompiled.h"
#include "tests/testing.h"
#include "text/tokenizer.h"

namespace fathom {
namespace {

TEST(CharacterTokenizer, HasOneTokenPerByteOfTheText) {
  const testing::TempDir folder;
  EXPECT_EQ(write_character_tokenizer(folder.path(), "b a\nab\xC3\xA9"), 7u);  // \n, space, a, b, 0xA9, 0xC3, the end
  const Tokenizer tokenizer(*tokenizer_from_folder(folder.path()));
  EXPECT_EQ(tokenizer.vocab_size(), 7u);
  EXPECT_EQ(tokenizer.encode("ab a\n\xC3\xA9"), (std::vector<TokenId>{2, 3, 1, 2, 0, 5, 4}));
  EXPECT_EQ(tokenizer.decode(std::vector<TokenId>{2, 3, 1, 2, 0, 5, 4}), "ab a\n\xC3\xA9");
  EXPECT_EQ(tokenizer.spec().eos, TokenId{6});
  EXPECT_TRUE(tokenizer.is_end_of_generation(6));
  EXPECT_EQ(tokenizer.kind(6), TokenKind::kControl);
  EXPECT_EQ(tokenizer.token_bytes(6), "<|endoftext|>");
  EXPECT_FALSE(tokenizer.spec().add_bos);
  EXPECT_FALSE(tokenizer.spec().add_eos);
}

TEST(CharacterTokenizer, WithAllBytesKnowsAnyText) {
  const testing::TempDir folder;
  EXPECT_EQ(write_character_tokenizer(folder.path(), all_bytes()), 257u);
  const Tokenizer tokenizer(*tokenizer_from_folder(folder.path()));
  const std::vector<uint8_t> random = testing::random_bytes(5000, 3);
  const std::string text(random.begin(), random.end());
  const std::vector<TokenId> ids = tokenizer.encode(text + "<|endoftext|>");
  ASSERT_EQ(ids.size(), text.size() + 13) << "a control token in a text is text";
  for (size_t i = 0; i < text.size(); ++i) ASSERT_EQ(ids[i], static_cast<TokenId>(random[i]));
}

TEST(CharacterTokenizer, NeedsATextAndAFolder) {
  const testing::TempDir folder;
  EXPECT_THROW(write_character_tokenizer(folder.path(), ""), Error);
  EXPECT_THROW(write_character_tokenizer(folder.path() / "absent", "a"), Error);
}

}  // namespace
}  // namespace fathom

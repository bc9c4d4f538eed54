#include "server/app/snippet.h"

#include <gtest/gtest.h>

#include "text/utf8.h"

namespace fathom {
namespace {

TEST(Snippet, StandsAroundTheFirstHit) {
  const std::vector<FoldedWord> words = folded_words("CREME, n-x n");
  EXPECT_EQ(words.size(), 3u);
  EXPECT_EQ(snippet("Crème brûlée an X: \nNo", words), "\1Crème\2 brûlée an \1X\2: \n\1No\2");
  EXPECT_EQ(snippet("cre\xCC\x80me", words), "\1cre\xCC\x80me\2") << "an accent by itself";
  EXPECT_EQ(snippet("brûlée", words), std::nullopt);
  EXPECT_EQ(snippet("", words), std::nullopt);
  EXPECT_EQ(snippet("aaa bbb ccc ddd n eee fff ggg hhh iii", words, 16), "…\1n\2 eee fff ggg…");
  EXPECT_EQ(snippet("n" + std::string(100, 'x'), words, 10), "\1n" + std::string(9, 'x') + "\2…");
  EXPECT_EQ(snippet("\xFF\xC3 n\xE2\x82", words), "\xFF\xC3 \1n\2\xE2\x82") << "bytes that are no text";
  for (size_t bytes = 1; bytes < 40; ++bytes)
    EXPECT_EQ(valid_utf8_prefix(*snippet("日本語日本語日本語 nöö日本語日本語 日本語", words, bytes)),
              snippet("日本語日本語日本語 nöö日本語日本語 日本語", words, bytes)->size());
  EXPECT_EQ(beginning("über alles", 7), "über…");
}

}  // namespace
}  // namespace fathom

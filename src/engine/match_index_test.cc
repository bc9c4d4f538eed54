// Against a plain search of the whole text.
#include "engine/match_index.h"

#include "tests/testing.h"

namespace fathom {
namespace {

using Match = MatchIndex::Match;

size_t same_before(std::span<const TokenId> text, size_t end) {
  size_t n = 0;
  while (n < end && n < MatchIndex::kLongest && text[end - 1 - n] == text[text.size() - 1 - n]) ++n;
  return n;
}

std::optional<Match> plain_search(std::span<const TokenId> text) {
  for (const size_t n : MatchIndex::kLengths)
    for (size_t end = text.size() - 1; end >= n && text.size() > n; --end)
      if (same_before(text, end) >= n) return Match{end, same_before(text, end)};
  return std::nullopt;
}

void expect_as_plain(std::span<const TokenId> text) {
  MatchIndex index;
  for (size_t i = 0; i < text.size(); ++i) {
    index.append(text[i]);
    const std::optional<Match> want = plain_search(text.first(i + 1)), got = index.match();
    ASSERT_EQ(got.has_value(), want.has_value()) << "after token " << i;
    if (!want) continue;
    ASSERT_EQ(got->next, want->next) << "after token " << i;
    ASSERT_EQ(got->length, want->length) << "after token " << i;
    std::vector<TokenId> grown(text.begin(), text.begin() + static_cast<ptrdiff_t>(i) + 1);
    for (size_t d = 0; d < 9; ++d) {
      ASSERT_EQ(index.following(d), grown[want->next + d]) << "after token " << i;
      grown.push_back(index.following(d));
    }
  }
}

TEST(MatchIndex, FindsWhatAPlainSearchFinds) {
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    const size_t kinds = 1 + random() % 6;
    std::vector<TokenId> text(1 + random() % 300);
    for (size_t i = 0; i < text.size(); ++i) {
      text[i] = static_cast<TokenId>(random() % kinds);
      if (i < 40 || random() % 15 != 0) continue;
      // Quotes itself for a while.
      for (const size_t from = random() % (i - 20), begin = i; i < text.size() && i < begin + 20; ++i)
        text[i] = text[from + i - begin];
      --i;
    }
    expect_as_plain(text);
  }
}

TEST(MatchIndex, GrowsWithoutForgetting) {
  MatchIndex index;
  for (TokenId id = 0; id < 5000; ++id) index.append(id);
  EXPECT_FALSE(index.match());
  for (TokenId id = 10; id < 18; ++id) index.append(id);
  ASSERT_TRUE(index.match());
  EXPECT_EQ(index.match()->next, 18u);
  EXPECT_EQ(index.match()->length, 8u);
  EXPECT_EQ(index.following(0), 18);
  EXPECT_EQ(index.following(4), 22);
}

}  // namespace
}  // namespace fathom

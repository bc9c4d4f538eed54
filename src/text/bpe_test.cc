#include "text/bpe.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "base/error.h"

namespace fathom {
namespace {

/// A vocabulary of the 256 bytes and of what `merges` make of them, in that order.
struct Made {
  std::vector<std::string> tokens;
  std::vector<Bpe::Merge> merges;

  Made() {
    for (int b = 0; b < 256; ++b) tokens.emplace_back(1, static_cast<char>(b));
  }
  TokenId id(const std::string& text) const {
    return static_cast<TokenId>(std::find(tokens.begin(), tokens.end(), text) - tokens.begin());
  }
  void merge(const std::string& left, const std::string& right) {
    if (id(left + right) == static_cast<TokenId>(tokens.size())) tokens.push_back(left + right);
    merges.push_back({id(left), id(right), id(left + right)});
  }
  BpeVocab vocab() const { return BpeVocab(tokens, std::vector<bool>(tokens.size(), true)); }
};

/// The definition, word by word: merge the leftmost of the pairs of lowest rank, until there is none.
std::vector<TokenId> merge_by_definition(const Made& made, const std::string& piece) {
  std::vector<TokenId> ids;
  for (const char c : piece) ids.push_back(static_cast<uint8_t>(c));
  for (;;) {
    size_t best_rank = made.merges.size(), best_at = 0;
    for (size_t at = 0; at + 1 < ids.size(); ++at)
      for (size_t rank = 0; rank < best_rank; ++rank)
        if (made.merges[rank].left == ids[at] && made.merges[rank].right == ids[at + 1]) best_rank = rank, best_at = at;
    if (best_rank == made.merges.size()) return ids;
    ids[best_at] = made.merges[best_rank].merged;
    ids.erase(ids.begin() + static_cast<ptrdiff_t>(best_at) + 1);
  }
}

std::vector<TokenId> encode(const Bpe& bpe, std::string_view piece, BpeScratch& scratch) {
  std::vector<TokenId> ids;
  bpe.encode(piece, ids, scratch);
  return ids;
}

/// Merges of random existing tokens in any order, so that a merge often has a lower rank than those that make its
/// parts.
Made random_made(std::mt19937& random, size_t letters, size_t merges) {
  Made made;
  std::vector<std::string> texts;
  for (size_t i = 0; i < letters; ++i) texts.emplace_back(1, static_cast<char>('a' + i));
  for (size_t i = 0; i < merges; ++i) {
    const std::string left = texts[random() % texts.size()], right = texts[random() % texts.size()];
    if (left.size() + right.size() > 12) continue;
    const bool known = std::any_of(made.merges.begin(), made.merges.end(),
                                   [&](const auto& m) { return m.left == made.id(left) && m.right == made.id(right); });
    if (known) continue;
    made.merge(left, right);
    texts.push_back(left + right);
  }
  std::shuffle(made.merges.begin(), made.merges.end(), random);
  return made;
}

TEST(Bpe, EqualsTheDefinitionForShortAndLongPieces) {
  std::mt19937 random(3);
  for (int round = 0; round < 150; ++round) {
    const size_t letters = 1 + random() % 4;
    const Made made = random_made(random, letters, 40);
    const BpeVocab vocab = made.vocab();
    const Bpe bpe(vocab, made.merges, false);
    BpeScratch scratch;
    for (int i = 0; i < 40; ++i) {
      std::string piece;
      for (size_t n = 1 + random() % (i % 4 == 0 ? 200 : 40); n > 0; --n)
        piece += static_cast<char>('a' + random() % letters);
      const std::vector<TokenId> want = merge_by_definition(made, piece);
      ASSERT_EQ(encode(bpe, piece, scratch), want) << piece;
      ASSERT_EQ(encode(bpe, piece, scratch), want) << piece << ", from the cache";
    }
  }
}

TEST(Bpe, BothQueuesHaveOneOrder) {
  std::mt19937 random(4);
  for (int round = 0; round < 200; ++round) {
    PairHeap heap;
    PairBuckets buckets;
    const auto any = [&] {
      return QueuedPair{static_cast<uint32_t>(random() % 6), static_cast<uint32_t>(random() % 50)};
    };
    for (int i = 0; i < 60; ++i) {
      const QueuedPair pair = any();
      heap.add(pair), buckets.add(pair);
    }
    heap.start(), buckets.start();
    while (!heap.empty()) {
      ASSERT_FALSE(buckets.empty());
      const QueuedPair a = heap.pop(), b = buckets.pop();
      ASSERT_EQ(std::pair(a.rank, a.position), std::pair(b.rank, b.position));
      if (random() % 3 > 0) continue;
      const QueuedPair pair = any();  // of lower rank too
      heap.push(pair), buckets.push(pair);
    }
    ASSERT_TRUE(buckets.empty());
  }
}

TEST(Bpe, AVeryLongPieceEqualsItsPartsWhereNothingMergesAcross) {
  std::mt19937 random(6);
  const Made made = random_made(random, 3, 60);  // of a, b, c: no merge has a z
  const BpeVocab vocab = made.vocab();
  const Bpe bpe(vocab, made.merges, false);
  BpeScratch scratch;
  std::string whole;
  std::vector<TokenId> want;
  while (whole.size() < 100'000) {
    std::string part;
    for (size_t n = 1 + random() % 300; n > 0; --n) part += static_cast<char>('a' + random() % 3);
    whole += part + "z";
    bpe.encode(part, want, scratch);
    want.push_back('z');
  }
  EXPECT_EQ(encode(bpe, whole, scratch), want);
}

TEST(Bpe, IgnoreMergesTakesAWholePieceAsItIs) {
  Made made;
  made.merge("a", "b");
  made.tokens.push_back("abc");  // no merge makes it
  const BpeVocab vocab = made.vocab();
  BpeScratch scratch, other;
  EXPECT_EQ(encode(Bpe(vocab, made.merges, true), "abc", scratch), (std::vector<TokenId>{made.id("abc")}));
  const Bpe merging(vocab, made.merges, false);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(encode(merging, "abc", other), (std::vector<TokenId>{made.id("ab"), 'c'}));
}

TEST(Bpe, WorkGrowsLinearlyWithTheLengthOfAPiece) {
  Made made;
  for (std::string run = "a"; run.size() < 128; run += run) made.merge(run, run);
  made.merge("a", "b"), made.merge("ab", "ab"), made.merge("b", "a");
  const BpeVocab vocab = made.vocab();
  const Bpe bpe(vocab, made.merges, false);
  for (const std::string unit : {"a", "ab", "aab", "abbaaab", "z"}) {
    std::vector<double> per_byte;
    for (size_t n = 1000; n <= 1'000'000; n *= 10) {
      std::string piece;
      while (piece.size() < n) piece += unit;
      BpeScratch scratch;
      encode(bpe, piece, scratch);
      per_byte.push_back(static_cast<double>(scratch.steps()) / static_cast<double>(piece.size()));
    }
    for (const double steps : per_byte) EXPECT_LT(steps, 6.0) << unit;
    EXPECT_LT(per_byte.back(), per_byte.front() * 1.1 + 0.1) << unit;
  }
}

TEST(Bpe, AByteWithoutATokenIsAnError) {
  Made made;
  made.tokens.resize('z');  // no z and nothing above
  const BpeVocab vocab = made.vocab();
  const Bpe bpe(vocab, {}, false);
  BpeScratch scratch;
  EXPECT_EQ(encode(bpe, "ay", scratch), (std::vector<TokenId>{'a', 'y'}));
  EXPECT_EQ(encode(bpe, "az", scratch), encode(bpe, "a", scratch)) << "as Hugging Face's BPE without an unknown token";
  EXPECT_TRUE(encode(bpe, std::string(100, 'z'), scratch).empty());
}

TEST(BpeVocab, FindsWhatItHoldsAndRefusesTwins) {
  const BpeVocab vocab({"a", "", "abc", "x"}, {true, false, true, false});
  EXPECT_EQ(vocab.find("a"), 0);
  EXPECT_EQ(vocab.find("abc"), 2);
  EXPECT_EQ(vocab.find("x"), -1);
  EXPECT_EQ(vocab.find("ab"), -1);
  EXPECT_EQ(vocab.find("abcd"), -1);
  EXPECT_EQ(vocab.bytes(2), "abc");
  EXPECT_THROW(BpeVocab({"a", "a"}, {true, true}), Error);
}

}  // namespace
}  // namespace fathom

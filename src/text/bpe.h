// Byte-pair encoding of one piece of text: from single bytes, the adjacent pair of lowest rank is merged, the leftmost
// on ties, until no pair is in the merge table. text/tokenizer.cc calls it. Bpe is thread-safe; a BpeScratch belongs to
// one call at a time. Source: arXiv:1508.07909; spec/tokenizers.md 2, step 5.
#pragma once
#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "text/bpe_queue.h"
#include "text/bpe_vocab.h"
#include "text/tokenizer_spec.h"

namespace fathom {

/// What encoding reuses from call to call: buffers, and a bounded cache of pieces seen (1 MiB).
class BpeScratch {
 public:
  BpeScratch();
  /// Work done so far: pairs looked at and queue entries pushed and popped. Tests show that it grows linearly.
  uint64_t steps() const { return steps_; }
  /// Gives back what a very long piece has left behind.
  void shrink();

 private:
  friend class Bpe;
  struct alignas(64) Cached {
    uint8_t size = 0;   // bytes of the piece; 0: empty slot
    uint8_t count = 0;  // ids
    std::array<char, 30> bytes;
    std::array<TokenId, 8> ids;
  };
  std::vector<Cached> cache_;  // direct-mapped
  // One element per symbol of a long piece, in a list by index.
  std::vector<TokenId> symbols_;
  std::vector<uint32_t> next_, previous_, ranks_;
  PairHeap heap_;
  uint64_t steps_ = 0;
};

class Bpe {
 public:
  struct Merge {
    TokenId left, right, merged;
  };
  /// `merges` in rank order; `vocab` outlives this. With `ignore_merges` a piece that is a token is not merged.
  Bpe(const BpeVocab& vocab, const std::vector<Merge>& merges, bool ignore_merges);

  /// Appends the ids of `piece`. Throws Error if a byte has no token, or if the piece is longer than 2^30 bytes.
  void encode(std::string_view piece, std::vector<TokenId>& out, BpeScratch& scratch) const;

  /// The token of a single byte, or -1.
  TokenId byte_token(uint8_t byte) const { return byte_tokens_[byte]; }

 private:
  static constexpr uint32_t kNoRank = UINT32_MAX;
  struct Slot {
    uint64_t pair = UINT64_MAX;  // left << 32 | right; all ones: empty
    uint32_t rank = kNoRank;
  };
  enum Whole : uint8_t { kUnknown, kYes, kNo };

  void encode_uncached(std::string_view piece, uint64_t hash, std::vector<TokenId>& out, BpeScratch& scratch) const;
  void merge_short(std::string_view piece, std::vector<TokenId>& out, BpeScratch& scratch) const;
  template <class Queue>
  void merge_long(std::string_view piece, Queue& queue, std::vector<TokenId>& out, BpeScratch& scratch) const;
  TokenId symbol_of(char byte) const;  ///< -1: the vocabulary has no token for it
  std::string without_unknown_bytes(std::string_view piece) const;
  size_t slot_of(uint64_t pair) const;
  uint32_t rank_of(TokenId left, TokenId right) const;

  const BpeVocab* vocab_;
  bool ignore_merges_;
  std::array<TokenId, 256> byte_tokens_;
  bool complete_ = true;     // every byte has a token
  std::vector<Slot> slots_;  // open addressing, a power of two
  std::vector<TokenId> merged_of_rank_;
  uint64_t seed_;
  /// Per token: whether its own bytes merge into it and nothing else; found out when a piece first asks.
  std::unique_ptr<std::atomic<uint8_t>[]> whole_;
};

}  // namespace fathom

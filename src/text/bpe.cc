#include "text/bpe.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <iomanip>

#include "base/error.h"

namespace fathom {
namespace {

constexpr size_t kCacheSlots = 1 << 14;
constexpr size_t kShortPiece = 32;                 // bytes; up to here scanning beats a heap
constexpr size_t kLongPiece = 1 << 14;             // from here on a heap waits on memory
constexpr size_t kLongestPiece = size_t{1} << 30;  // bytes; offsets are 32-bit
constexpr size_t kKeptSymbols = size_t{1} << 16;   // buffers larger than this are given back

uint64_t pair_key(TokenId left, TokenId right) {
  return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
}

}  // namespace

BpeScratch::BpeScratch() : cache_(kCacheSlots) {}

void BpeScratch::shrink() {
  if (symbols_.capacity() <= kKeptSymbols) return;
  symbols_ = {}, next_ = {}, previous_ = {}, ranks_ = {}, heap_ = {};
}

Bpe::Bpe(const BpeVocab& vocab, const std::vector<Merge>& merges, bool ignore_merges)
    : vocab_(&vocab),
      ignore_merges_(ignore_merges),
      seed_(random_hash_seed() | 1),
      whole_(new std::atomic<uint8_t>[vocab.size()] {}) {
  check(merges.size() < kNoRank / 4, "ranks are 32-bit");
  for (size_t b = 0; b < 256; ++b) {
    const char byte = static_cast<char>(b);
    byte_tokens_[b] = vocab.find({&byte, 1});
    complete_ = complete_ && byte_tokens_[b] >= 0;
  }
  slots_.resize(std::bit_ceil(merges.size() * 3 / 2 + 2));
  merged_of_rank_.reserve(merges.size());
  for (const Merge& merge : merges) {
    Slot& slot = slots_[slot_of(pair_key(merge.left, merge.right))];
    slot = {pair_key(merge.left, merge.right),
            static_cast<uint32_t>(merged_of_rank_.size())};  // the last of equals counts
    merged_of_rank_.push_back(merge.merged);
  }
}

size_t Bpe::slot_of(uint64_t pair) const {
  size_t slot = hash_mix(pair ^ seed_, 0x9E3779B97F4A7C15u) & (slots_.size() - 1);
  while (slots_[slot].pair != pair && slots_[slot].pair != UINT64_MAX) slot = (slot + 1) & (slots_.size() - 1);
  return slot;
}

uint32_t Bpe::rank_of(TokenId left, TokenId right) const { return slots_[slot_of(pair_key(left, right))].rank; }

TokenId Bpe::symbol_of(char byte) const { return byte_tokens_[static_cast<uint8_t>(byte)]; }

std::string Bpe::without_unknown_bytes(std::string_view piece) const {
  std::string known;
  for (const char byte : piece)
    if (symbol_of(byte) >= 0) known += byte;
  return known;
}

void Bpe::encode(std::string_view piece, std::vector<TokenId>& out, BpeScratch& scratch) const {
  const uint64_t hash = vocab_->hash(piece);
  BpeScratch::Cached& cached = scratch.cache_[hash >> 32 & (kCacheSlots - 1)];
  if (piece.empty()) return;
  if (piece.size() > cached.bytes.size()) return encode_uncached(piece, hash, out, scratch);
  if (cached.size == piece.size() && std::memcmp(cached.bytes.data(), piece.data(), piece.size()) == 0) {
    out.insert(out.end(), cached.ids.begin(), cached.ids.begin() + cached.count);
    return;
  }
  const size_t before = out.size();
  encode_uncached(piece, hash, out, scratch);
  const size_t count = out.size() - before;
  if (count > cached.ids.size()) return;
  cached.size = static_cast<uint8_t>(piece.size());
  cached.count = static_cast<uint8_t>(count);
  std::memcpy(cached.bytes.data(), piece.data(), piece.size());
  std::copy_n(out.begin() + static_cast<ptrdiff_t>(before), count, cached.ids.begin());
}

template <class Queue>
void Bpe::merge_long(std::string_view piece, Queue& queue, std::vector<TokenId>& out, BpeScratch& scratch) const {
  const auto n = static_cast<uint32_t>(piece.size());
  std::vector<TokenId>& symbols = scratch.symbols_;
  std::vector<uint32_t>&next = scratch.next_, &previous = scratch.previous_, &ranks = scratch.ranks_;
  symbols.resize(n), next.resize(n), previous.resize(n), ranks.resize(n);
  for (uint32_t i = 0; i < n; ++i) symbols[i] = symbol_of(piece[i]), next[i] = i + 1, previous[i] = i - 1;
  // An entry of the queue is current while its rank is ranks[position]: a pair determines its rank, and every change of
  // a pair changes ranks[].
  for (uint32_t i = 0; i < n; ++i) {
    ranks[i] = i + 1 < n ? rank_of(symbols[i], symbols[i + 1]) : kNoRank;
    if (ranks[i] != kNoRank) queue.add({ranks[i], i});
  }
  queue.start();
  scratch.steps_ += 2 * uint64_t{n};
  const auto update = [&](uint32_t at) {
    ranks[at] = next[at] < n ? rank_of(symbols[at], symbols[next[at]]) : kNoRank;
    if (ranks[at] == kNoRank) return;
    queue.push({ranks[at], at});
    ++scratch.steps_;
  };
  while (!queue.empty()) {
    const QueuedPair least = queue.pop();
    const uint32_t at = least.position;
    ++scratch.steps_;
    if (ranks[at] != least.rank) continue;
    const uint32_t gone = next[at];
    symbols[at] = merged_of_rank_[least.rank];
    ranks[gone] = kNoRank;
    next[at] = next[gone];
    if (next[at] < n) previous[next[at]] = at;
    update(at);
    if (at > 0) update(previous[at]);
  }
  for (uint32_t i = 0; i < n; i = next[i]) out.push_back(symbols[i]);
}

void Bpe::encode_uncached(std::string_view piece, uint64_t hash, std::vector<TokenId>& out, BpeScratch& scratch) const {
  if (!complete_ && !std::all_of(piece.begin(), piece.end(), [&](char byte) { return symbol_of(byte) >= 0; }))
    return encode(without_unknown_bytes(piece), out, scratch);
  const TokenId token = vocab_->find(piece, hash);
  std::atomic<uint8_t>* whole = token < 0 ? nullptr : &whole_[static_cast<size_t>(token)];
  if (whole && (ignore_merges_ || whole->load(std::memory_order_relaxed) == kYes)) return out.push_back(token);
  const size_t before = out.size();
  if (piece.size() <= kShortPiece) {
    merge_short(piece, out, scratch);
  } else if (piece.size() <= kLongPiece) {
    scratch.heap_.clear();
    merge_long(piece, scratch.heap_, out, scratch);
  } else if (piece.size() <= kLongestPiece) {
    PairBuckets buckets;
    merge_long(piece, buckets, out, scratch);
  } else {
    throw Error(cat("text: expected at most ", kLongestPiece, " bytes without a cut, found ", piece.size()));
  }
  if (whole) whole->store(out.size() == before + 1 && out.back() == token ? kYes : kNo, std::memory_order_relaxed);
}

void Bpe::merge_short(std::string_view piece, std::vector<TokenId>& out, BpeScratch& scratch) const {
  std::array<TokenId, kShortPiece> symbols;
  std::array<uint32_t, kShortPiece> ranks;  // ranks[i]: of the pair (i, i + 1)
  size_t n = piece.size();
  for (size_t i = 0; i < n; ++i) symbols[i] = symbol_of(piece[i]);
  for (size_t i = 0; i + 1 < n; ++i) ranks[i] = rank_of(symbols[i], symbols[i + 1]);
  while (n > 1) {
    scratch.steps_ += n;
    const size_t at = static_cast<size_t>(std::min_element(ranks.begin(), ranks.begin() + (n - 1)) - ranks.begin());
    if (ranks[at] == kNoRank) break;
    symbols[at] = merged_of_rank_[ranks[at]];
    std::copy(symbols.begin() + at + 2, symbols.begin() + n, symbols.begin() + at + 1);
    if (at + 2 < n) std::copy(ranks.begin() + at + 1, ranks.begin() + (n - 1), ranks.begin() + at);
    --n;
    if (at + 1 < n) ranks[at] = rank_of(symbols[at], symbols[at + 1]);
    if (at > 0) ranks[at - 1] = rank_of(symbols[at - 1], symbols[at]);
  }
  out.insert(out.end(), symbols.begin(), symbols.begin() + n);
}

}  // namespace fathom

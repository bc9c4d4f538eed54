// Two priority queues of adjacent pairs for text/bpe.cc, with the same order: by rank, then by position. PairHeap is
// for pieces of a line or so, PairBuckets for very long ones, where a heap would wait on memory. Not thread-safe.
#pragma once
#include <algorithm>
#include <cstdint>
#include <functional>
#include <unordered_map>
#include <vector>

namespace fathom {

struct QueuedPair {
  uint32_t rank, position;
};

/// A min-heap with eight children per node: one cache line per level.
class PairHeap {
 public:
  void clear() { keys_.clear(); }
  /// Adds a pair before start().
  void add(QueuedPair pair) { keys_.push_back(key_of(pair)); }
  void start() {
    if (keys_.size() < 2) return;
    for (size_t at = (keys_.size() - 2) / kArity + 1; at-- > 0;) sift_down(at);
  }
  bool empty() const { return keys_.empty(); }
  void push(QueuedPair pair) {
    const uint64_t key = key_of(pair);
    size_t at = keys_.size();
    keys_.push_back(key);
    for (; at > 0 && keys_[(at - 1) / kArity] > key; at = (at - 1) / kArity) keys_[at] = keys_[(at - 1) / kArity];
    keys_[at] = key;
  }
  QueuedPair pop() {
    const uint64_t least = keys_[0];
    keys_[0] = keys_.back();
    keys_.pop_back();
    if (!keys_.empty()) sift_down(0);
    return {static_cast<uint32_t>(least >> 32), static_cast<uint32_t>(least)};
  }

 private:
  static constexpr size_t kArity = 8;
  static uint64_t key_of(QueuedPair pair) { return uint64_t{pair.rank} << 32 | pair.position; }
  void sift_down(size_t at) {
    const uint64_t key = keys_[at];
    for (;;) {
      const size_t first = at * kArity + 1;
      if (first >= keys_.size()) break;
      const auto children = keys_.begin() + static_cast<ptrdiff_t>(first);
      const auto least =
          std::min_element(children, children + static_cast<ptrdiff_t>(std::min(kArity, keys_.size() - first)));
      if (*least >= key) break;
      keys_[at] = *least;
      at = static_cast<size_t>(least - keys_.begin());
    }
    keys_[at] = key;
  }

  std::vector<uint64_t> keys_;  // rank << 32 | position
};

/// A list of positions per rank and a heap of the ranks. Positions mostly arrive in ascending order, so that lists are
/// read and written from front to back; what arrives in a list that is being read goes to a heap beside it.
class PairBuckets {
 public:
  void add(QueuedPair pair) { push(pair); }
  void start() {}
  bool empty() {
    while (!ranks_.empty() && bucket(ranks_.front()).done()) {
      bucket(ranks_.front()) = {};
      std::pop_heap(ranks_.begin(), ranks_.end(), std::greater<>());
      ranks_.pop_back();
    }
    return ranks_.empty();
  }
  void push(QueuedPair pair) {
    Bucket& b = bucket(pair.rank);
    if (!b.queued) {
      b.queued = true;
      ranks_.push_back(pair.rank);
      std::push_heap(ranks_.begin(), ranks_.end(), std::greater<>());
    }
    if (b.being_read) {
      b.late.push_back(pair.position);
      std::push_heap(b.late.begin(), b.late.end(), std::greater<>());
    } else {
      b.positions.push_back(pair.position);
    }
  }
  /// Only after empty() said false.
  QueuedPair pop() {
    Bucket& b = bucket(ranks_.front());
    if (!b.being_read) {
      b.being_read = true;
      if (!std::is_sorted(b.positions.begin(), b.positions.end())) std::sort(b.positions.begin(), b.positions.end());
    }
    if (b.late.empty() || (b.next < b.positions.size() && b.positions[b.next] < b.late.front()))
      return {ranks_.front(), b.positions[b.next++]};
    std::pop_heap(b.late.begin(), b.late.end(), std::greater<>());
    const uint32_t position = b.late.back();
    b.late.pop_back();
    return {ranks_.front(), position};
  }

 private:
  struct Bucket {
    bool queued = false;  // its rank is in ranks_
    bool being_read = false;
    size_t next = 0;                  // of positions
    std::vector<uint32_t> positions;  // in ascending order once being_read
    std::vector<uint32_t> late;       // a min-heap
    bool done() const { return next == positions.size() && late.empty(); }
  };
  Bucket& bucket(uint32_t rank) {
    Memo& memo = memo_[rank % kMemos];
    if (!memo.bucket || memo.rank != rank) memo = {rank, &buckets_[rank]};
    return *memo.bucket;
  }

  static constexpr size_t kMemos = 256;
  struct Memo {
    uint32_t rank = 0;
    Bucket* bucket = nullptr;
  };
  std::unordered_map<uint32_t, Bucket> buckets_;  // its elements stay where they are
  std::vector<Memo> memo_ = std::vector<Memo>(kMemos);
  std::vector<uint32_t> ranks_;  // a min-heap, each rank once
};

}  // namespace fathom

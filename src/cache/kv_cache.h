// The paged KV cache (spec/numerics.md 6): one page id per 64 positions serves all layers; a sequence is a table of
// pages. The scheduler's thread owns pool and sequences.
#pragma once
#include <cstddef>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "kernels/backend.h"

namespace fathom {

/// What one position takes in each layer. MLA layers store latents only.
struct KvLayout {
  CacheType type = CacheType::kF32;
  std::vector<LayerCache> layers;
  size_t page_bytes = 0;

  /// Appends a layer with keys and values of kv_heads heads of d values.
  void add_gqa(size_t kv_heads, size_t d);
  /// Appends a layer with latent rows of `width` = kv_lora_rank + qk_rope_head_dim values.
  void add_mla(size_t width);
  size_t bytes_per_token() const { return page_bytes / kPagePositions; }
};

/// Pages of one size, at most `max_pages`; memory comes as it is needed and goes back to the pool's free list. A page
/// may have several holders: nobody writes into it then, and it is free when the last has given it back.
class KvPool {
 public:
  KvPool(KvLayout layout, size_t max_pages) : layout_(std::move(layout)), max_pages_(max_pages) {}
  KvPool(const KvPool&) = delete;
  KvPool& operator=(const KvPool&) = delete;
  const KvLayout& layout() const { return layout_; }
  size_t max_pages() const { return max_pages_; }
  size_t used_pages() const { return pages_.size() - free_.size(); }
  size_t free_pages() const { return max_pages_ - used_pages(); }
  /// nullopt: the pool is full.
  std::optional<std::byte*> take_page();
  /// One more holder.
  void share(std::byte* page) { ++further_holders_[page]; }
  bool is_shared(const std::byte* page) const { return further_holders_.contains(page); }
  void give_back(std::byte* page);

 private:
  KvLayout layout_;
  size_t max_pages_;
  std::vector<Tensor> pages_;
  std::vector<std::byte*> free_;
  std::unordered_map<const std::byte*, size_t> further_holders_;  // beside the first; absent: none
};

/// The cached positions of one timeline. Pages may be shared with others; the one that is written into is its own.
class KvSequence {
 public:
  explicit KvSequence(KvPool& pool) : pool_(&pool) {}
  KvSequence(KvSequence&& other) noexcept;
  KvSequence& operator=(KvSequence&&) = delete;
  ~KvSequence() { truncate(0); }

  size_t length() const { return length_; }
  /// Pages held: of the positions stored, and what was reserved beyond them.
  size_t held_pages() const { return pages_.size(); }
  /// Room for `positions` more, in pages of its own: a shared page that has room is copied. False (and unchanged) where
  /// the pool is full.
  bool reserve(size_t positions);
  /// Goes on with a page of another holder, of which the first `positions` (1 to 64) count. length() is a multiple of
  /// 64.
  void adopt(std::byte* page, size_t positions);
  /// Holds `page`, which has the same content, in place of its own `index`-th one.
  void exchange(size_t index, std::byte* page);
  /// `positions` more are stored now; reserve() came first.
  void advance(size_t positions);
  /// Forgets all positions from `length` on.
  void truncate(size_t length);
  std::byte* const* pages() const { return pages_.data(); }

 private:
  bool own_last_page();

  KvPool* pool_;
  std::vector<std::byte*> pages_;
  size_t length_ = 0;
};

}  // namespace fathom

// The paged KV cache (spec/numerics.md 6): one page id per 64 positions serves all layers; a sequence is a table of
// pages. The scheduler's thread owns pool and sequences.
#pragma once
#include <cstddef>
#include <memory>
#include <optional>
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

/// Pages of one size, at most `max_pages`; memory comes as it is needed and goes back to the pool's free list.
class KvPool {
 public:
  KvPool(KvLayout layout, size_t max_pages) : layout_(std::move(layout)), max_pages_(max_pages) {}
  KvPool(const KvPool&) = delete;
  KvPool& operator=(const KvPool&) = delete;
  const KvLayout& layout() const { return layout_; }
  size_t max_pages() const { return max_pages_; }
  size_t used_pages() const { return pages_.size() - free_.size(); }
  /// nullopt: the pool is full.
  std::optional<std::byte*> take_page();
  void give_back(std::byte* page) { free_.push_back(page); }

 private:
  KvLayout layout_;
  size_t max_pages_;
  std::vector<Tensor> pages_;
  std::vector<std::byte*> free_;
};

/// The cached positions of one timeline.
class KvSequence {
 public:
  explicit KvSequence(KvPool& pool) : pool_(&pool) {}
  KvSequence(KvSequence&& other) noexcept;
  KvSequence& operator=(KvSequence&&) = delete;
  ~KvSequence() { truncate(0); }

  size_t length() const { return length_; }
  /// Room for `positions` more; false (and unchanged) where the pool is full.
  bool reserve(size_t positions);
  /// `positions` more are stored now; reserve() came first.
  void advance(size_t positions);
  /// Forgets all positions from `length` on.
  void truncate(size_t length);
  std::byte* const* pages() const { return pages_.data(); }

 private:
  KvPool* pool_;
  std::vector<std::byte*> pages_;
  size_t length_ = 0;
};

}  // namespace fathom

#include "cache/kv_cache.h"

#include <cstring>

namespace fathom {

void KvLayout::add_gqa(size_t kv_heads, size_t d) {
  const size_t bytes = kv_heads * kPagePositions * cache_bytes(type, d);
  layers.push_back({page_bytes, page_bytes + bytes, type});
  page_bytes += 2 * bytes;
}

void KvLayout::add_mla(size_t width) {
  layers.push_back({page_bytes, page_bytes, type});
  page_bytes += kPagePositions * cache_bytes(type, width);
}

std::optional<std::byte*> KvPool::take_page() {
  if (free_.empty()) {
    if (pages_.size() == max_pages_) return std::nullopt;
    pages_.push_back(make_tensor(DType::kU8, {layout_.page_bytes}));
    return pages_.back().bytes();
  }
  std::byte* page = free_.back();
  free_.pop_back();
  return page;
}

void KvPool::give_back(std::byte* page) {
  const auto further = further_holders_.find(page);
  if (further == further_holders_.end())
    free_.push_back(page);
  else if (--further->second == 0)
    further_holders_.erase(further);
}

KvSequence::KvSequence(KvSequence&& other) noexcept
    : pool_(other.pool_), pages_(std::move(other.pages_)), length_(other.length_) {
  other.pages_.clear();
  other.length_ = 0;
}

void KvSequence::adopt(std::byte* page, size_t positions) {
  check(length_ % kPagePositions == 0 && positions > 0 && positions <= kPagePositions, "pages are adopted one by one");
  truncate(length_);  // gives back what was reserved
  pool_->share(page);
  pages_.push_back(page);
  length_ += positions;
}

void KvSequence::exchange(size_t index, std::byte* page) {
  check(index < pages_.size(), "a page of the sequence");
  pool_->share(page);
  pool_->give_back(pages_[index]);
  pages_[index] = page;
}

/// The page that the next position goes into, if it is begun, becomes the sequence's own.
bool KvSequence::own_last_page() {
  if (length_ % kPagePositions == 0) return true;
  std::byte*& last = pages_[length_ / kPagePositions];
  if (!pool_->is_shared(last)) return true;
  const std::optional<std::byte*> own = pool_->take_page();
  if (!own) return false;
  std::memcpy(*own, last, pool_->layout().page_bytes);
  pool_->give_back(last);
  last = *own;
  return true;
}

bool KvSequence::reserve(size_t positions) {
  if (positions != 0 && !own_last_page()) return false;
  const size_t had = pages_.size(), need = (length_ + positions + kPagePositions - 1) / kPagePositions;
  while (pages_.size() < need) {
    const std::optional<std::byte*> page = pool_->take_page();
    if (!page) {
      while (pages_.size() > had) pool_->give_back(pages_.back()), pages_.pop_back();
      return false;
    }
    pages_.push_back(*page);
  }
  return true;
}

void KvSequence::advance(size_t positions) {
  length_ += positions;
  check(length_ <= pages_.size() * kPagePositions, "more positions than reserved");
}

void KvSequence::truncate(size_t length) {
  check(length <= length_ || length == 0, "cannot truncate to more than there is");
  length_ = length;
  const size_t need = (length + kPagePositions - 1) / kPagePositions;
  while (pages_.size() > need) pool_->give_back(pages_.back()), pages_.pop_back();
}

}  // namespace fathom

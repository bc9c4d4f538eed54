#include "cache/prefix_cache.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/error.h"

namespace fathom {

static_assert(std::endian::native == std::endian::little, "ids are hashed as they lie in memory");

size_t PrefixCache::Hasher::operator()(const PageKey& key) const {
  size_t out;
  std::memcpy(&out, key.data(), sizeof out);
  return out;
}

PageKey PrefixCache::key(const PageKey& before, std::span<const int32_t> ids, const PageScope& scope) const {
  Blake2b256 hash;
  hash.update(before);
  hash.update(std::span(reinterpret_cast<const uint8_t*>(ids.data()), ids.size_bytes()));
  // As long as any id, so that there is no doubt where it ends and the salt begins.
  static const std::string kUnknown(64, '0');
  const std::string& id = scope.numerics_id.empty() ? numerics_id_ : scope.numerics_id;
  hash.update(id.empty() ? kUnknown : id);
  hash.update(scope.salt);
  return hash.digest();
}

/// The pages behind `before`; null where that is not in the cache.
std::vector<PageKey>* PrefixCache::children_of(const PageKey& before, const PageScope& scope) {
  if (before == PageKey{}) {
    const auto found = first_pages_.find(scope);
    return found != first_pages_.end() ? &found->second : nullptr;
  }
  const auto node = nodes_.find(before);
  return node != nodes_.end() ? &node->second.children : nullptr;
}

PrefixCache::Found PrefixCache::find(const PageKey& key) {
  const auto found = nodes_.find(key);
  if (found == nodes_.end()) return {};
  found->second.last_used = ++clock_;
  return {found->second.page, found->second.ids.size(), found->second.mtp};
}

PrefixCache::Found PrefixCache::find_part(const PageKey& before, const PageScope& scope, std::span<const int32_t> ids) {
  Found best;
  const std::vector<PageKey>* children = children_of(before, scope);
  if (!children) return best;
  for (const PageKey& key : *children) {
    Node& node = nodes_.at(key);
    const size_t n = static_cast<size_t>(std::ranges::mismatch(node.ids, ids).in2 - ids.begin());
    if (n <= best.positions) continue;
    best = {node.page, n, node.mtp};
    node.last_used = ++clock_;
  }
  return best;
}

std::byte* PrefixCache::keep(const PageKey& before, const PageScope& scope, std::span<const int32_t> ids,
                             std::byte* page, bool mtp) {
  check(!ids.empty() && ids.size() <= kPagePositions, "a page holds 1 to 64 positions");
  const PageKey own = key(before, ids, scope);
  if (const auto found = nodes_.find(own); found != nodes_.end()) {
    found->second.last_used = ++clock_;
    return found->second.page;
  }
  std::vector<PageKey>* siblings = before == PageKey{} ? &first_pages_[scope] : children_of(before, scope);
  if (!siblings) return nullptr;
  pool_.share(page);
  const std::vector<PageKey> others = *siblings;
  siblings->push_back(own);
  nodes_.emplace(own, Node{before, scope, {ids.begin(), ids.end()}, page, mtp, ++clock_});
  // What is the beginning of this page is of no use beside it.
  for (const PageKey& other : others) {
    const Node& node = nodes_.at(other);
    if (node.ids.size() < ids.size() && std::ranges::equal(node.ids, ids.first(node.ids.size()))) remove(other);
  }
  return page;
}

/// A page without others behind it.
void PrefixCache::remove(const PageKey& key) {
  const auto node = nodes_.find(key);
  check(node != nodes_.end() && node->second.children.empty(), "only the ends of texts are given back");
  std::vector<PageKey>* siblings = children_of(node->second.before, node->second.scope);
  check(siblings != nullptr, "the page before stays while others are behind it");
  std::erase(*siblings, key);
  if (siblings->empty() && node->second.before == PageKey{}) first_pages_.erase(node->second.scope);
  pool_.give_back(node->second.page);
  nodes_.erase(node);
}

size_t PrefixCache::evict(size_t pages) {
  size_t done = 0;
  for (std::vector<std::pair<uint64_t, PageKey>> ends; done < pages; ends.clear()) {
    for (const auto& [key, node] : nodes_)
      if (node.children.empty() && !pool_.is_shared(node.page)) ends.emplace_back(node.last_used, key);
    if (ends.empty()) break;
    // The page before an end may be older than the other ends: one at a time would be exact, a few are near enough.
    const size_t n = std::min(ends.size(), std::max<size_t>((pages - done) / 2, 1));
    std::ranges::partial_sort(ends, ends.begin() + static_cast<ptrdiff_t>(n));
    for (size_t i = 0; i < n; ++i) remove(ends[i].second);
    done += n;
  }
  return done;
}

size_t PrefixCache::evictable() const {
  // Whoever holds a page holds those before it too: none of these must stay for the sake of one behind it.
  return static_cast<size_t>(
      std::ranges::count_if(nodes_, [&](const auto& n) { return !pool_.is_shared(n.second.page); }));
}

void PrefixCache::clear() {
  for (const auto& [key, node] : nodes_) pool_.give_back(node.page);
  nodes_.clear();
  first_pages_.clear();
}

}  // namespace fathom

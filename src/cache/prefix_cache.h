// Pages of texts that were computed before, found again by the text they hold: a tree over pages, each below the one
// before it. Whoever begins with the same text shares them instead of computing them (law 2: the bits are the same).
// Between requests the cache is their only holder, and gives back the least recently used when the pool runs dry.
// The scheduler's thread owns it, as it does the pool.
#pragma once
#include <compare>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/hash.h"
#include "cache/kv_cache.h"

namespace fathom {

using PageKey = Blake2b256::Digest;

/// Whose pages: texts in different scopes never share.
struct PageScope {
  std::string salt = {};                               ///< the tenant's
  std::string numerics_id = {};                        ///< of those with an adapter of their own; empty: the cache's
  auto operator<=>(const PageScope&) const = default;  // NOLINT(modernize-use-nullptr): of the compiler's own code
};

class PrefixCache {
 public:
  /// `numerics_id`: what the pages were computed with (spec/numerics.md 9), 64 characters; empty: unknown.
  PrefixCache(KvPool& pool, std::string numerics_id) : pool_(pool), numerics_id_(std::move(numerics_id)) {}
  ~PrefixCache() { clear(); }
  PrefixCache(const PrefixCache&) = delete;
  PrefixCache& operator=(const PrefixCache&) = delete;

  /// BLAKE2b-256 of (key of the page before, zeros for the first; the page's ids, 32 bits each, little-endian; numerics
  /// id; salt). Source: spec/numerics.md 6.
  PageKey key(const PageKey& before, std::span<const int32_t> ids, const PageScope& scope) const;

  /// A page found in the cache: its first `positions` hold the text asked for. `mtp`: also for the MTP module.
  struct Found {
    std::byte* page = nullptr;  ///< null: none
    size_t positions = 0;
    bool mtp = false;
  };
  /// The whole page with this key.
  Found find(const PageKey& key);
  /// Of the pages behind `before`, the one that shares most leading ids, with that many positions.
  Found find_part(const PageKey& before, const PageScope& scope, std::span<const int32_t> ids);

  /// Keeps a page, whole or begun, which holds `ids` behind the page `before` (whose key it is, zeros: none). Returns
  /// the page that is kept: another one where the text was there already; null where the page before is not.
  std::byte* keep(const PageKey& before, const PageScope& scope, std::span<const int32_t> ids, std::byte* page,
                  bool mtp);

  /// Gives back pages that nobody else holds, the least recently used first and none before those behind it, until
  /// `pages` have been. Returns how many were.
  size_t evict(size_t pages);
  /// Whether the pool has a free page, one given back for it if need be.
  bool ensure_free_page() { return pool_.free_pages() != 0 || evict(1) != 0; }
  /// Pages that evict() could give back in the end.
  size_t evictable() const;
  size_t pages() const { return nodes_.size(); }
  void clear();

 private:
  struct Hasher {
    size_t operator()(const PageKey& key) const;  // the key is a hash already: its first bytes
  };
  struct Node {
    PageKey before;
    PageScope scope;
    std::vector<int32_t> ids;
    std::byte* page;
    bool mtp;
    uint64_t last_used;
    std::vector<PageKey> children = {};
  };

  std::vector<PageKey>* children_of(const PageKey& before, const PageScope& scope);
  void remove(const PageKey& key);

  KvPool& pool_;
  std::string numerics_id_;
  std::unordered_map<PageKey, Node, Hasher> nodes_;
  std::map<PageScope, std::vector<PageKey>> first_pages_;
  uint64_t clock_ = 0;
};

}  // namespace fathom

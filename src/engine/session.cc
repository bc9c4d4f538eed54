#include "engine/session.h"

#include <algorithm>

namespace fathom {

size_t Session::set_tokens(std::span<const TokenId> ids) {
  size_t same = 0;
  const size_t limit = std::min(kv_.length(), ids.empty() ? 0 : ids.size() - 1);
  while (same < limit && tokens_[same] == ids[same]) ++same;
  kv_.truncate(same);
  mtp_cached_ = std::min(mtp_cached_, same);
  tokens_.assign(ids.begin(), ids.end());
  keys_.resize(std::min(keys_.size(), same / kPagePositions));
  kept_pages_ = std::min(kept_pages_, same / kPagePositions);
  return same;
}

void Session::release() {
  kv_.truncate(0);
  mtp_cached_ = kept_pages_ = 0;
}

const PageKey& Session::page_key(const PrefixCache& prefixes, size_t index) {
  check((index + 1) * kPagePositions <= tokens_.size(), "only whole pages have keys");
  while (keys_.size() <= index)
    keys_.push_back(
        prefixes.key(keys_.empty() ? PageKey{} : keys_.back(), page_ids(keys_.size(), kPagePositions), scope_));
  return keys_[index];
}

size_t Session::adopt(PrefixCache& prefixes) {
  const size_t before = cached();
  const auto take = [&](const PrefixCache::Found& found) {
    if (mtp_cached_ == cached() && found.mtp) mtp_cached_ += found.positions;
    kv_.adopt(found.page, found.positions);
  };
  while (cached() % kPagePositions == 0 && pending() > 1) {
    const size_t index = cached() / kPagePositions, left = pending() - 1;
    if (left >= kPagePositions) {
      if (const PrefixCache::Found whole = prefixes.find(page_key(prefixes, index)); whole.page) {
        take(whole);
        kept_pages_ = index + 1;
        continue;
      }
    }
    // A begun page is copied before it is written into: without room for that, sharing it would only be in the way.
    if (!prefixes.ensure_free_page()) break;
    const PrefixCache::Found part =
        prefixes.find_part(key_before(prefixes, index), scope_, page_ids(index, std::min(left, kPagePositions)));
    if (!part.page) break;
    take(part);
  }
  return cached() - before;
}

void Session::keep(PrefixCache& prefixes, bool tail) {
  const auto keep_page = [&](size_t index, size_t n) {
    const bool mtp = mtp_cached_ >= index * kPagePositions + n;
    std::byte* own = kv_.pages()[index];
    std::byte* kept = prefixes.keep(key_before(prefixes, index), scope_, page_ids(index, n), own, mtp);
    if (kept && kept != own) kv_.exchange(index, kept);
  };
  for (; kept_pages_ < cached() / kPagePositions; ++kept_pages_) keep_page(kept_pages_, kPagePositions);
  if (tail && cached() % kPagePositions != 0) keep_page(kept_pages_, cached() % kPagePositions);
}

}  // namespace fathom

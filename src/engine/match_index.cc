#include "engine/match_index.h"

#include <algorithm>

#include "base/error.h"
#include "base/seeded_hash.h"

namespace fathom {

/// Where the end of the n tokens before `end` is, or is to be.
uint32_t& MatchIndex::slot(Table& table, size_t end) const {
  const std::span<const TokenId> run = run_before(end, table.n);
  const size_t mask = table.ends.size() - 1;
  // Seeded: a text from outside cannot make its runs collide.
  size_t at = hash_bytes(reinterpret_cast<const char*>(run.data()), run.size_bytes(), random_hash_seed()) & mask;
  while (table.ends[at] != 0 && !std::ranges::equal(run, run_before(table.ends[at], table.n))) at = (at + 1) & mask;
  return table.ends[at];
}

void MatchIndex::grow(Table& table) const {
  std::vector<uint32_t> old(table.ends.empty() ? 64 : 2 * table.ends.size());
  old.swap(table.ends);
  for (const uint32_t end : old)
    if (end != 0) slot(table, end) = end;
}

/// Stores the text's end as the last one of its n tokens; returns the one before, 0: none.
size_t MatchIndex::replace(Table& table) {
  if (2 * (table.used + 1) > table.ends.size()) grow(table);
  uint32_t& end = slot(table, text_.size());
  const size_t before = end;
  end = static_cast<uint32_t>(text_.size());
  table.used += before == 0;
  return before;
}

size_t MatchIndex::length_at(size_t end) const {
  size_t n = 0;
  while (n < std::min(end, kLongest) && text_[end - 1 - n] == text_[text_.size() - 1 - n]) ++n;
  return n;
}

void MatchIndex::append(TokenId id) {
  check(text_.size() < UINT32_MAX, "a text has fewer than 2^32 tokens");
  text_.push_back(id);
  match_.reset();
  for (size_t i = 0; i < tables_.size(); ++i) {
    tables_[i].n = kLengths[i];
    if (text_.size() < kLengths[i]) continue;
    const size_t end = replace(tables_[i]);
    if (end != 0 && !match_) match_ = {end, length_at(end)};
  }
}

TokenId MatchIndex::following(size_t distance) const {
  check(match_.has_value(), "only a match has tokens that follow");
  return text_[match_->next + distance % (text_.size() - match_->next)];
}

}  // namespace fathom

#include "sampling/grammar/grammar_cache.h"

namespace fathom {

Grammar GrammarCache::get(std::string_view source, FunctionRef<Grammar()> make) {
  {
    const std::lock_guard lock(mutex_);
    const auto found = by_source_.find(source);
    if (found != by_source_.end()) {
      entries_.splice(entries_.begin(), entries_, found->second);
      Grammar grammar = found->second->grammar;
      shrink();
      return grammar;
    }
  }
  Grammar made = make();  // outside the lock: it may take long
  const std::lock_guard lock(mutex_);
  const auto found = by_source_.find(source);
  if (found != by_source_.end()) return found->second->grammar;  // another thread was faster: share its masks
  entries_.push_front({std::string(source), made});
  by_source_.emplace(std::string(source), entries_.begin());
  shrink();
  return made;
}

/// Masks have grown since the last look, and may grow now, so all are counted anew.
void GrammarCache::shrink() {
  while (!entries_.empty() && total() > most_bytes_) {
    by_source_.erase(entries_.back().source);
    entries_.pop_back();
  }
}

size_t GrammarCache::bytes_of(const Entry& entry) {
  return sizeof(Entry) + 2 * entry.source.size() + entry.grammar.size_bytes();
}

size_t GrammarCache::total() const {
  size_t bytes = 0;
  for (const Entry& entry : entries_) bytes += bytes_of(entry);
  return bytes;
}

size_t GrammarCache::size_bytes() const {
  const std::lock_guard lock(mutex_);
  return total();
}

size_t GrammarCache::size() const {
  const std::lock_guard lock(mutex_);
  return entries_.size();
}

}  // namespace fathom

// Compiled grammars by their source, shared by the requests of a server: compiling a large schema takes milliseconds,
// and the token masks that a grammar has gathered are worth more. Thread-safe.
#pragma once
#include <cstdint>
#include <list>
#include <mutex>
#include <string>
#include <string_view>

#include "base/function_ref.h"
#include "base/seeded_hash.h"
#include "sampling/grammar/grammar.h"

namespace fathom {

class GrammarCache {
 public:
  /// Keeps at most `most_bytes` of grammars, masks and keys; past that the least recently used go, and requests that
  /// hold one keep it. A grammar larger than that is made and not kept.
  explicit GrammarCache(size_t most_bytes) : most_bytes_(most_bytes) {}

  /// The grammar of `source`, which names the kind too ("gbnf:root ::= ..."), from the cache or by `make`. What make
  /// throws is passed on, and nothing is kept. Two threads that ask for the same new source may both make it.
  Grammar get(std::string_view source, FunctionRef<Grammar()> make);

  size_t size_bytes() const;
  size_t size() const;

 private:
  struct Entry {
    std::string source;
    Grammar grammar;
  };
  static size_t bytes_of(const Entry& entry);
  size_t total() const;
  void shrink();

  const size_t most_bytes_;
  mutable std::mutex mutex_;
  std::list<Entry> entries_;  // the most recently used first
  NameMap<std::list<Entry>::iterator> by_source_;
};

}  // namespace fathom

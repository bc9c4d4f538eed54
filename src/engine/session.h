// One timeline: its tokens, the adapter that reads and continues them, and the KV cache of a prefix of them. Owned by
// whoever talks; changed on the compute thread.
#pragma once
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "cache/kv_cache.h"
#include "cache/prefix_cache.h"
#include "ops/adapter.h"
#include "text/tokenizer_spec.h"

namespace fathom {

/// An adapter that some sequences of an engine have, and others not.
struct SequenceAdapter {
  std::shared_ptr<const Adapter> weights;  ///< never null
  std::string numerics_id;                 ///< of the engine with it (spec/numerics.md 9)
  SequenceAdapter(std::shared_ptr<const Adapter> w, std::string id)
      : weights(std::move(w)), numerics_id(std::move(id)) {}
};

class Session {
 public:
  /// `salt`: whose texts it may share pages with (spec/numerics.md 6). `adapter`: null: none of its own.
  explicit Session(KvPool& pool, std::string salt = {}, std::shared_ptr<const SequenceAdapter> adapter = nullptr)
      : kv_(pool),
        adapter_(std::move(adapter)),
        scope_{std::move(salt), adapter_ ? adapter_->numerics_id : std::string()} {}

  const std::vector<TokenId>& tokens() const { return tokens_; }
  size_t cached() const { return kv_.length(); }
  /// Tokens that no forward has seen yet.
  size_t pending() const { return tokens_.size() - kv_.length(); }
  KvSequence& kv() { return kv_; }
  const Adapter* adapter() const { return adapter_ ? adapter_->weights.get() : nullptr; }  ///< null: none of its own
  /// Leading positions that the cache also holds for the MTP module; beyond cached() they mean nothing. Where a text
  /// parts from the one before (set_tokens, adopt), the last of them has seen the old next token: the module guesses a
  /// little worse for it, and nothing else depends on it.
  size_t mtp_cached() const { return mtp_cached_; }
  void set_mtp_cached(size_t positions) { mtp_cached_ = positions; }

  /// Goes on from `ids`: what the cache shares with them is kept, but for the last token, whose logits are wanted.
  /// Returns the tokens that stay cached.
  size_t set_tokens(std::span<const TokenId> ids);
  void append(TokenId id) { tokens_.push_back(id); }
  /// Gives all pages back; the tokens stay, and are computed again.
  void release();

  // ---- sharing pages with texts that begin alike
  /// Takes what `prefixes` holds of the tokens behind those cached, but for the last one. Returns how many positions.
  size_t adopt(PrefixCache& prefixes);
  /// Leaves the whole pages that were computed since the last time to `prefixes`; with `tail` the begun one too.
  void keep(PrefixCache& prefixes, bool tail);
  /// Key of the whole page `index` of the tokens, which they must reach.
  const PageKey& page_key(const PrefixCache& prefixes, size_t index);

 private:
  std::span<const TokenId> page_ids(size_t index, size_t n) const {
    return std::span(tokens_).subspan(index * kPagePositions, n);
  }
  PageKey key_before(const PrefixCache& prefixes, size_t index) {
    return index == 0 ? PageKey{} : page_key(prefixes, index - 1);
  }

  std::vector<TokenId> tokens_;
  KvSequence kv_;
  std::shared_ptr<const SequenceAdapter> adapter_;
  PageScope scope_;
  size_t mtp_cached_ = 0;
  std::vector<PageKey> keys_;  // of the first whole pages, as far as they were asked for
  size_t kept_pages_ = 0;      // of which the prefix cache knows
};

}  // namespace fathom

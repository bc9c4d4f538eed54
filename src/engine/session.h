// One timeline: its tokens, and the KV cache of a prefix of them. Owned by whoever talks; changed on the compute
// thread.
#pragma once
#include <span>
#include <vector>

#include "cache/kv_cache.h"
#include "text/tokenizer_spec.h"

namespace fathom {

class Session {
 public:
  explicit Session(KvPool& pool) : kv_(pool) {}

  const std::vector<TokenId>& tokens() const { return tokens_; }
  size_t cached() const { return kv_.length(); }
  /// Tokens that no forward has seen yet.
  size_t pending() const { return tokens_.size() - kv_.length(); }
  KvSequence& kv() { return kv_; }
  /// Leading positions that the cache also holds for the MTP module; beyond cached() they mean nothing. Where a text
  /// parts from the one before (set_tokens), the last of them has seen the old next token: the module guesses a little
  /// worse for it, and nothing else depends on it.
  size_t mtp_cached() const { return mtp_cached_; }
  void set_mtp_cached(size_t positions) { mtp_cached_ = positions; }

  /// Goes on from `ids`: what the cache shares with them is kept, but for the last token, whose logits are wanted.
  /// Returns the tokens that stay cached.
  size_t set_tokens(std::span<const TokenId> ids);
  void append(TokenId id) { tokens_.push_back(id); }

 private:
  std::vector<TokenId> tokens_;
  KvSequence kv_;
  size_t mtp_cached_ = 0;
};

}  // namespace fathom

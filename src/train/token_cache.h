// Training text as token ids, encoded once and kept in two files: KEY.tokens, mapped for reading, and its manifest
// KEY.json. KEY follows from the tokenizer and the texts, so a cache is never stale; what is damaged is built again.
// Called by the training stages. Reading is thread-safe.
#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/mapped_file.h"
#include "base/work.h"
#include "text/tokenizer.h"

namespace fathom {

/// Tokens [begin, end) of a stream.
struct TokenRange {
  uint64_t begin = 0, end = 0;
  uint64_t size() const { return end - begin; }
  bool operator==(const TokenRange&) const = default;
};

/// BLAKE2b-256, in hex, of all that decides which ids a text gets: tokens, kinds, merges, cutting, NFC, end token.
std::string tokenizer_identity(const TokenizerSpec& spec);

/// One file of training text.
struct TokenSource {
  std::string name;  ///< without its folder
  uint64_t bytes = 0;
  std::string hash;  ///< BLAKE2b-256 of the file, in hex
  uint64_t documents = 0;
  TokenRange tokens;
  uint64_t missing_bytes = 0;  ///< bytes of its texts that the vocabulary has no token for: they are left out
  bool operator==(const TokenSource&) const = default;
};

struct TokenSplit {
  std::vector<TokenRange> train, validation;
};

class TokenCache {
 public:
  /// The ids of all documents of `files`, behind each other: NAME.txt is one document, NAME.jsonl one per line, an
  /// object with "text". Control tokens written in a text stay text. The tokenizer's EOS, where it has one, ends each
  /// document; BOS is not added. `identity` is tokenizer_identity of what the tokenizer was made of. Both cache files
  /// appear whole or not at all in `folder`, which is made. `progress` counts the bytes of the files, once for their
  /// hashes and, where there is no good cache yet, once more for the encoding.
  /// Throws Error naming file, line, what was expected and found; ResourceError if the disk is full.
  static TokenCache open(const std::vector<std::filesystem::path>& files, const Tokenizer& tokenizer,
                         const std::string& identity, const std::filesystem::path& folder,
                         const WorkProgress& progress = {});

  std::span<const TokenId> ids() const { return ids_; }
  /// Where each document begins, and at the end ids().size().
  std::span<const uint64_t> document_starts() const { return starts_; }
  const std::vector<TokenSource>& sources() const { return sources_; }
  const std::filesystem::path& manifest() const { return manifest_; }
  /// Why the texts were encoded now, for the person to see; empty: they were not, the cache was good.
  const std::string& notice() const { return notice_; }

  /// Keeps the last `fraction` of the tokens of each source for validation; 0 keeps none. As nanoGPT's 90/10 of one
  /// file: train is the first floor(n * (1 - fraction)). Throws Error if fraction is not in [0, 1).
  TokenSplit split(double fraction) const;

 private:
  TokenCache() = default;
  void read(const std::vector<TokenSource>& wanted, const std::string& identity);

  std::filesystem::path manifest_;
  std::string notice_;
  std::vector<TokenSource> sources_;
  std::unique_ptr<MappedFile> mapped_;
  std::span<const TokenId> ids_;  // both point into mapped_
  std::span<const uint64_t> starts_;
};

}  // namespace fathom

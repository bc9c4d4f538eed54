#include "train/token_cache.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/checksum.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/json.h"
#include "formats/atomic_file.h"
#include "train/json_lines.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kFormat = "fathom-tokens";
constexpr int64_t kVersion = 1;
constexpr size_t kBlock = size_t{1} << 20;  // bytes per step of hashing, writing and checking

std::string_view text_of(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

/// Name, size and hash of each file; the rest comes with the encoding.
std::vector<TokenSource> hash_files(const std::vector<fs::path>& files, const WorkProgress& progress) {
  std::vector<TokenSource> sources;
  uint64_t done = 0, total = 0;
  for (const fs::path& path : files) {
    if (path.extension() != ".txt" && path.extension() != ".jsonl")
      throw Error(cat(path.string(), ": expected training text in a file .txt or .jsonl, found '",
                      path.extension().string(), "'"));
    sources.push_back({.name = path.filename().string(), .bytes = InputFile(path).size()});
    total += sources.back().bytes;
  }
  for (size_t i = 0; i < files.size(); ++i) {
    const MappedFile mapped{InputFile(files[i])};
    const std::string_view text = text_of(mapped);
    Blake2b256 hash;
    for (size_t at = 0; at < text.size(); at += kBlock) {
      if (progress) progress(done + at, total);
      hash.update(text.substr(at, kBlock));
    }
    done += text.size();
    sources[i].bytes = text.size();
    sources[i].hash = hash.hex();
  }
  return sources;
}

std::string key_of(const std::vector<TokenSource>& sources, const std::string& identity) {
  Blake2b256 hash;
  hash.update(cat(kFormat, '-', kVersion, '\n', identity, '\n'));
  for (const TokenSource& source : sources) hash.update(cat(source.name, '\n', source.bytes, '\n', source.hash, '\n'));
  return hash.hex().substr(0, 32);
}

/// Writes KEY.tokens: ids as u32, zeros up to a multiple of 8, the documents' starts as u64. Its checksum is a chain
/// over blocks of kBlock bytes.
class TokenWriter {
 public:
  explicit TokenWriter(const fs::path& path) : file_(path) { buffer_.reserve(kBlock); }

  void write(const void* data, size_t size) {
    for (const auto* at = static_cast<const std::byte*>(data); size > 0;) {
      const size_t take = std::min(size, kBlock - buffer_.size());
      buffer_.insert(buffer_.end(), at, at + take);
      at += take, size -= take;
      if (buffer_.size() == kBlock) flush();
    }
  }
  /// The checksum; the file is there.
  uint64_t commit() {
    flush();
    file_.commit();
    return checksum_;
  }

 private:
  void flush() {
    checksum_ = checksum(buffer_, checksum_);
    file_.write(buffer_.data(), buffer_.size());
    buffer_.clear();
  }
  AtomicFile file_;
  std::vector<std::byte> buffer_;
  uint64_t checksum_ = 0;
};

uint64_t chained_checksum(std::span<const std::byte> bytes) {
  uint64_t sum = 0;
  for (size_t at = 0; at == 0 || at < bytes.size(); at += kBlock)
    sum = checksum(bytes.subspan(at, std::min(kBlock, bytes.size() - at)), sum);
  return sum;
}

std::string hex_of(uint64_t number) {
  std::string out;
  for (int shift = 60; shift >= 0; shift -= 4) out += "0123456789abcdef"[number >> shift & 15];
  return out;
}

uint64_t file_bytes(uint64_t tokens, uint64_t documents) { return (tokens + 1) / 2 * 8 + (documents + 1) * 8; }

/// Encodes documents and writes them one after the other.
class Encoder {
 public:
  Encoder(const fs::path& path, const Tokenizer& tokenizer) : writer_(path), tokenizer_(tokenizer) {
    for (size_t id = 0; id < tokenizer.vocab_size(); ++id)
      if (const std::string_view bytes = tokenizer.token_view(static_cast<TokenId>(id)); bytes.size() == 1)
        known_[static_cast<uint8_t>(bytes[0])] = true;
  }

  void add_file(const fs::path& path, TokenSource& source, const WorkProgress& progress, uint64_t before,
                uint64_t total) {
    source.tokens.begin = starts_.back();
    const auto report = [&](uint64_t done) {
      if (progress) progress(before + done, total);
    };
    report(0);
    if (path.extension() == ".txt") {
      const MappedFile mapped{InputFile(path)};
      add(text_of(mapped), source);
    } else {
      for_each_json_line(path, [&](const JsonObject& line, uint64_t bytes) {
        add(line.string("text"), source);
        report(bytes);
      });
    }
    source.tokens.end = starts_.back();
    if (source.bytes == 0 || source.tokens.size() == 0)
      throw Error(cat(path.string(), ": expected a text, found none"));
  }

  uint64_t commit() {
    const uint32_t padding = 0;
    if (starts_.back() % 2 != 0) writer_.write(&padding, sizeof padding);
    writer_.write(starts_.data(), starts_.size() * sizeof starts_[0]);
    return writer_.commit();
  }
  uint64_t documents() const { return starts_.size() - 1; }
  uint64_t tokens() const { return starts_.back(); }

 private:
  void add(std::string_view text, TokenSource& source) {
    std::vector<TokenId> ids = tokenizer_.encode(text);
    if (tokenizer_.spec().eos) ids.push_back(*tokenizer_.spec().eos);
    writer_.write(ids.data(), ids.size() * sizeof ids[0]);
    starts_.push_back(starts_.back() + ids.size());
    ++source.documents;
    for (const char c : text) source.missing_bytes += known_[static_cast<uint8_t>(c)] ? 0 : 1;
  }

  TokenWriter writer_;
  const Tokenizer& tokenizer_;
  std::array<bool, 256> known_{};
  std::vector<uint64_t> starts_{0};
};

fs::path tokens_path(const fs::path& manifest) { return fs::path(manifest).replace_extension(".tokens"); }

void build(const std::vector<fs::path>& files, std::vector<TokenSource> sources, const Tokenizer& tokenizer,
           const std::string& identity, const fs::path& manifest, const WorkProgress& progress) {
  uint64_t total = 0, done = 0;
  for (const TokenSource& source : sources) total += source.bytes;
  Encoder encoder(tokens_path(manifest), tokenizer);
  json::array list;
  for (size_t i = 0; i < files.size(); ++i) {
    TokenSource& source = sources[i];
    encoder.add_file(files[i], source, progress, done, total);
    done += source.bytes;
    list.push_back({{"name", source.name},
                    {"bytes", source.bytes},
                    {"blake2b", source.hash},
                    {"documents", source.documents},
                    {"tokens", source.tokens.size()},
                    {"missing_bytes", source.missing_bytes}});
  }
  if (progress) progress(total, total);
  const std::string sum = hex_of(encoder.commit());
  const std::string text = to_json(json::object{{"format", kFormat},
                                                {"version", kVersion},
                                                {"tokenizer", identity},
                                                {"documents", encoder.documents()},
                                                {"tokens", encoder.tokens()},
                                                {"checksum", sum},
                                                {"sources", std::move(list)}},
                                   {.indent = 2, .key_sep = ": "}) +
                           "\n";
  AtomicFile file(manifest);  // the last: a manifest without its tokens never stands alone
  file.write(text.data(), text.size());
  file.commit();
}

template <class A, class B>
void require_equal(const fs::path& path, std::string_view key, const A& want, const B& found) {
  if (found != want) throw Error(cat(path.string(), ": ", key, ": expected ", want, ", found ", found));
}

}  // namespace

std::string tokenizer_identity(const TokenizerSpec& spec) {
  Blake2b256 hash;
  const auto text = [&](std::string_view s) { hash.update(cat(s.size(), ':')), hash.update(s); };
  text(cat("tokenizer-1 ", spec.ignore_merges, spec.nfc, ' ', spec.tokens.size(), ' ', spec.merges.size(), ' ',
           spec.patterns.size(), ' ', spec.eos.value_or(-1), ' ', spec.pre));
  for (const std::string& pattern : spec.patterns) text(pattern);
  for (const std::string& token : spec.tokens) text(token);
  for (const TokenKind kind : spec.kinds) text(cat(static_cast<int>(kind)));
  for (const auto& [left, right] : spec.merges) text(left), text(right);
  return hash.hex();
}

TokenCache TokenCache::open(const std::vector<fs::path>& files, const Tokenizer& tokenizer, const std::string& identity,
                            const fs::path& folder, const WorkProgress& progress) {
  if (files.empty()) throw Error("training text: expected at least one file, found none");
  const std::vector<TokenSource> sources = hash_files(files, progress);
  std::error_code ec;
  fs::create_directories(folder, ec);
  if (ec) throw Error(cat(folder.string(), ": expected a folder for token caches, found: ", ec.message()));
  TokenCache cache;
  cache.manifest_ = folder / (key_of(sources, identity) + ".json");
  if (!fs::exists(cache.manifest_)) {
    cache.notice_ = "not encoded before";
  } else {
    try {
      cache.read(sources, identity);
      return cache;
    } catch (const Error& e) {
      cache.notice_ = e.what();
    }
  }
  build(files, sources, tokenizer, identity, cache.manifest_, progress);
  cache.read(sources, identity);
  return cache;
}

void TokenCache::read(const std::vector<TokenSource>& wanted, const std::string& identity) {
  const json::value value = read_json_file(manifest_);
  const JsonObject manifest(value, manifest_.string());
  require_equal(manifest_, "format", kFormat, manifest.string("format"));
  require_equal(manifest_, "version", kVersion, manifest.integer("version"));
  require_equal(manifest_, "tokenizer", identity, manifest.string("tokenizer"));
  const json::array& list = manifest.array("sources");
  require_equal(manifest_, "number of sources", wanted.size(), list.size());
  sources_.clear();
  uint64_t tokens = 0, documents = 0;
  for (size_t i = 0; i < list.size(); ++i) {
    const JsonObject item(list[i], cat(manifest_.string(), ": sources[", i, "]"));
    const auto count = [&](std::string_view key) {
      // More than any disk holds would overflow below.
      const int64_t n = item.integer(key);
      if (n < 0 || n > int64_t{1} << 48) throw Error(cat(item.what(), ": ", key, ": expected a count, found ", n));
      return static_cast<uint64_t>(n);
    };
    TokenSource source{item.string("name"),
                       count("bytes"),
                       item.string("blake2b"),
                       count("documents"),
                       {tokens, tokens + count("tokens")},
                       count("missing_bytes")};
    require_equal(manifest_, "name of a source", wanted[i].name, source.name);
    require_equal(manifest_, "bytes of a source", wanted[i].bytes, source.bytes);
    require_equal(manifest_, "hash of a source", wanted[i].hash, source.hash);
    tokens = source.tokens.end, documents += source.documents;
    sources_.push_back(std::move(source));
  }
  require_equal(manifest_, "tokens", static_cast<int64_t>(tokens), manifest.integer("tokens"));
  require_equal(manifest_, "documents", static_cast<int64_t>(documents), manifest.integer("documents"));
  const fs::path path = tokens_path(manifest_);
  const InputFile file(path);
  require_equal(path, "bytes", file_bytes(tokens, documents), file.size());
  mapped_ = std::make_unique<MappedFile>(file);
  require_equal(path, "checksum", manifest.string("checksum"), hex_of(chained_checksum(mapped_->bytes())));
  ids_ = {reinterpret_cast<const TokenId*>(mapped_->bytes().data()), tokens};
  starts_ = {reinterpret_cast<const uint64_t*>(mapped_->bytes().data() + (tokens + 1) / 2 * 8), documents + 1};
}

TokenSplit TokenCache::split(double fraction) const {
  if (!(fraction >= 0 && fraction < 1))
    throw Error(cat("share of the text for validation: expected 0 <= share < 1, found ", fraction));
  TokenSplit out;
  for (const TokenSource& source : sources_) {
    const auto first = static_cast<uint64_t>(static_cast<double>(source.tokens.size()) * (1 - fraction));
    const uint64_t middle = source.tokens.begin + first;
    if (middle > source.tokens.begin) out.train.push_back({source.tokens.begin, middle});
    if (middle < source.tokens.end) out.validation.push_back({middle, source.tokens.end});
  }
  return out;
}

}  // namespace fathom

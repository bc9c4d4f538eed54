#include "text/tokenizer.h"

#include <algorithm>
#include <array>
#include <mutex>

#include "base/error.h"
#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/pretokenizer.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace fathom {
namespace {

/// Published tokens have up to some 400; an answer of a few thousand tokens must stay far below any memory.
constexpr size_t kMaxTokenBytes = 4096;

/// The byte that a character of a vocabulary stands for, by code point; -1 for none. Bytes that print stand for
/// themselves, the others follow from U+0100 on. Source: spec/tokenizers.md 2, step 4.
std::array<int16_t, 0x144> make_byte_of_char() {
  std::array<int16_t, 0x144> byte_of{};
  byte_of.fill(-1);
  size_t next = 0x100;
  for (size_t b = 0; b < 256; ++b) {
    const bool prints = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
    byte_of[prints ? b : next++] = static_cast<int16_t>(b);
  }
  return byte_of;
}

/// The bytes of a vocabulary's text; nullopt where a character stands for no byte.
std::optional<std::string> bytes_of(std::string_view text) {
  static const std::array<int16_t, 0x144> byte_of = make_byte_of_char();
  if (valid_utf8_prefix(text) != text.size()) return std::nullopt;
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const Utf8Char c = decode_valid_utf8(text.data() + at);
    if (c.code_point >= byte_of.size() || byte_of[c.code_point] < 0) return std::nullopt;
    out += static_cast<char>(byte_of[c.code_point]);
    at += c.size;
  }
  return out;
}

/// DeepSeek-LLM and -Coder keep the letters that stand for bytes 0xC0, 0xC1 and 0xF5..0xFF as added tokens: they are
/// text like any other, and the models have seen them so.
bool is_byte_letter(const std::string& text) {
  const auto bytes = bytes_of(text);
  if (!bytes || bytes->size() != 1) return false;
  const auto byte = static_cast<uint8_t>((*bytes)[0]);
  return byte == 0xC0 || byte == 0xC1 || byte >= 0xF5;
}

std::string shown(std::string_view text) { return cat('"', utf8_lossy(text.substr(0, 64)), '"'); }

void check_spec(const TokenizerSpec& spec) {
  const size_t n = spec.tokens.size();
  if (n == 0 || n != spec.kinds.size())
    throw Error(
        cat("tokenizer: expected as many kinds as tokens and at least one, found ", spec.kinds.size(), " and ", n));
  for (size_t i = 0; i < n; ++i)
    if (spec.tokens[i].size() > kMaxTokenBytes)
      throw Error(
          cat("tokenizer: token ", i, ": expected at most ", kMaxTokenBytes, " bytes, found ", spec.tokens[i].size()));
  const auto check_id = [&](const char* name, TokenId id) {
    if (id < 0 || static_cast<size_t>(id) >= n)
      throw Error(cat("tokenizer: ", name, ": expected an id below ", n, ", found ", id));
  };
  if (spec.bos) check_id("bos", *spec.bos);
  if (spec.eos) check_id("eos", *spec.eos);
  if (spec.pad) check_id("pad", *spec.pad);
  for (const TokenId id : spec.end_of_generation) check_id("end_of_generation", id);
}

BpeVocab make_vocab(const TokenizerSpec& spec) {
  std::vector<std::string> bytes(spec.tokens.size());
  std::vector<bool> searchable(spec.tokens.size(), false);
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (spec.kinds[i] == TokenKind::kUnused) continue;
    bytes[i] = spec.tokens[i];
    if (spec.kinds[i] != TokenKind::kNormal) continue;
    if (auto mapped = bytes_of(spec.tokens[i])) {
      bytes[i] = std::move(*mapped);
      searchable[i] = !bytes[i].empty();
    }
  }
  return BpeVocab(bytes, searchable);
}

std::vector<Bpe::Merge> make_merges(const TokenizerSpec& spec, const BpeVocab& vocab) {
  std::vector<Bpe::Merge> merges;
  merges.reserve(spec.merges.size());
  for (const auto& [left, right] : spec.merges) {
    const std::optional<std::string> l = bytes_of(left), r = bytes_of(right);
    const auto find = [&](const std::optional<std::string>& bytes, std::string_view text) {
      const TokenId id = bytes && !bytes->empty() ? vocab.find(*bytes) : -1;
      if (id < 0)
        throw Error(
            cat("tokenizer: merge ", merges.size(), ": expected tokens of the vocabulary, found ", shown(text)));
      return id;
    };
    const TokenId left_id = find(l, left), right_id = find(r, right);
    merges.push_back({left_id, right_id, find(*l + *r, left + right)});
  }
  return merges;
}

AddedTokens make_added(const TokenizerSpec& spec) {
  std::vector<AddedToken> added;
  for (size_t i = 0; i < spec.tokens.size(); ++i) {
    if (spec.kinds[i] != TokenKind::kControl && spec.kinds[i] != TokenKind::kUserDefined) continue;
    if (spec.tokens[i].empty()) continue;  // can never be written, and says nothing when decoded
    const bool always = spec.kinds[i] == TokenKind::kUserDefined && is_byte_letter(spec.tokens[i]);
    added.push_back({spec.tokens[i], static_cast<TokenId>(i), always});
  }
  return AddedTokens(std::move(added));
}

/// Scratch objects that wait for the next encode(); at most kKept of them.
class ScratchPool {
 public:
  std::unique_ptr<BpeScratch> take() {
    {
      const std::lock_guard lock(mutex_);
      if (!free_.empty()) {
        auto scratch = std::move(free_.back());
        free_.pop_back();
        return scratch;
      }
    }
    return std::make_unique<BpeScratch>();
  }
  void give_back(std::unique_ptr<BpeScratch> scratch) {
    scratch->shrink();
    const std::lock_guard lock(mutex_);
    if (free_.size() < kKept) free_.push_back(std::move(scratch));
  }

 private:
  static constexpr size_t kKept = 16;
  std::mutex mutex_;
  std::vector<std::unique_ptr<BpeScratch>> free_;
};

}  // namespace

/// [begin, end) of the joined text. Neighbours differ in `trusted`.
struct Tokenizer::Range {
  size_t begin, end;
  bool trusted;
};

struct Tokenizer::Parts {
  explicit Parts(const TokenizerSpec& spec)
      : vocab(make_vocab(spec)),
        bpe(vocab, make_merges(spec, vocab), spec.ignore_merges),
        added(make_added(spec)),
        pretokenizer(make_pretokenizer(spec.pre, spec.patterns)),
        nfc(spec.nfc) {
    for (size_t id = 0; id < spec.tokens.size(); ++id)
      longest = std::max(longest, vocab.bytes(static_cast<TokenId>(id)).size());
    for (size_t b = 0; b < has_token.size(); ++b) has_token[b] = bpe.byte_token(static_cast<uint8_t>(b)) >= 0;
  }

  /// Appends the ids of text that holds no added token.
  void encode_plain(std::string_view text, std::vector<TokenId>& out, BpeScratch& scratch) const {
    while (!text.empty()) {
      const size_t good = valid_utf8_prefix(text);
      encode_valid(text.substr(0, good), out, scratch);
      text.remove_prefix(good);
      if (text.empty()) return;
      encode_bad_byte(text[0], out, scratch);
      text.remove_prefix(1);
    }
  }

  void encode_valid(std::string_view text, std::vector<TokenId>& out, BpeScratch& scratch) const {
    const auto merge = [&](std::string_view piece) { bpe.encode(piece, out, scratch); };
    if (nfc && nfc_may_change(text)) {
      pretokenizer->split(to_nfc(text), merge);
    } else {
      pretokenizer->split(text, merge);
    }
  }

  void encode_bad_byte(char byte, std::vector<TokenId>& out, BpeScratch& scratch) const {
    const TokenId id = bpe.byte_token(static_cast<uint8_t>(byte));
    if (id >= 0) return out.push_back(id);
    bpe.encode("\xEF\xBF\xBD", out, scratch);
  }

  BpeVocab vocab;
  Bpe bpe;
  AddedTokens added;
  std::unique_ptr<const Pretokenizer> pretokenizer;
  bool nfc;
  size_t longest = 1;                 // token, in bytes
  std::array<bool, 256> has_token{};  // of bytes; others are left out
  ScratchPool pool;
};

Tokenizer::Tokenizer(TokenizerSpec spec) : spec_(std::move(spec)) {
  try {
    check_spec(spec_);
    std::sort(spec_.end_of_generation.begin(), spec_.end_of_generation.end());
    parts_ = std::make_unique<Parts>(spec_);
  } catch (const Error& e) {  // the parts know no files
    if (spec_.source.empty()) throw;
    throw Error(cat(spec_.source, ": ", e.what()));
  }
  spec_.merges = {};
}
Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;

std::vector<TokenId> Tokenizer::encode(std::string_view text, EncodeOptions options) const {
  const Range whole{0, text.size(), options.parse_special};
  std::vector<TokenId> ids = encode_ranges(text, {&whole, 1});
  if (!options.add_special) return ids;
  const bool has_bos = !ids.empty() && spec_.bos && ids.front() == *spec_.bos;
  if (spec_.add_bos && spec_.bos && !has_bos) ids.insert(ids.begin(), *spec_.bos);
  if (spec_.add_eos && spec_.eos) ids.push_back(*spec_.eos);
  return ids;
}

std::vector<TokenId> Tokenizer::encode(std::span<const TextPiece> pieces) const {
  std::string text;
  std::vector<Range> ranges;
  for (const TextPiece& piece : pieces) {
    if (piece.text.empty()) continue;
    text += piece.text;
    if (!ranges.empty() && ranges.back().trusted == piece.trusted) {
      ranges.back().end = text.size();
    } else {
      ranges.push_back({text.size() - piece.text.size(), text.size(), piece.trusted});
    }
  }
  return encode_ranges(text, ranges);
}

std::vector<TokenId> Tokenizer::encode_ranges(std::string_view text, std::span<const Range> ranges) const {
  std::vector<TokenId> out;
  out.reserve(text.size() / 4);
  std::unique_ptr<BpeScratch> scratch = parts_->pool.take();
  size_t done = 0;
  for (const Range& range : ranges) {
    size_t at = std::max(range.begin, done);  // a letter may have begun in the range before
    while (const auto match = parts_->added.find(text, at, range.end, range.trusted)) {
      parts_->encode_plain(text.substr(done, match->begin - done), out, *scratch);
      out.push_back(match->id);
      done = at = match->end;
    }
  }
  parts_->encode_plain(text.substr(done), out, *scratch);
  parts_->pool.give_back(std::move(scratch));
  return out;
}

size_t Tokenizer::fewest_tokens(std::span<const TextPiece> pieces) const {
  // NFC leaves a text of smaller bytes alone, and makes at most three of one: three jamo are a syllable.
  constexpr uint8_t kFirstChanged = 0xCC;
  constexpr size_t kMostComposed = 3;
  size_t bytes = 0;
  for (const TextPiece& piece : pieces) {
    size_t n = 0;
    bool may_change = false;
    for (const char c : piece.text) {
      n += parts_->has_token[static_cast<uint8_t>(c)] ? 1 : 0;
      may_change |= static_cast<uint8_t>(c) >= kFirstChanged;
    }
    bytes += parts_->nfc && may_change ? n / kMostComposed : n;
  }
  return bytes / parts_->longest;
}

std::string Tokenizer::decode(std::span<const TokenId> ids, bool skip_special) const {
  std::string bytes;
  for (const TokenId id : ids)
    if (!skip_special || kind(id) != TokenKind::kControl) bytes += token_view(id);
  return utf8_lossy(bytes);
}

std::string_view Tokenizer::token_view(TokenId id) const {
  check_id(id);
  return parts_->vocab.bytes(id);
}

std::optional<TokenId> Tokenizer::find(std::string_view token_text) const {
  if (const auto id = parts_->added.id_of(token_text)) return id;
  const std::optional<std::string> bytes = bytes_of(token_text);
  const TokenId id = bytes && !bytes->empty() ? parts_->vocab.find(*bytes) : -1;
  return id < 0 ? std::nullopt : std::optional(id);
}

TokenKind Tokenizer::kind(TokenId id) const {
  check_id(id);
  return spec_.kinds[static_cast<size_t>(id)];
}

bool Tokenizer::is_end_of_generation(TokenId id) const {
  return std::binary_search(spec_.end_of_generation.begin(), spec_.end_of_generation.end(), id);
}

void Tokenizer::check_id(TokenId id) const {
  if (id < 0 || static_cast<size_t>(id) >= spec_.tokens.size())
    throw Error(cat("token id: expected 0 to ", spec_.tokens.size() - 1, ", found ", id));
}

}  // namespace fathom

#include "formats/tokenizer_gguf.h"

#include <algorithm>
#include <array>

#include "text/pretokenizer.h"

namespace fathom {
namespace {

constexpr std::array<std::string_view, 7> kEndTokens = {
    "<｜end▁of▁sentence｜>", "<|EOT|>", "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>"};

/// GGUF's names to those of TokenizerSpec::pre. Throws Error listing the known ones.
std::string canonical_pre(const GgufMetadata& m) {
  const std::string pre = m.string("tokenizer.ggml.pre").value_or("");
  if (pre == "deepseek-r1-qwen") return "qwen2";
  if (pre == "llama3" || pre == "llama-v3") return "llama-bpe";
  std::string known;
  for (const std::string& name : known_pre_names()) {
    if (name == pre) return pre;
    known += cat(known.empty() ? "" : ", ", name);
  }
  throw Error(cat(m.what(), ": key tokenizer.ggml.pre: expected a known pre-tokenizer (", known, "), found ",
                  pre.empty() ? "none" : printable(pre)));
}

/// Before anything is taken apart: an empty string takes 8 bytes of a file and some 100 of memory.
void at_most(const GgufMetadata& m, std::string_view key, size_t limit) {
  if (m.count(key) > limit)
    throw Error(cat(m.what(), ": key ", key, ": expected at most ", limit, " entries, found ", m.count(key)));
}

TokenKind kind_of(int64_t type) {
  switch (type) {
    case 3: return TokenKind::kControl;
    case 4: return TokenKind::kUserDefined;
    case 5: return TokenKind::kUnused;
    default: return TokenKind::kNormal;  // 1 normal, 2 unknown, 6 byte
  }
}

void read_kinds(const GgufMetadata& m, TokenizerSpec& spec) {
  const std::vector<int64_t> types = m.integers("tokenizer.ggml.token_type");
  spec.kinds.assign(spec.tokens.size(), TokenKind::kNormal);
  if (types.empty()) return;
  if (types.size() != spec.tokens.size())
    throw Error(cat(m.what(), ": key tokenizer.ggml.token_type: expected ", spec.tokens.size(),
                    " values, one a token, found ", types.size()));
  for (size_t i = 0; i < types.size(); ++i) {
    if (types[i] < 1 || types[i] > 6)
      throw Error(
          cat(m.what(), ": key tokenizer.ggml.token_type: expected 1 to 6, found ", types[i], " for token ", i));
    spec.kinds[i] = kind_of(types[i]);
  }
  // Converters mark these control by their looks; the tokenizer they come from prints them.
  for (const int64_t id : m.integers("fathom.tokenizer.visible_tokens")) {
    if (id < 0 || static_cast<size_t>(id) >= types.size() || types[static_cast<size_t>(id)] != 3)
      throw Error(cat(m.what(), ": key fathom.tokenizer.visible_tokens: expected ids of control tokens, found ", id));
    spec.kinds[static_cast<size_t>(id)] = TokenKind::kUserDefined;
  }
}

/// Nothing but padding: names for the rows of a model that came without a tokenizer.
bool is_placeholder(const TokenizerSpec& spec) {
  return std::all_of(spec.kinds.begin(), spec.kinds.end(), [](TokenKind k) { return k == TokenKind::kUnused; });
}

std::optional<TokenId> token_id(const GgufMetadata& m, const TokenizerSpec& spec, std::string_view name) {
  const std::string key = cat("tokenizer.ggml.", name, "_token_id");
  const std::optional<uint64_t> id = m.integer(key);
  if (!id) return std::nullopt;
  if (*id == 0xFFFFFFFFu) return std::nullopt;  // how some writers say: none
  if (*id >= spec.tokens.size())
    throw Error(cat(m.what(), ": key ", key, ": expected an id below ", spec.tokens.size(), ", found ", *id));
  return static_cast<TokenId>(*id);
}

}  // namespace

std::pair<std::string, std::string> split_merge(std::string_view merge, std::string_view what) {
  const size_t space = merge.find(' ', 1);
  if (merge.empty() || space == std::string_view::npos || space + 1 == merge.size())
    throw Error(cat(what, ": expected a merge of two parts, found ", printable(merge)));
  return {std::string(merge.substr(0, space)), std::string(merge.substr(space + 1))};
}

void set_end_of_generation(TokenizerSpec& spec, std::vector<TokenId> ids) {
  for (size_t i = 0; i < spec.tokens.size(); ++i)
    if (spec.kinds[i] != TokenKind::kNormal &&
        std::find(kEndTokens.begin(), kEndTokens.end(), spec.tokens[i]) != kEndTokens.end())
      ids.push_back(static_cast<TokenId>(i));
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  spec.end_of_generation = std::move(ids);
}

std::optional<TokenizerSpec> tokenizer_from_gguf(const GgufMetadata& m) {
  if (!m.has("tokenizer.ggml.tokens")) return std::nullopt;
  const std::string model = m.string("tokenizer.ggml.model").value_or("");
  if (model != "gpt2")
    throw Error(cat(m.what(), ": key tokenizer.ggml.model: expected gpt2 (byte-level BPE), found ", printable(model)));
  at_most(m, "tokenizer.ggml.tokens", kMaxTokens);
  at_most(m, "tokenizer.ggml.merges", kMaxMerges);
  at_most(m, "tokenizer.ggml.token_type", kMaxTokens);
  TokenizerSpec spec;
  spec.source = m.what();
  spec.tokens = m.strings("tokenizer.ggml.tokens");
  read_kinds(m, spec);
  if (is_placeholder(spec)) return std::nullopt;
  for (const std::string& merge : m.strings("tokenizer.ggml.merges"))
    spec.merges.push_back(split_merge(merge, cat(m.what(), ": key tokenizer.ggml.merges")));
  spec.pre = canonical_pre(m);
  spec.ignore_merges = m.boolean("fathom.tokenizer.ignore_merges").value_or(spec.pre == "llama-bpe");
  spec.nfc = m.boolean("fathom.tokenizer.nfc").value_or(spec.pre == "qwen2");
  spec.bos = token_id(m, spec, "bos");
  spec.eos = token_id(m, spec, "eos");
  spec.pad = token_id(m, spec, "padding");
  spec.add_bos = m.boolean("tokenizer.ggml.add_bos_token").value_or(spec.pre == "llama-bpe");
  spec.add_eos = m.boolean("tokenizer.ggml.add_eos_token").value_or(false);
  if ((spec.add_bos && !spec.bos) || (spec.add_eos && !spec.eos))
    throw Error(cat(m.what(), ": key tokenizer.ggml.add_", spec.add_bos && !spec.bos ? "bos" : "eos",
                    "_token: true, but the file does not name that token"));
  std::vector<TokenId> ends;
  for (std::string_view name : {"eos", "eot", "eom"})
    if (const std::optional<TokenId> id = token_id(m, spec, name)) ends.push_back(*id);
  set_end_of_generation(spec, std::move(ends));
  spec.chat_template = m.string("tokenizer.chat_template").value_or("");
  return spec;
}

}  // namespace fathom

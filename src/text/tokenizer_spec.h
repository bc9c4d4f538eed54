// What a tokenizer is made of, read from tokenizer.json or from GGUF metadata by formats/ and turned into a Tokenizer
// by text/tokenizer.h. Plain data.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace fathom {

using TokenId = int32_t;

enum class TokenKind : uint8_t {
  kNormal,       ///< a piece of the BPE vocabulary, text in byte-to-unicode form
  kControl,      ///< an added token marked special (or shaped like one): text is literal
  kUserDefined,  ///< an added token that is not special, as <think>: text is literal
  kUnused,       ///< a padding row of the vocabulary: never encoded, decodes to nothing
};

struct TokenizerSpec {
  std::vector<std::string> tokens;                          ///< index = id
  std::vector<TokenKind> kinds;                             ///< as long as tokens
  std::vector<std::pair<std::string, std::string>> merges;  ///< in rank order
  bool ignore_merges = false;                               ///< a whole piece in the vocabulary is not merged (Llama 3)
  bool nfc = false;                                         ///< normalise pieces to NFC (Qwen)
  /// Name as GGUF's tokenizer.ggml.pre: "deepseek-v3", "deepseek-llm", "deepseek-coder", "qwen2", "llama-bpe", "gpt-2",
  /// "smollm"; or empty, and then `patterns` is used.
  std::string pre;
  /// The Split / Digits / ByteLevel steps of an unknown tokenizer.json as regular expressions, applied in order,
  /// each isolating its matches.
  std::vector<std::string> patterns;
  bool add_bos = false, add_eos = false;
  std::optional<TokenId> bos, eos, pad;
  std::vector<TokenId> end_of_generation;  ///< eos, eot, eom and known end tokens, ascending
  std::string chat_template;               ///< Jinja source, empty where there is none
  std::string source;                      ///< the file that it was read from, for messages; empty: none
};

}  // namespace fathom

// Cutting text into the pieces that byte-level BPE works on: hand-written scanners for the known tokenizers, PCRE2 for
// the patterns of any other tokenizer.json. text/tokenizer.cc calls it; formats/ asks known_pre() for the name of the
// patterns that a file has. Source: spec/tokenizers.md 2.1. Thread-safe: const after construction.
#pragma once
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/function_ref.h"

namespace fathom {

class Pretokenizer {
 public:
  using Emit = FunctionRef<void(std::string_view)>;
  virtual ~Pretokenizer() = default;

  /// Calls emit for each piece of `text`, which must be valid UTF-8, from left to right; the pieces join to `text` and
  /// none is empty. Time is linear in text.size() for known names; a regular expression works within match limits.
  /// Throws Error naming the pattern that ran into its limit.
  virtual void split(std::string_view text, Emit emit) const = 0;
};

/// The pre-tokenizer of that name ("deepseek-v3", ... as TokenizerSpec::pre, and GGUF's other names of the same), or,
/// where `pre` is empty, of those patterns. Throws Error for an unknown name or a pattern that does not compile.
std::unique_ptr<const Pretokenizer> make_pretokenizer(const std::string& pre, std::span<const std::string> patterns);

/// PCRE2's version, for any patterns: each is applied to the pieces of the one before and isolates its matches.
/// \s and \S mean White_Space. Throws Error naming the pattern that does not compile.
std::unique_ptr<const Pretokenizer> make_regex_pretokenizer(std::span<const std::string> patterns);

/// The name of the known pre-tokenizer with exactly these steps, or "" if there is none. A Digits step is written
/// \p{N} (individual) or \p{N}+, ByteLevel's own pattern as patterns_of("gpt-2").
std::string known_pre(std::span<const std::string> patterns);

/// The steps of a known pre-tokenizer as regular expressions. Throws Error for an unknown name.
std::vector<std::string> patterns_of(const std::string& pre);

/// The names that have a scanner, without their aliases.
std::vector<std::string> known_pre_names();

}  // namespace fathom

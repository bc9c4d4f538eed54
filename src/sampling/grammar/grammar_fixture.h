// For tests of grammars: whether a text is of one, and a real vocabulary.
#pragma once
#include <filesystem>
#include <optional>
#include <string_view>

#include "sampling/grammar/grammar_matcher.h"
#include "text/tokenizer_fixture.h"

namespace fathom::testing {

/// Whether `text` is of the grammar, byte by byte.
inline bool matches(const Grammar& grammar, std::string_view text) {
  GrammarMatcher matcher(grammar);
  for (size_t i = 0; i < text.size(); ++i)
    if (!matcher.accept(text.substr(i, 1))) return false;
  return matcher.may_finish();
}

struct RealVocabulary {
  explicit RealVocabulary(const std::filesystem::path& folder) : tokenizer(load_tokenizer_json(folder)) {}
  Tokenizer tokenizer;
  TokenTrie trie{tokenizer};
};

/// That of the tokenizer in `folder`, loaded once per process, whatever the folder is later; null without a folder.
inline const RealVocabulary* real_vocabulary(const std::optional<std::filesystem::path>& folder) {
  static const std::optional<RealVocabulary> vocabulary = [&] {
    return folder ? std::optional<RealVocabulary>(std::in_place, *folder) : std::nullopt;
  }();
  return vocabulary ? &*vocabulary : nullptr;
}

}  // namespace fathom::testing

// What a search shows of a text: some words around the first of those that were looked for. FTS5's own snippet() and
// highlight() take minutes for a text with many hits (they compare all with all, or copy the text for each), and nobody
// else reaches the store meanwhile. Pure functions; any thread.
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fathom {

/// Letters and digits without case and accents, about as FTS5's tokenizer unicode61 reads them.
using FoldedWord = std::u32string;

/// The words of what a person typed.
std::vector<FoldedWord> folded_words(std::string_view text);

/// Up to about `bytes` of `text` around the first word that begins with one of `words`; each such word there stands
/// between U+0001 and U+0002, and "…" where text was left out. nullopt: there is none. Looks no further than it must.
std::optional<std::string> snippet(std::string_view text, const std::vector<FoldedWord>& words, size_t bytes = 200);

/// The beginning of a text, as a snippet without a hit.
std::string beginning(std::string_view text, size_t bytes = 200);

}  // namespace fathom

// The table of a recipe's keys: reading, writing and help all walk it. Used by recipe*.cc alone. Constant: thread-safe.
#pragma once
#include <array>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "train/recipe.h"

namespace fathom {

/// Where a key's value lives; the alternative is its type.
using RecipeSlot =
    std::variant<std::string*, int64_t*, double*, bool*, std::array<double, 2>*, std::vector<std::string>*>;

enum class RecipeText {
  kPlain,
  kChoice,  ///< one of `words`
  kPath,    ///< a path, or one of `words`
  kModel,   ///< a path, or the name of a model
};

/// Open ends of ranges.
inline constexpr double kAboveZero = std::numeric_limits<double>::denorm_min();
inline constexpr double kBelowOne = 1 - std::numeric_limits<double>::epsilon() / 2;
inline constexpr double kNoBound = 1e15;

struct RecipeKey {
  const char* section;  ///< "" at the top of the file
  const char* key;
  RecipeSlot (*slot)(Recipe&);
  const char* doc;
  double least = 0, most = kNoBound;  ///< of numbers
  RecipeText text = RecipeText::kPlain;
  const char* words = "";  ///< "a|b|c"

  /// "optimizer.learning_rate", "seed".
  std::string name() const;
};

/// In the order of the file: top, then section by section.
std::span<const RecipeKey> recipe_keys();

/// Null where the table has no such key.
const RecipeKey* find_recipe_key(std::string_view section, std::string_view key);

/// Whether any key is in [section].
bool is_recipe_section(std::string_view section);

/// The known key most like "section.key": one of the same name in another section, else the least edits away.
std::string nearest_recipe_key(std::string_view section, std::string_view key);

/// What the key takes: "one of adamw, muon", "a number from 0 to below 1", "a list of strings".
std::string expectation(const RecipeKey& key);

/// True if `text` is one of the words of "a|b|c".
bool is_word_of(std::string_view words, std::string_view text);

/// The value as TOML.
std::string recipe_value_text(const RecipeSlot& slot);

}  // namespace fathom

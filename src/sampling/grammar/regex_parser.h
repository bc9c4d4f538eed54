// Regular expressions as parts of a grammar: compile_regex() and the keyword `pattern` of JSON schemas share this.
#pragma once
#include <string_view>

#include "base/function_ref.h"
#include "sampling/grammar/grammar_builder.h"

namespace fathom {

/// The expression that `pattern` becomes: `whole`, it is matched against the whole text, else somewhere within it
/// unless ^ and $ say more. `one_of` makes one character of a set: as itself, or as it is written in a JSON string.
/// What is read, and the Error thrown: compile_regex() in grammar.h. `what` begins the error's message.
ExprId parse_regex(GrammarBuilder& builder, std::string_view pattern, bool whole, std::string_view what,
                   FunctionRef<ExprId(std::vector<CharRange>)> one_of);

}  // namespace fathom

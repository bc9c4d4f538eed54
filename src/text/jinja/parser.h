// Template source to syntax tree: the grammar of Jinja2 as far as chat templates use it, that is all expressions, and
// the statements for, if, set, macro, call, filter, with, generation, break, continue (no inheritance, no imports).
// Called by ChatTemplate. Thread-safe: no state.
#pragma once
#include <set>
#include <string>
#include <string_view>

#include "text/jinja/ast.h"

namespace fathom::jinja {

struct Template {
  Block body;
  std::set<std::string, std::less<>> names;  ///< every variable that is read somewhere
};

/// Throws Error naming the line, what was expected and what was found.
Template parse(std::string_view source);

}  // namespace fathom::jinja

// A compiled grammar over bytes: what constrained output may consist of. Made once per request from GBNF, a regular
// expression, a JSON schema (json_schema.h) or a list of choices, kept by GrammarCache, followed by
// GrammarMatcher. A Grammar is a handle of something immutable: cheap to copy, used by any number of threads.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace fathom {

struct Automaton;
class MaskCache;

class Grammar {
 public:
  explicit Grammar(Automaton automaton);
  const Automaton& automaton() const { return *automaton_; }
  /// What its matchers have computed about token masks: shared, bounded, thread-safe.
  MaskCache& masks() const { return *masks_; }
  /// Memory in bytes, that of the masks computed so far included.
  size_t size_bytes() const;

 private:
  std::shared_ptr<const Automaton> automaton_;
  std::shared_ptr<MaskCache> masks_;
};

/// llama.cpp's GBNF: rules `name ::= alternatives`, begun at `root`; literals "..." with \n \r \t \" \\ \[ \] \xNN
/// \uNNNN \UNNNNNNNN (code points), classes [a-z] [^"\\], `.` (any character), groups, `|`, * + ? {m} {m,} {m,n} {,n},
/// comments after #. A rule ends with its line, except within parentheses and after `::=` and `|`.
/// Throws Error with line, column and rule name for: syntax, an undefined rule, one defined twice, no root, a rule that
/// can never finish, left recursion (direct or not), repetition or nesting beyond the bounds, token literals <...>.
Grammar parse_gbnf(std::string_view text);

/// JSON mode: an object, with any JSON inside.
Grammar json_grammar();

/// A regular expression, matched against the whole output: literals, ., classes, \d \w \s and their negations, \n \r
/// \t \f \v \0 \xHH \uHHHH, groups (named and (?:...) too), |, * + ? {m,n} (lazy forms are the same set), ^ and $ at
/// the ends. Throws Error with the position for: look-around, backreferences, \b, \p, flags, anchors elsewhere, syntax,
/// repetition or nesting beyond the bounds. There is no backtracking: the time is linear in the output.
Grammar compile_regex(std::string_view pattern);

/// One of `choices`, literally. Throws Error if there is none, or one is not valid UTF-8.
Grammar compile_choice(std::span<const std::string> choices);

}  // namespace fathom

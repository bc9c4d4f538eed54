// Builds a Grammar from expressions: what the GBNF, regular expression and JSON schema compilers have in common. Each
// add function returns a number by which later ones refer to the expression; a rule is declared first and defined
// later, so that rules may refer to each other. One thread per builder.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sampling/grammar/automaton.h"
#include "sampling/grammar/grammar.h"

namespace fathom {

using ExprId = uint32_t;

struct CharRange {
  char32_t lo, hi;  ///< both included
};

/// Ascending ranges without overlap, of scalar values only (no surrogates, at most U+10FFFF).
std::vector<CharRange> normalised(std::vector<CharRange> ranges);
/// All scalar values that are in none of `ranges`.
std::vector<CharRange> complement(std::vector<CharRange> ranges);

class GrammarBuilder {
 public:
  static constexpr uint32_t kUnlimited = UINT32_MAX;
  /// States 0..states-1, begun in 0; an edge of no expression is free.
  struct Graph {
    struct Edge {
      uint32_t from, to;
      std::optional<ExprId> label;
    };
    uint32_t states = 1;
    std::vector<Edge> edges;
    std::vector<uint32_t> accepting;

    uint32_t add_state() { return states++; }
    void add(uint32_t from, uint32_t to, std::optional<ExprId> label = {}) { edges.push_back({from, to, label}); }
  };

  ExprId literal(std::string_view utf8);        ///< valid UTF-8; "" is the empty text
  ExprId chars(std::vector<CharRange> ranges);  ///< one character; of no range: nothing matches
  ExprId sequence(std::vector<ExprId> parts);
  ExprId choice(std::vector<ExprId> alternatives);  ///< of none: nothing matches
  ExprId repeat(ExprId what, uint32_t min, uint32_t max);
  ExprId optional(ExprId what) { return repeat(what, 0, 1); }
  ExprId rule(RuleId rule);
  ExprId graph(Graph graph);

  RuleId declare(std::string name);
  void define(RuleId rule, ExprId expr);
  RuleId add_rule(std::string name, ExprId expr);
  bool defined(RuleId rule) const { return rules_[rule].expr.has_value(); }
  const std::string& name(RuleId rule) const { return rules_[rule].name; }
  size_t rules() const { return rules_.size(); }

  /// Whether build() refuses rules that no finite text matches, or drops the alternatives that call them.
  enum class Unfinishable { kRefuse, kDrop };
  /// Compiles. All rules are defined. Throws Error if the root (or, kRefuse, any rule) can never finish, if a rule is
  /// left recursive (it would call itself before any byte), or if a bound of nfa.h is exceeded.
  Grammar build(RuleId root, Unfinishable unfinishable);

 private:
  enum class Kind : uint8_t { kLiteral, kChars, kSequence, kChoice, kRepeat, kRule, kGraph };
  struct Expr {
    Kind kind;
    uint32_t first = 0, count = 0;  // into the table of the kind; kRule: first is the rule; kRepeat: the expression
    uint32_t min = 0, max = 0;      // kRepeat
    uint32_t weight = 0;            // about how many edges it becomes; saturates, calls are heavy
  };
  struct Rule {
    std::string name;
    std::optional<ExprId> expr;
  };
  friend class GrammarLowering;
  ExprId add(Expr expr);
  ExprId add_list(Kind kind, const std::vector<ExprId>& parts);

  std::vector<Expr> exprs_;
  std::string text_;               // of literals
  std::vector<CharRange> ranges_;  // of character classes
  std::vector<ExprId> parts_;      // of sequences and choices
  std::vector<Graph> graphs_;
  std::vector<Rule> rules_;
};

}  // namespace fathom

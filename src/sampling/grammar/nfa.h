// The grammar between expressions and automata: every rule as a nondeterministic automaton, all in one table. Used by
// GrammarBuilder and by determinize().
#pragma once
#include <cstdint>
#include <vector>

#include "sampling/grammar/automaton.h"

namespace fathom {

struct Nfa {
  static constexpr uint32_t kNone = UINT32_MAX;
  enum class Kind : uint8_t { kEmpty, kBytes, kCall };
  struct Edge {
    Kind kind;
    uint8_t lo, hi;  ///< kBytes
    RuleId rule;     ///< kCall
    uint32_t to;
    uint32_t next;  ///< the next edge of the same state
  };
  struct Rule {
    uint32_t start, end;
  };

  std::vector<uint32_t> first_edge;  // of each state
  std::vector<Edge> edges;
  std::vector<Rule> rules;

  uint32_t add_state() {
    first_edge.push_back(kNone);
    return static_cast<uint32_t>(first_edge.size() - 1);
  }
  void add_edge(uint32_t from, Edge edge) {
    edge.next = first_edge[from];
    first_edge[from] = static_cast<uint32_t>(edges.size());
    edges.push_back(edge);
  }
  void add_empty(uint32_t from, uint32_t to) { add_edge(from, {Kind::kEmpty, 0, 0, 0, to, kNone}); }
  void add_bytes(uint32_t from, uint8_t lo, uint8_t hi, uint32_t to) {
    add_edge(from, {Kind::kBytes, lo, hi, 0, to, kNone});
  }
  void add_call(uint32_t from, RuleId rule, uint32_t to) { add_edge(from, {Kind::kCall, 0, 0, rule, to, kNone}); }
};

/// For each state, whether its rule's end can be reached from it: over any edge with a finite text, or (`only_empty`)
/// without a byte. A state is a rule's own, so states[rule.start] says it of the rule. Linear in the edges.
std::vector<bool> reaches_end(const Nfa& nfa, bool only_empty);

/// The automaton of all rules that `root` reaches, by the subset construction over bytes and calls. `finishes` is
/// reaches_end(nfa, false), `nullable` reaches_end(nfa, true). Edges that lead nowhere are dropped.
/// Throws Error if there would be more states, or more work, than the bounds below.
Automaton determinize(const Nfa& nfa, RuleId root, const std::vector<bool>& finishes,
                      const std::vector<bool>& nullable);

constexpr size_t kMostGrammarStates = size_t{1} << 17;  ///< deterministic states of one grammar
constexpr size_t kMostGrammarParts = size_t{1} << 20;   ///< nondeterministic ones, and expressions
constexpr size_t kMostGrammarWork = size_t{1} << 25;    ///< steps of the subset construction
constexpr size_t kMostGrammarShapes = size_t{1} << 14;  ///< Automaton::shapes

}  // namespace fathom

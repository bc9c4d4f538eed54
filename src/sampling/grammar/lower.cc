// From expressions to an automaton: Thompson's construction for each rule, the checks that need all rules, and the
// subset construction.
#include <algorithm>
#include <array>

#include "base/error.h"
#include "sampling/grammar/grammar_builder.h"
#include "sampling/grammar/nfa.h"
#include "text/utf8.h"

namespace fathom {

// A rule that calls nothing and has few edges is copied into its callers: one automaton then decides what would
// otherwise stay open until a byte more is known.
constexpr uint32_t kInlinedWeight = 16;

class GrammarLowering {
 public:
  explicit GrammarLowering(const GrammarBuilder& builder) : b_(builder) {
    for (const GrammarBuilder::Rule& rule : b_.rules_) {
      check(rule.expr.has_value(), "every rule of a grammar is defined before it is built");
      const uint32_t start = state(), end = state();
      nfa.rules.push_back({start, end});
      rule_ = &rule.name;
      lower(*rule.expr, start, end);
    }
  }
  Nfa nfa;

 private:
  using Kind = GrammarBuilder::Kind;
  using Expr = GrammarBuilder::Expr;

  uint32_t state() {
    if (nfa.first_edge.size() >= kMostGrammarParts || nfa.edges.size() >= 4 * kMostGrammarParts)
      throw Error(cat("grammar: expected at most ", kMostGrammarParts, " parts, found more in ", rule_ ? *rule_ : "it",
                      ": repetitions, lengths or alternatives are too large"));
    return nfa.add_state();
  }

  // Nothing here leads into `from` or out of `to`, except where a repetition makes them one: so parts can be set side
  // by side and in a row.
  void lower(ExprId id, uint32_t from, uint32_t to) {
    const Expr& e = b_.exprs_[id];
    switch (e.kind) {
      case Kind::kLiteral: return literal({b_.text_.data() + e.first, e.count}, from, to);
      case Kind::kChars:
        for (uint32_t i = 0; i < e.count; ++i) range(b_.ranges_[e.first + i].lo, b_.ranges_[e.first + i].hi, from, to);
        return;
      case Kind::kSequence: return sequence({b_.parts_.data() + e.first, e.count}, from, to);
      case Kind::kChoice:
        for (uint32_t i = 0; i < e.count; ++i) lower(b_.parts_[e.first + i], from, to);
        return;
      case Kind::kRepeat: return repeat(e, from, to);
      case Kind::kRule: {
        const ExprId body = *b_.rules_[e.first].expr;
        if (b_.exprs_[body].weight <= kInlinedWeight) return lower(body, from, to);
        return nfa.add_call(from, e.first, to);
      }
      case Kind::kGraph: return graph(b_.graphs_[e.first], from, to);
    }
  }

  void literal(std::string_view text, uint32_t from, uint32_t to) {
    if (text.empty()) return nfa.add_empty(from, to);
    for (size_t i = 0; i < text.size(); ++i) {
      const uint32_t next = i + 1 == text.size() ? to : state();
      const auto byte = static_cast<uint8_t>(text[i]);
      nfa.add_bytes(from, byte, byte, next);
      from = next;
    }
  }

  void sequence(std::span<const ExprId> parts, uint32_t from, uint32_t to) {
    if (parts.empty()) return nfa.add_empty(from, to);
    for (size_t i = 0; i < parts.size(); ++i) {
      const uint32_t next = i + 1 == parts.size() ? to : state();
      lower(parts[i], from, next);
      from = next;
    }
  }

  void repeat(const Expr& e, uint32_t from, uint32_t to) {
    for (uint32_t i = 0; i < e.min; ++i) {
      const uint32_t next = state();
      lower(e.first, from, next);
      from = next;
    }
    if (e.max == GrammarBuilder::kUnlimited) {
      const uint32_t loop = state();
      nfa.add_empty(from, loop);
      lower(e.first, loop, loop);
      nfa.add_empty(loop, to);
      return;
    }
    for (uint32_t i = e.min; i < e.max; ++i) {
      nfa.add_empty(from, to);
      const uint32_t next = state();
      lower(e.first, from, next);
      from = next;
    }
    nfa.add_empty(from, to);
  }

  void graph(const GrammarBuilder::Graph& graph, uint32_t from, uint32_t to) {
    std::vector<uint32_t> states(graph.states);
    for (uint32_t& s : states) s = state();
    nfa.add_empty(from, states[0]);
    for (const GrammarBuilder::Graph::Edge& edge : graph.edges) {
      if (edge.label) {
        lower(*edge.label, states[edge.from], states[edge.to]);
      } else {
        nfa.add_empty(states[edge.from], states[edge.to]);
      }
    }
    for (const uint32_t s : graph.accepting) nfa.add_empty(states[s], to);
  }

  // The UTF-8 forms of lo..hi: cut at the lengths, then where the bytes before the last are not all free.
  void range(char32_t lo, char32_t hi, uint32_t from, uint32_t to) {
    for (const char32_t last : {0x7Fu, 0x7FFu, 0xFFFFu})
      if (lo <= last && last < hi) return range(lo, last, from, to), range(last + 1, hi, from, to);
    std::string a, b;
    append_utf8(a, lo), append_utf8(b, hi);
    for (size_t tail = a.size() - 1; tail > 0; --tail) {  // the last `tail` bytes hold 6 * tail bits
      const char32_t mask = (char32_t{1} << (6 * tail)) - 1;
      if ((lo & ~mask) == (hi & ~mask)) continue;
      if ((lo & mask) != 0) return range(lo, lo | mask, from, to), range((lo | mask) + 1, hi, from, to);
      if ((hi & mask) != mask) return range(lo, (hi & ~mask) - 1, from, to), range(hi & ~mask, hi, from, to);
    }
    for (size_t i = 0; i < a.size(); ++i) {
      const uint32_t next = i + 1 == a.size() ? to : state();
      nfa.add_bytes(from, static_cast<uint8_t>(a[i]), static_cast<uint8_t>(b[i]), next);
      from = next;
    }
  }

  const GrammarBuilder& b_;
  const std::string* rule_ = nullptr;
};

namespace {

// Follows the calls that a rule can make before its first byte: depth first, without recursion. The rules come out
// with those that they call before them; a cycle is left recursion.
std::vector<RuleId> by_first_calls(const Automaton& a, const GrammarBuilder& names) {
  enum class Mark : uint8_t { kNew, kOpen, kDone };
  std::vector<Mark> marks(a.rules.size(), Mark::kNew);
  std::vector<RuleId> order;
  struct Visit {
    RuleId rule;
    uint32_t next_call;
  };
  std::vector<Visit> path;
  for (RuleId root = 0; root < a.rules.size(); ++root) {
    if (a.rules[root].start == Automaton::kNone || marks[root] != Mark::kNew) continue;
    marks[root] = Mark::kOpen;
    path.push_back({root, 0});
    while (!path.empty()) {
      Visit& visit = path.back();
      const std::span<const Automaton::Call> calls = a.calls_of(a.states[a.rules[visit.rule].start]);
      if (visit.next_call == calls.size()) {
        marks[visit.rule] = Mark::kDone;
        order.push_back(visit.rule);
        path.pop_back();
        continue;
      }
      const RuleId callee = calls[visit.next_call++].rule;
      if (marks[callee] == Mark::kOpen)
        throw Error(cat("grammar: rule ", names.name(callee),
                        ": expected a byte before it calls itself again, found left recursion through rule ",
                        names.name(visit.rule)));
      if (marks[callee] == Mark::kDone) continue;
      marks[callee] = Mark::kOpen;
      path.push_back({callee, 0});
    }
  }
  return order;
}

}  // namespace

Grammar GrammarBuilder::build(RuleId root, Unfinishable unfinishable) {
  const Nfa nfa = GrammarLowering(*this).nfa;
  const std::vector<bool> finishes = reaches_end(nfa, false), nullable = reaches_end(nfa, true);
  for (RuleId rule = 0; rule < rules_.size(); ++rule)
    if ((unfinishable == Unfinishable::kRefuse || rule == root) && !finishes[nfa.rules[rule].start])
      throw Error(cat("grammar: rule ", rules_[rule].name,
                      ": expected one that some finite text matches, found one that can never finish"));
  Automaton automaton = determinize(nfa, root, finishes, nullable);
  automaton.find_chains();
  for (const RuleId rule : by_first_calls(automaton, *this))
    automaton.rules[rule].first = automaton.first_of(automaton.rules[rule].start);
  return Grammar(std::move(automaton));
}

std::bitset<256> Automaton::first_of(uint32_t state) const {
  std::bitset<256> first;
  const Shape& shape = shapes[states[state].shape];
  for (size_t byte = 0; byte < 256; ++byte) first[byte] = shape[byte] != kNoSlot;
  for (const Call& call : calls_of(states[state])) first |= rules[call.rule].first;
  return first;
}

size_t Automaton::size_bytes() const {
  return states.size() * sizeof(State) + shapes.size() * sizeof(Shape) + targets.size() * sizeof(uint32_t) +
         calls.size() * sizeof(Call) + rules.size() * sizeof(Rule) + sizeof(Automaton);
}

}  // namespace fathom

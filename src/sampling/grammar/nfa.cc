#include "sampling/grammar/nfa.h"

namespace fathom {

std::vector<bool> reaches_end(const Nfa& nfa, bool only_empty) {
  const size_t n = nfa.first_edge.size();
  // Edges by the state they lead to, and calls by the rule they wait for.
  struct Back {
    uint32_t from, next;
  };
  std::vector<Back> back(nfa.edges.size());
  std::vector<uint32_t> into(n, Nfa::kNone), callers(nfa.rules.size(), Nfa::kNone), same_rule(nfa.edges.size());
  std::vector<uint32_t> starts_rule(n, Nfa::kNone);
  for (uint32_t state = 0; state < n; ++state)
    for (uint32_t e = nfa.first_edge[state]; e != Nfa::kNone; e = nfa.edges[e].next) {
      const Nfa::Edge& edge = nfa.edges[e];
      back[e] = {state, into[edge.to]};
      into[edge.to] = e;
      if (edge.kind != Nfa::Kind::kCall) continue;
      same_rule[e] = callers[edge.rule];
      callers[edge.rule] = e;
    }
  std::vector<bool> reached(n);
  std::vector<uint32_t> todo;
  const auto reach = [&](uint32_t state) {
    if (reached[state]) return;
    reached[state] = true;
    todo.push_back(state);
  };
  for (RuleId rule = 0; rule < nfa.rules.size(); ++rule) {
    starts_rule[nfa.rules[rule].start] = rule;
    reach(nfa.rules[rule].end);
  }
  while (!todo.empty()) {
    const uint32_t state = todo.back();
    todo.pop_back();
    for (uint32_t e = into[state]; e != Nfa::kNone; e = back[e].next) {
      const Nfa::Edge& edge = nfa.edges[e];
      if (edge.kind == Nfa::Kind::kBytes && only_empty) continue;
      if (edge.kind == Nfa::Kind::kCall && !reached[nfa.rules[edge.rule].start]) continue;
      reach(back[e].from);
    }
    if (starts_rule[state] == Nfa::kNone) continue;
    for (uint32_t e = callers[starts_rule[state]]; e != Nfa::kNone; e = same_rule[e])
      if (reached[nfa.edges[e].to]) reach(back[e].from);
  }
  return reached;
}

}  // namespace fathom

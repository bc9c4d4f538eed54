// The subset construction (Rabin and Scott, 1959) for each rule, with calls of rules as symbols beside the bytes.
#include <algorithm>
#include <string>
#include <unordered_map>

#include "base/error.h"
#include "base/seeded_hash.h"
#include "sampling/grammar/nfa.h"

namespace fathom {
namespace {

using Subset = std::vector<uint32_t>;  // ascending NFA states

struct SubsetHash {
  size_t operator()(const Subset& subset) const {
    return hash_bytes(reinterpret_cast<const char*>(subset.data()), subset.size() * sizeof(uint32_t),
                      random_hash_seed());
  }
};

class Determinizer {
 public:
  Determinizer(const Nfa& nfa, const std::vector<bool>& finishes, const std::vector<bool>& nullable)
      : nfa_(nfa), finishes_(finishes), nullable_(nullable), seen_(nfa.first_edge.size()) {
    out_.rules.resize(nfa.rules.size());
  }

  Automaton run(RuleId root) {
    out_.root = root;
    reach(root);
    while (!rules_.empty()) {
      const RuleId rule = rules_.back();
      rules_.pop_back();
      compile(rule);
    }
    return std::move(out_);
  }

 private:
  void reach(RuleId rule) {
    Automaton::Rule& r = out_.rules[rule];
    if (r.start != Automaton::kNone) return;
    r.start = new_state();
    r.nullable = nullable_[nfa_.rules[rule].start];
    rules_.push_back(rule);
  }

  uint32_t new_state() {
    if (out_.states.size() == kMostGrammarStates)
      throw Error(cat("grammar: expected at most ", kMostGrammarStates,
                      " states, found more: repetitions, lengths or alternatives are too large"));
    out_.states.push_back({});
    return static_cast<uint32_t>(out_.states.size() - 1);
  }

  void work(size_t steps) {
    work_ += steps;
    if (work_ > kMostGrammarWork)
      throw Error(cat("grammar: expected one that compiles in ", kMostGrammarWork,
                      " steps, found one that explodes: alternatives that begin alike, repeated many times"));
  }

  void compile(RuleId rule) {
    ids_.clear();
    todo_.clear();
    end_ = nfa_.rules[rule].end;
    Subset start{nfa_.rules[rule].start};
    close(start);
    todo_.push_back(&*ids_.emplace(std::move(start), out_.rules[rule].start).first);
    while (!todo_.empty()) {
      const auto* entry = todo_.back();
      todo_.pop_back();
      expand(entry->first, entry->second);
    }
  }

  // Adds what is reached without a byte, and keeps of all of it the states that have more than empty edges.
  void close(Subset& subset) {
    ++epoch_;
    Subset all = std::move(subset);
    subset.clear();
    for (const uint32_t state : all) seen_[state] = epoch_;
    for (size_t i = 0; i < all.size(); ++i) {
      const uint32_t state = all[i];
      bool keep = state == end_;
      for (uint32_t e = nfa_.first_edge[state]; e != Nfa::kNone; e = nfa_.edges[e].next) {
        const Nfa::Edge& edge = nfa_.edges[e];
        const bool call = edge.kind == Nfa::Kind::kCall;
        if (edge.kind != Nfa::Kind::kEmpty) keep = true;
        if (edge.kind == Nfa::Kind::kEmpty || (call && nullable_[nfa_.rules[edge.rule].start])) {
          if (seen_[edge.to] == epoch_ || !finishes_[edge.to]) continue;
          seen_[edge.to] = epoch_;
          all.push_back(edge.to);
        }
      }
      if (keep) subset.push_back(state);
    }
    work(all.size());
    std::sort(subset.begin(), subset.end());
  }

  uint32_t id_of(Subset subset) {
    std::sort(subset.begin(), subset.end());
    subset.erase(std::unique(subset.begin(), subset.end()), subset.end());
    close(subset);
    const auto found = ids_.find(subset);
    if (found != ids_.end()) return found->second;
    const uint32_t id = new_state();
    todo_.push_back(&*ids_.emplace(std::move(subset), id).first);
    return id;
  }

  void expand(const Subset& subset, uint32_t id) {
    std::vector<Nfa::Edge> bytes, calls;
    for (const uint32_t state : subset)
      for (uint32_t e = nfa_.first_edge[state]; e != Nfa::kNone; e = nfa_.edges[e].next) {
        const Nfa::Edge& edge = nfa_.edges[e];
        if (!finishes_[edge.to]) continue;
        if (edge.kind == Nfa::Kind::kBytes) bytes.push_back(edge);
        if (edge.kind == Nfa::Kind::kCall && finishes_[nfa_.rules[edge.rule].start]) calls.push_back(edge);
      }
    Automaton::State state{};
    state.final = std::binary_search(subset.begin(), subset.end(), end_);
    state.ends = state.final && bytes.empty() && calls.empty();
    add_bytes(bytes, state);
    add_calls(calls, state);
    out_.states[id] = state;
  }

  // Cuts 0..255 where an edge begins or ends; within a piece every byte leads to the same subset.
  void add_bytes(const std::vector<Nfa::Edge>& edges, Automaton::State& state) {
    std::bitset<257> cuts;
    for (const Nfa::Edge& edge : edges) cuts.set(edge.lo), cuts.set(size_t{edge.hi} + 1);
    Automaton::Shape shape;
    shape.fill(Automaton::kNoSlot);
    std::vector<uint32_t> slots;
    for (size_t lo = 0; lo < 256;) {
      size_t hi = lo + 1;
      while (hi < 256 && !cuts[hi]) ++hi;
      Subset subset;
      if (!edges.empty())
        for (const Nfa::Edge& edge : edges)
          if (edge.lo <= lo && lo <= edge.hi) subset.push_back(edge.to);
      work(edges.size());
      if (!subset.empty()) {
        const uint32_t target = id_of(std::move(subset));
        const auto slot = std::find(slots.begin(), slots.end(), target);
        std::fill(shape.begin() + static_cast<ptrdiff_t>(lo), shape.begin() + static_cast<ptrdiff_t>(hi),
                  static_cast<uint8_t>(slot - slots.begin()));
        if (slot == slots.end()) slots.push_back(target);
      }
      lo = hi;
    }
    check(slots.size() < Automaton::kNoSlot, "only bytes of valid UTF-8 occur in a grammar");
    state.first_target = static_cast<uint32_t>(out_.targets.size());
    out_.targets.insert(out_.targets.end(), slots.begin(), slots.end());
    std::string key(reinterpret_cast<const char*>(shape.data()), shape.size());
    const auto [at, added] = shapes_.try_emplace(std::move(key), static_cast<uint32_t>(out_.shapes.size()));
    if (added) out_.shapes.push_back(shape);
    if (out_.shapes.size() > kMostGrammarShapes)
      throw Error(cat("grammar: expected at most ", kMostGrammarShapes, " different sets of bytes, found more"));
    state.shape = at->second;
  }

  void add_calls(std::vector<Nfa::Edge>& edges, Automaton::State& state) {
    std::sort(edges.begin(), edges.end(), [](const Nfa::Edge& a, const Nfa::Edge& b) { return a.rule < b.rule; });
    std::vector<Automaton::Call> calls;
    for (size_t i = 0; i < edges.size();) {
      const RuleId rule = edges[i].rule;
      Subset subset;
      for (; i < edges.size() && edges[i].rule == rule; ++i) subset.push_back(edges[i].to);
      reach(rule);
      calls.push_back({rule, id_of(std::move(subset))});
    }
    state.first_call = static_cast<uint32_t>(out_.calls.size());
    state.calls = static_cast<uint32_t>(calls.size());
    out_.calls.insert(out_.calls.end(), calls.begin(), calls.end());
  }

  const Nfa& nfa_;
  const std::vector<bool>&finishes_, &nullable_;
  Automaton out_;
  std::vector<RuleId> rules_;  // reached, to be compiled
  size_t work_ = 0;
  // Of the rule in work:
  std::unordered_map<Subset, uint32_t, SubsetHash> ids_;
  std::vector<const std::pair<const Subset, uint32_t>*> todo_;
  uint32_t end_ = 0;
  std::vector<uint32_t> seen_;  // by NFA state: the epoch_ in which it was last met
  uint32_t epoch_ = 0;
  NameMap<uint32_t> shapes_;
};

}  // namespace

Automaton determinize(const Nfa& nfa, RuleId root, const std::vector<bool>& finishes,
                      const std::vector<bool>& nullable) {
  return Determinizer(nfa, finishes, nullable).run(root);
}

}  // namespace fathom

// Chains of states that differ late. In a string of at most n characters the states of 0, 1, 2, ... characters read the
// same tokens until the end comes near, so their masks need not each be computed from nothing.
#include <algorithm>
#include <vector>

#include "sampling/grammar/automaton.h"

namespace fathom {
namespace {

struct Pairs {
  const Automaton& a;
  std::vector<uint32_t> next;   // of each state the one that it is compared with, or kNone
  std::vector<uint32_t> slots;  // of each shape

  // The states that two states of one shape lead to by the same byte or call.
  template <class F>
  void each(uint32_t state, F f) const {
    const Automaton::State &x = a.states[state], &y = a.states[next[state]];
    for (size_t i = 0; i < slots[x.shape]; ++i) f(a.targets[x.first_target + i], a.targets[y.first_target + i]);
    for (uint32_t i = 0; i < x.calls; ++i) f(a.calls[x.first_call + i].ret, a.calls[y.first_call + i].ret);
  }
};

bool look_alike(const Automaton& a, const Automaton::State& x, const Automaton::State& y) {
  const auto same_rule = [](const Automaton::Call& c, const Automaton::Call& d) { return c.rule == d.rule; };
  return x.shape == y.shape && x.final == y.final && x.ends == y.ends &&
         std::ranges::equal(a.calls_of(x), a.calls_of(y), same_rule);
}

}  // namespace

void Automaton::find_chains() {
  Pairs pairs{*this, std::vector<uint32_t>(states.size(), kNone), {}};
  for (const Shape& shape : shapes) {
    uint32_t slots = 0;
    for (const uint8_t slot : shape)
      if (slot != kNoSlot) slots = std::max(slots, slot + 1u);
    pairs.slots.push_back(slots);
  }
  // A state is compared with one that it leads to, if that looks the same and was found later: so chains have ends.
  const auto compare = [&](uint32_t state, uint32_t target) {
    if (pairs.next[state] != kNone || target <= state || states[target].before != kNone) return;
    if (look_alike(*this, states[state], states[target])) {
      pairs.next[state] = target;
      states[target].before = state;
    }
  };
  for (uint32_t s = 0; s < states.size(); ++s)
    for (uint32_t i = 0; i < pairs.slots[states[s].shape]; ++i) compare(s, targets[states[s].first_target + i]);
  // How long two states stay alike is the distance to the nearest pair that leads to states which are neither one nor
  // a pair: breadth first, backwards.
  std::vector<std::vector<uint32_t>> into(states.size());
  std::vector<uint32_t> todo, distance(states.size(), kNone);
  for (uint32_t s = 0; s < states.size(); ++s) {
    if (pairs.next[s] == kNone) continue;
    bool differ = false;
    pairs.each(s, [&](uint32_t x, uint32_t y) {
      if (x == y) return;
      if (pairs.next[x] == y) {
        into[x].push_back(s);
      } else {
        differ = true;
      }
    });
    if (differ) distance[s] = 0, todo.push_back(s);
  }
  for (size_t i = 0; i < todo.size(); ++i)
    for (const uint32_t s : into[todo[i]])
      if (distance[s] == kNone) distance[s] = distance[todo[i]] + 1, todo.push_back(s);
  for (uint32_t s = 0; s < states.size(); ++s)
    if (pairs.next[s] != kNone) states[pairs.next[s]].alike = distance[s];
}

}  // namespace fathom

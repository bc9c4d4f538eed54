// The compiled form of a grammar: one deterministic automaton per rule, whose edges are bytes or calls of rules. What
// remains to decide at run time (a byte or a call, going on or returning) is kept open by grammar_stacks.h. Made by
// GrammarBuilder, read by the matcher; immutable, so any number of threads may read it.
#pragma once
#include <array>
#include <bitset>
#include <cstdint>
#include <span>
#include <vector>

namespace fathom {

using RuleId = uint32_t;

struct Automaton {
  static constexpr uint32_t kNone = UINT32_MAX;
  static constexpr uint8_t kNoSlot = 0xFF;
  /// Which slot of `targets` each byte takes. States of one shape share it: those of a string with a length limit,
  /// say. There are fewer than 0xFF slots, since only the 243 bytes of valid UTF-8 occur.
  using Shape = std::array<uint8_t, 256>;
  struct Call {
    RuleId rule;
    uint32_t ret;  ///< the state to go on from when the rule has ended
  };
  struct State {
    uint32_t shape, first_target;
    uint32_t first_call, calls;
    bool final;  ///< the rule may end here
    bool ends;   ///< final, and nothing leads on
    /// The state before this one in a chain whose states differ late: both read the same texts of up to `alike` bytes,
    /// and the rule may end after the same ones. kNone: there is none. A counted string is such a chain.
    uint32_t before = kNone, alike = 0;
  };
  struct Rule {
    uint32_t start = kNone;  ///< kNone: never reached from the root
    bool nullable = false;   ///< matches ""; callers then have the state behind the call too
    std::bitset<256> first;  ///< the bytes that a text of it, not empty, can begin with
  };

  std::vector<State> states;
  std::vector<Shape> shapes;
  std::vector<uint32_t> targets;
  std::vector<Call> calls;
  std::vector<Rule> rules;
  RuleId root = 0;

  /// The state after `byte`, or kNone.
  uint32_t next(uint32_t state, uint8_t byte) const {
    const State& s = states[state];
    const uint8_t slot = shapes[s.shape][byte];
    return slot == kNoSlot ? kNone : targets[s.first_target + slot];
  }
  std::span<const Call> calls_of(const State& s) const { return {calls.data() + s.first_call, s.calls}; }
  /// Fills in `before` and `alike` of all states.
  void find_chains();
  /// The bytes that may follow in a state, through calls too.
  std::bitset<256> first_of(uint32_t state) const;
  size_t size_bytes() const;
};

}  // namespace fathom

// The pushdown of a grammar's matcher. All stacks that are possible after some bytes are one graph whose tails are
// shared (a graph-structured stack: Tomita, 1987; as in generalised LL parsing, Scott and Johnstone, 2010): calls of
// one rule at one byte make one frame, whoever made them, so ambiguity costs no more than the frames there are. A call
// that is the last thing its caller does takes over the caller's returns, so lists grow no stack.
//   Frames are appended to an arena and never change once their byte is done: cut() takes back everything since a
// mark, which is how a walk over tokens tries a byte and forgets it. One thread at a time; copies are independent.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "sampling/grammar/automaton.h"

namespace fathom {

/// A place where the matcher can be: a state of a rule's automaton, and the frame to return to when the rule ends.
struct StackConfig {
  uint32_t state, frame;
  auto operator<=>(const StackConfig&) const = default;  // NOLINT(modernize-use-nullptr): of the compiler's own code
};

class GrammarStacks {
 public:
  static constexpr uint32_t kBottom = 0;        ///< the frame that returns to nobody
  static constexpr size_t kMostConfigs = 2048;  ///< places after one byte
  struct Mark {
    size_t frames, returns;
  };

  explicit GrammarStacks(const Automaton& automaton);  // which outlives this

  /// From all places `from` over `byte`: appends the places reached, ascending and each once, to `to`. Returns whether
  /// the bottom frame's rule may have ended with this byte. Throws Error if there are more than kMostConfigs.
  bool step(std::span<const StackConfig> from, uint8_t byte, std::vector<StackConfig>& to);
  /// Appends the places after the rule of `frame` has ended, in the same way.
  bool leave(uint32_t frame, std::vector<StackConfig>& to);

  const Automaton& automaton() const { return *automaton_; }
  Mark mark() const { return {frames_.size(), returns_.size()}; }
  void cut(Mark mark) { frames_.resize(mark.frames), returns_.resize(mark.returns); }
  /// Frees the frames that `configs` does not need and renumbers those in it.
  void collect(std::span<StackConfig> configs);
  size_t frames() const { return frames_.size(); }
  /// Places looked at so far: a measure of time.
  uint64_t work() const { return work_; }

 private:
  static constexpr uint32_t kNone = UINT32_MAX;
  struct Frame {
    uint64_t left = 0;  // the epoch_ in which it was last left, so that a step leaves each once
    uint32_t first_return = kNone;
  };
  struct Return {
    uint32_t state, frame;
    uint32_t next;  // of the same frame
  };
  // What was seen within one step, with a number for each: open addressing, emptied by the next epoch.
  class Seen {
   public:
    Seen() : slots_(16) {}
    void clear() { ++epoch_, count_ = 0; }
    /// The number of the key, kNone where it is new.
    uint32_t& operator()(uint64_t key, uint32_t key2);

   private:
    struct Slot {
      uint64_t epoch = 0, key = 0;
      uint32_t key2 = 0, number = 0;
    };
    Slot& find(uint64_t key, uint32_t key2);
    std::vector<Slot> slots_;
    uint64_t epoch_ = 0;
    size_t count_ = 0;
  };
  void call(const Automaton::Call& call, uint32_t caller, size_t old_frames);
  bool settle(std::vector<StackConfig>& to);

  const Automaton* automaton_;
  std::vector<Frame> frames_;
  std::vector<Return> returns_;
  uint64_t epoch_ = 0, work_ = 0;
  // Within one step:
  std::vector<StackConfig> from_, reached_, tails_;
  Seen called_, returned_;  // rule -> frame; (frame, state, frame to return to)
};

}  // namespace fathom

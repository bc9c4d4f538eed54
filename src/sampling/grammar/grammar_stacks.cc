#include "sampling/grammar/grammar_stacks.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/seeded_hash.h"

namespace fathom {
namespace {

void refuse_if_many(size_t configs) {
  if (configs > GrammarStacks::kMostConfigs)
    throw Error(cat("grammar: expected at most ", GrammarStacks::kMostConfigs,
                    " ways to read the text so far, found more: the grammar is too ambiguous"));
}

}  // namespace

GrammarStacks::GrammarStacks(const Automaton& automaton) : automaton_(&automaton), frames_(1) {}

bool GrammarStacks::step(std::span<const StackConfig> from, uint8_t byte, std::vector<StackConfig>& to) {
  const Automaton& a = *automaton_;
  if (from.size() == 1) {  // the usual case, inside a token
    const Automaton::State& state = a.states[from[0].state];
    const auto may_call = [&](const Automaton::Call& c) { return a.rules[c.rule].first[byte]; };
    if (std::ranges::none_of(a.calls_of(state), may_call)) {
      ++work_;
      const uint32_t next = a.next(from[0].state, byte);
      if (next == Automaton::kNone) return false;
      if (!a.states[next].final) {
        const uint32_t frame = from[0].frame;  // `from` may lie within `to`
        to.push_back({next, frame});
        return false;
      }
    }
  }
  ++epoch_;
  called_.clear(), returned_.clear();
  reached_.clear();
  from_.assign(from.begin(), from.end());
  const size_t old_frames = frames_.size();
  for (size_t i = 0; i < from_.size(); ++i) {
    const StackConfig config = from_[i];
    const uint32_t next = a.next(config.state, byte);
    if (next != Automaton::kNone) reached_.push_back({next, config.frame});
    for (const Automaton::Call& c : a.calls_of(a.states[config.state]))
      if (a.rules[c.rule].first[byte]) call(c, config.frame, old_frames);
    refuse_if_many(from_.size());
  }
  work_ += from_.size();
  // Only now are the returns of the frames made in this step complete.
  return settle(to);
}

void GrammarStacks::call(const Automaton::Call& call, uint32_t caller, size_t old_frames) {
  uint32_t& called = called_(call.rule, 0);
  if (called == kNone) {
    called = static_cast<uint32_t>(frames_.size());
    frames_.emplace_back();
    from_.push_back({automaton_->rules[call.rule].start, called});
  }
  const uint32_t frame = called;
  // The returns of a caller of this very step may not be complete: then its frame stays between, and goes at the next
  // call.
  tails_.assign(1, {call.ret, caller});
  for (size_t i = 0; i < tails_.size(); ++i) {
    const StackConfig tail = tails_[i];
    uint32_t& seen = returned_(uint64_t{frame} << 32 | tail.state, tail.frame);
    if (std::exchange(seen, 0) != kNone) continue;
    if (automaton_->states[tail.state].ends && tail.frame != kBottom && tail.frame < old_frames) {
      for (uint32_t r = frames_[tail.frame].first_return; r != kNone; r = returns_[r].next)
        tails_.push_back({returns_[r].state, returns_[r].frame});
    } else {
      returns_.push_back({tail.state, tail.frame, frames_[frame].first_return});
      frames_[frame].first_return = static_cast<uint32_t>(returns_.size() - 1);
    }
  }
  work_ += tails_.size();
}

uint32_t& GrammarStacks::Seen::operator()(uint64_t key, uint32_t key2) {
  if (2 * (count_ + 1) > slots_.size()) {
    const std::vector<Slot> before = std::exchange(slots_, std::vector<Slot>(2 * slots_.size()));
    for (const Slot& slot : before)
      if (slot.epoch == epoch_) find(slot.key, slot.key2) = slot;
  }
  Slot& slot = find(key, key2);
  if (slot.epoch != epoch_) slot = {epoch_, key, key2, kNone}, ++count_;
  return slot.number;
}

GrammarStacks::Seen::Slot& GrammarStacks::Seen::find(uint64_t key, uint32_t key2) {
  size_t at = hash_mix(key ^ 0x9E3779B97F4A7C15u, key2 ^ 0xD6E8FEB86659FD93u) % slots_.size();
  while (slots_[at].epoch == epoch_ && (slots_[at].key != key || slots_[at].key2 != key2))
    at = (at + 1) % slots_.size();
  return slots_[at];
}

bool GrammarStacks::leave(uint32_t frame, std::vector<StackConfig>& to) {
  ++epoch_;
  reached_.clear();
  for (uint32_t r = frames_[frame].first_return; r != kNone; r = returns_[r].next)
    reached_.push_back({returns_[r].state, returns_[r].frame});
  return settle(to) || frame == kBottom;
}

// reached_, and what follows where rules may end in it.
bool GrammarStacks::settle(std::vector<StackConfig>& to) {
  const size_t begin = to.size();
  bool ended = false;
  for (size_t i = 0; i < reached_.size(); ++i) {
    const StackConfig config = reached_[i];
    const Automaton::State& state = automaton_->states[config.state];
    if (!state.ends) to.push_back(config);
    if (!state.final) continue;
    if (config.frame == kBottom) {
      ended = true;
      continue;
    }
    Frame& frame = frames_[config.frame];
    if (frame.left == epoch_) continue;
    frame.left = epoch_;
    for (uint32_t r = frame.first_return; r != kNone; r = returns_[r].next)
      reached_.push_back({returns_[r].state, returns_[r].frame});
  }
  work_ += reached_.size();
  if (to.size() > begin + 1) {
    const auto first = to.begin() + static_cast<ptrdiff_t>(begin);
    std::sort(first, to.end());
    to.erase(std::unique(first, to.end()), to.end());
    refuse_if_many(to.size() - begin);
  }
  return ended;
}

void GrammarStacks::collect(std::span<StackConfig> configs) {
  std::vector<uint32_t> number(frames_.size(), kNone), kept{kBottom};
  number[kBottom] = 0;
  const auto keep = [&](uint32_t& frame) {
    if (number[frame] == kNone) {
      number[frame] = static_cast<uint32_t>(kept.size());
      kept.push_back(frame);
    }
    frame = number[frame];
  };
  for (StackConfig& config : configs) keep(config.frame);
  std::vector<Frame> frames;
  std::vector<Return> returns;
  for (size_t i = 0; i < kept.size(); ++i) {
    frames.emplace_back();
    for (uint32_t r = frames_[kept[i]].first_return; r != kNone; r = returns_[r].next) {
      Return copy = returns_[r];
      keep(copy.frame);
      copy.next = std::exchange(frames.back().first_return, static_cast<uint32_t>(returns.size()));
      returns.push_back(copy);
    }
  }
  frames_ = std::move(frames);
  returns_ = std::move(returns);
  std::sort(configs.begin(), configs.end());
}

}  // namespace fathom

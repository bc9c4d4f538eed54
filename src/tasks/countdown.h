// Countdown: reach a target from given numbers, each used exactly once, with + - * / and parentheses.
// Source: spec/training.md 7.5.
#pragma once
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "tasks/task.h"

namespace fathom {

/// A fraction in lowest terms, the denominator positive.
struct Rational {
  int64_t numerator = 0, denominator = 1;
  bool operator==(const Rational&) const = default;
};

struct Arithmetic {
  Rational value;
  std::vector<int64_t> numbers;  ///< as written, in order
};

/// Evaluates numbers joined by the four operations and parentheses, exactly. nullopt: anything else (a sign in front,
/// a point, ** and //, a leading zero, two numbers side by side), a division by zero, an overflow of 64 bits, more than
/// 1,000 characters.
std::optional<Arithmetic> evaluate_arithmetic(std::string_view text);

/// The task: 3 or 4 numbers from 1 to 99 and a target from 1 to 999 that can be reached. The reward counts the last
/// <answer>...</answer> of the completion's last line: none 0; not the given numbers, or not the target 0.1; right 1.
class CountdownTask : public Task {
 public:
  std::string_view name() const override { return "countdown"; }
  Example example(Split split, uint64_t seed, uint64_t index) const override;
  Reward reward(const Example& example, std::string_view completion) const override;
};

}  // namespace fathom

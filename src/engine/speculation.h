// Speculation: guessing the next tokens of a sequence, so that one forward verifies several. What is drawn does not
// depend on it (spec/numerics.md 7): the scheduler feeds the guesses behind the last token, the sequence draws every
// position from its own logits with its own numbers, and goes on for as long as it drew what had been guessed.
// Speculation is one sequence's guesses, PassCost what rows of a forward cost; the scheduler weighs one against the
// other. Everything here counts and nothing looks at a clock, so the same text is guessed the same way. One thread.
#pragma once
#include <array>
#include <span>
#include <vector>

#include "engine/match_index.h"
#include "engine/token_work.h"

namespace fathom {

/// A token that may come next.
struct Draft {
  TokenId id;
  double chance;  ///< that it is right, and all drafts before it
};

struct SpeculationStats {
  size_t passes = 0;    ///< forwards that gave tokens
  size_t drafted = 0;   ///< tokens that were verified
  size_t accepted = 0;  ///< of them right
};

class Speculation {
 public:
  /// Drafts of one sequence in one forward.
  static constexpr size_t kMost = 7;

  explicit Speculation(std::span<const TokenId> prompt);

  /// A new token of the text. What was guessed for it is judged by it, verified or not: so the chances are known
  /// without verifying what would not have paid.
  void append(TokenId id);
  /// The MTP module's guess for the token after the last; forgotten by append().
  void guess(TokenId id) { mtp_ = id; }
  /// Guesses for the tokens after the last, `most` and kMost at most; valid until the next call of append or drafts.
  std::span<const Draft> drafts(size_t most);
  /// Whether the module's guesses were right often enough to be worth their forward.
  bool mtp_pays() const { return mtp_rate_.chance() > 0.1; }

 private:
  // Of the last tokens, 32 and some, how many were guessed right.
  class Rate {
   public:
    explicit Rate(double expected = 0.5) : right_(kPrior * expected) {}
    double chance() const { return right_ / seen_; }
    void judge(bool right) {
      right_ = right_ * kKept + (right ? 1 : 0);
      seen_ = seen_ * kKept + 1;
    }

   private:
    static constexpr double kPrior = 4, kKept = 31.0 / 32;
    double right_, seen_ = kPrior;
  };
  static constexpr size_t kRates = 7;
  static size_t rate_of(size_t match_length);

  MatchIndex index_;
  std::array<Rate, kRates> rates_;  // by the match's length
  std::optional<TokenId> mtp_;      // nullopt: no guess for the next token
  Rate mtp_rate_;
  std::vector<Draft> drafts_;
};

/// What a forward costs by its rows, in units of a forward over one. As measured, not as hoped for:
/// docs/performance.md.
class PassCost {
 public:
  /// `work` tells how many more experts' weights further rows read.
  explicit PassCost(const TokenWork& work = {}) : work_(work) {}
  double operator()(size_t rows) const;

 private:
  TokenWork work_;
};

/// How many drafts to verify beside `rows` rows that give `tokens` tokens: the number with the most tokens expected for
/// the cost. `chances` descending.
size_t drafts_that_pay(const PassCost& cost, size_t rows, size_t tokens, std::span<const double> chances);

}  // namespace fathom

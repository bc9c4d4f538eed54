#include "engine/speculation.h"

#include <algorithm>

namespace fathom {
namespace {

// The shortest match of each rate, and how often its guess is right before anything is known: the lowest figures seen
// in reasoning-like text.
constexpr std::array<size_t, 7> kShortest = {3, 4, 5, 6, 8, 12, 20};
constexpr std::array<double, 7> kExpected = {0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85};

// One to eight rows; a further one costs as much as the eighth.
constexpr std::array<double, 8> kCost = {1, 1.15, 1.4, 1.7, 2.1, 2.35, 2.75, 3.05};

}  // namespace

size_t Speculation::rate_of(size_t match_length) {
  return static_cast<size_t>(std::ranges::upper_bound(kShortest, match_length) - kShortest.begin()) - 1;
}

Speculation::Speculation(std::span<const TokenId> prompt) {
  static_assert(kRates == kShortest.size());
  for (size_t i = 0; i < kRates; ++i) rates_[i] = Rate(kExpected[i]);
  for (const TokenId id : prompt) index_.append(id);
}

void Speculation::append(TokenId id) {
  if (const auto& match = index_.match()) rates_[rate_of(match->length)].judge(index_.following(0) == id);
  if (mtp_) mtp_rate_.judge(*mtp_ == id);
  mtp_.reset();
  index_.append(id);
}

std::span<const Draft> Speculation::drafts(size_t most) {
  drafts_.clear();
  double chance = 1;
  if (const auto& match = index_.match())
    for (size_t i = 0; i < std::min(most, kMost); ++i) {
      chance *= rates_[rate_of(match->length + i)].chance();  // so far right: the match has grown
      drafts_.push_back({index_.following(i), chance});
    }
  if (mtp_ && most > 0 && (drafts_.empty() || (drafts_[0].id != *mtp_ && drafts_[0].chance < mtp_rate_.chance())))
    drafts_.assign(1, {*mtp_, mtp_rate_.chance()});
  return drafts_;
}

double PassCost::operator()(size_t rows) const {
  if (rows == 0) return 0;
  const size_t known = std::min(rows, kCost.size());
  const double cost = kCost[known - 1] + static_cast<double>(rows - known) * (kCost[7] - kCost[6]);
  // Rows that choose other experts read their weights too.
  return work_.experts == 0 ? cost : cost * work_.pass_bytes(rows, 0) / work_.pass_bytes(1, 0);
}

size_t drafts_that_pay(const PassCost& cost, size_t rows, size_t tokens, std::span<const double> chances) {
  double expected = static_cast<double>(tokens), best = expected / cost(rows);
  size_t n = 0;
  for (size_t i = 0; i < chances.size(); ++i) {
    expected += chances[i];
    if (const double speed = expected / cost(rows + i + 1); speed > best) best = speed, n = i + 1;
  }
  return n;
}

}  // namespace fathom

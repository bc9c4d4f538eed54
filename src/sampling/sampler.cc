#include "sampling/sampler.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/philox.h"
#include "sampling/fixed_exp.h"
#include "sampling/select_top.h"

namespace fathom {
namespace {

constexpr size_t kLargestVocabulary = size_t{1} << 22;
constexpr double kNever = -std::numeric_limits<double>::infinity();

// Buffers of one draw. One set per thread serves all its samplers: a row of 150k logits takes 5 MB here.
struct Workspace {
  // The tokens still in play, ascending by id; the three run in parallel, weights once there are any.
  std::vector<TokenId> ids;
  std::vector<double> x, weights;
  std::vector<Scored> ranked;  // value = x, index into ids

  void reserve(size_t n) { ids.reserve(n), x.reserve(n), weights.reserve(n), ranked.reserve(n); }

  /// Keeps the tokens whose index i satisfies wanted(i).
  template <class Wanted>
  void keep_if(Wanted wanted) {
    size_t kept = 0;
    for (size_t i = 0; i < ids.size(); ++i) {
      if (!wanted(i)) continue;
      ids[kept] = ids[i], x[kept] = x[i];
      if (!weights.empty()) weights[kept] = weights[i];
      ++kept;
    }
    ids.resize(kept), x.resize(kept), weights.resize(weights.empty() ? 0 : kept);
  }
  /// Keeps `last` and all that rank before it.
  void keep_through(Scored last) {
    keep_if([&](size_t i) { return !ranks_before(last, {x[i], static_cast<int32_t>(i)}); });
  }
};

Workspace& workspace_of_thread() {
  thread_local Workspace workspace;
  return workspace;
}

/// x = logits as double. Throws Error on NaN and +infinity: the model or its file is broken, no token can be trusted.
void load_logits(std::vector<double>& x, std::span<const float> logits, uint32_t position) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  x.resize(logits.size());
  bool usable = true;
  for (size_t i = 0; i < logits.size(); ++i) {
    usable &= logits[i] < kInfinity;
    x[i] = logits[i];
  }
  if (usable) [[likely]]
    return;
  const auto bad = std::find_if(logits.begin(), logits.end(), [](float l) { return !(l < kInfinity); });
  throw Error(cat("logits for position ", position, ": expected finite numbers or -inf, found ", *bad, " for token ",
                  bad - logits.begin(), " of ", logits.size()));
}

void apply_mask(std::vector<double>& x, TokenMask mask) {
  for (size_t i = 0; i < x.size(); ++i)
    if (!mask.allows(i)) x[i] = kNever;
}

/// The first index of the largest value. Throws Error if all are -infinity.
size_t index_of_largest(const std::vector<double>& x, uint32_t position) {
  double maxima[8];  // side by side, since each waits for the one before
  std::fill(std::begin(maxima), std::end(maxima), kNever);
  for (size_t i = 0; i < x.size() / 8 * 8; i += 8)
    for (size_t j = 0; j < 8; ++j) maxima[j] = maxima[j] < x[i + j] ? x[i + j] : maxima[j];
  double largest = *std::max_element(std::begin(maxima), std::end(maxima));
  for (size_t i = x.size() / 8 * 8; i < x.size(); ++i) largest = std::max(largest, x[i]);
  const size_t best = static_cast<size_t>(std::find(x.begin(), x.end(), largest) - x.begin());
  if (x[best] == kNever)
    throw Error(cat("logits for position ", position, ": expected a token that is allowed, found all ", x.size(),
                    " excluded by grammar, bias or the model"));
  return best;
}

void keep_top_k(Workspace& w, size_t k) {
  select_top(std::span<const double>(w.x), k, w.ranked);
  if (w.ranked.size() == k) w.keep_through(w.ranked.back());  // else fewer than k are possible at all
}

/// A weight in units of 2^-40: sums of integers do not depend on their order, so top-p can select instead of sorting.
/// kLargestVocabulary weights of at most 1 sum to 2^62.
int64_t units(double weight) { return static_cast<int64_t>(weight * 0x1p40); }

/// How many of w.ranked it takes, first by ranks_before, until their units sum to `enough`; the last of those ends
/// them.
size_t select_until(Workspace& w, double enough) {
  const auto at = [&w](size_t i) { return w.ranked.begin() + static_cast<ptrdiff_t>(i); };
  size_t low = 0, high = w.ranked.size();  // the first `low` do not suffice, the first `high` do or are all
  int64_t reached = 0;                     // by the first `low`
  while (high - low > 1) {
    const size_t middle = low + (high - low) / 2;
    std::nth_element(at(low), at(middle), at(high), ranks_before);
    int64_t more = 0;
    for (size_t i = low; i < middle; ++i) more += units(w.weights[static_cast<size_t>(w.ranked[i].index)]);
    if (static_cast<double>(reached + more) >= enough)
      high = middle;
    else
      low = middle, reached += more;
  }
  return high;
}

void keep_top_p(Workspace& w, double top_p) {
  int64_t total = 0;
  for (const double weight : w.weights) total += units(weight);
  // All tokens below `least` together hold less than half of 1 - top_p: the nucleus is full before it needs one. For a
  // top_p so close to 1 that rounding could matter, every token is ranked.
  const double n = static_cast<double>(w.ids.size());
  const double least = 1 - top_p < 1e-9 ? 0 : (1 - top_p) * (static_cast<double>(total) * 0x1p-40) / (2 * n);
  w.ranked.clear();
  for (size_t i = 0; i < w.ids.size(); ++i)
    if (w.weights[i] >= least) w.ranked.push_back({w.x[i], static_cast<int32_t>(i)});
  w.keep_through(w.ranked[select_until(w, top_p * static_cast<double>(total)) - 1]);
}

void keep_min_p(Workspace& w, double min_p) {
  w.keep_if([&](size_t i) { return w.weights[i] >= min_p; });  // the largest weight is exactly 1
}

/// The first id, ascending, whose running sum exceeds u * total; u < 1 makes sure that there is one. The weights become
/// their running sums.
TokenId pick(Workspace& w, double u) {
  std::partial_sum(w.weights.begin(), w.weights.end(), w.weights.begin());
  const auto past = std::upper_bound(w.weights.begin(), w.weights.end(), u * w.weights.back());
  check(past != w.weights.end(), "the running sum passes u * total");
  return w.ids[static_cast<size_t>(past - w.weights.begin())];
}

}  // namespace

Sampler::Sampler(SamplingParams params, size_t vocab_size)
    : params_(std::move(params)),
      vocab_size_(vocab_size),
      penalises_(params_.repetition_penalty != 1 || params_.presence_penalty != 0 || params_.frequency_penalty != 0),
      history_(static_cast<size_t>(std::max(params_.penalty_window, 0))) {
  params_.validate();
  if (vocab_size == 0 || vocab_size > kLargestVocabulary)
    throw Error(cat("sampling: vocabulary: expected 1 to ", kLargestVocabulary, " tokens, found ", vocab_size));
  if (params_.logit_bias.empty()) return;
  if (const TokenId last = params_.logit_bias.rbegin()->first; static_cast<size_t>(last) >= vocab_size)
    throw Error(cat("sampling: logit_bias: expected a token id below ", vocab_size, ", found ", last));
}

void Sampler::observe(TokenId id, bool from_prompt) {
  if (id < 0 || static_cast<size_t>(id) >= vocab_size_)
    throw Error(cat("sampling: token of the ", from_prompt ? "prompt" : "output", ": expected an id below ",
                    vocab_size_, ", found ", id));
  if (penalises_) history_.add(id, from_prompt);
}

TokenId Sampler::draw(std::span<const float> logits, uint32_t position, TokenMask mask) const {
  check(logits.size() == vocab_size_, "sampler: a row of logits is as long as the vocabulary");
  check(mask.empty() || mask.bits.size() * 64 >= vocab_size_, "sampler: a mask has a bit for every token");
  Workspace& w = workspace_of_thread();
  w.reserve(vocab_size_);
  load_logits(w.x, logits, position);
  if (penalises_) history_.penalise(w.x, params_);
  for (const auto& [id, bias] : params_.logit_bias) w.x[static_cast<size_t>(id)] += bias;
  if (!mask.empty()) apply_mask(w.x, mask);
  const size_t best = index_of_largest(w.x, position);
  if (params_.temperature == 0) return static_cast<TokenId>(best);

  if (params_.temperature != 1)
    for (double& x : w.x) x /= params_.temperature;
  const double largest = w.x[best];
  w.weights.clear();
  w.ids.resize(vocab_size_);
  std::iota(w.ids.begin(), w.ids.end(), TokenId{0});
  if (params_.top_k > 0 && static_cast<size_t>(params_.top_k) < vocab_size_)
    keep_top_k(w, static_cast<size_t>(params_.top_k));
  w.weights.resize(w.x.size());
  fixed_exp(w.weights.data(), w.x.data(), largest, w.x.size());
  if (params_.top_p < 1) keep_top_p(w, params_.top_p);
  if (params_.min_p > 0) keep_min_p(w, params_.min_p);
  return pick(w, philox_uniform(params_.seed, {position, params_.choice, params_.prompt, params_.step}));
}

}  // namespace fathom

#include "sampling/sampler.h"

#include <cmath>
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

constexpr double kNever = -std::numeric_limits<double>::infinity();

// Buffers of one draw. One set per thread serves all its samplers: a row of 150k logits takes 5 MB here.
struct Workspace {
  // The tokens still in play, ascending by id; the three run in parallel.
  std::vector<TokenId> ids;
  std::vector<double> x, weights;
  std::vector<Scored> ranked;

  void reserve(size_t n) { ids.reserve(n), x.reserve(n), weights.reserve(n), ranked.reserve(n); }
  void keep(size_t from, size_t to) { ids[to] = ids[from], x[to] = x[from], weights[to] = weights[from]; }
  void shrink(size_t n) { ids.resize(n), x.resize(n), weights.resize(n); }
};

Workspace& workspace_of_thread() {
  thread_local Workspace workspace;
  return workspace;
}

/// x = logits as double. Throws Error on NaN and +infinity: the model or its file is broken, no token can be trusted.
void load_logits(std::vector<double>& x, std::span<const float> logits, uint32_t position) {
  x.resize(logits.size());
  for (size_t i = 0; i < logits.size(); ++i) {
    if (!(logits[i] < std::numeric_limits<float>::infinity())) [[unlikely]]
      throw Error(cat("logits for position ", position, ": expected finite numbers or -inf, found ", logits[i],
                      " for token ", i, " of ", logits.size()));
    x[i] = logits[i];
  }
}

void apply_mask(std::vector<double>& x, TokenMask mask) {
  for (size_t i = 0; i < x.size(); ++i)
    if (!mask.allows(i)) x[i] = kNever;
}

/// The first index of the largest value. Throws Error if all are -infinity.
size_t index_of_largest(const std::vector<double>& x, uint32_t position) {
  const size_t best = static_cast<size_t>(std::max_element(x.begin(), x.end()) - x.begin());
  if (x[best] == kNever)
    throw Error(cat("logits for position ", position, ": expected a token that is allowed, found all ", x.size(),
                    " excluded by grammar, bias or the model"));
  return best;
}

/// ids = the k largest of x, ascending; x shortened to them.
void keep_top_k(Workspace& w, size_t k) {
  select_top(std::span<const double>(w.x), k, w.ranked);
  std::sort(w.ranked.begin(), w.ranked.end(), [](const Scored& a, const Scored& b) { return a.index < b.index; });
  w.ids.resize(w.ranked.size());
  w.x.resize(w.ranked.size());
  for (size_t i = 0; i < w.ranked.size(); ++i) w.ids[i] = w.ranked[i].index, w.x[i] = w.ranked[i].value;
}

void keep_all(Workspace& w) {
  w.ids.resize(w.x.size());
  std::iota(w.ids.begin(), w.ids.end(), TokenId{0});
}

double sum(const std::vector<double>& weights) { return std::accumulate(weights.begin(), weights.end(), 0.0); }

/// How many of w.ranked, put into order, it takes until their weights sum to `enough`. Orders in growing portions: the
/// nucleus is mostly a handful of tokens.
size_t order_until(Workspace& w, double enough) {
  double reached = 0;
  const auto at = [&w](size_t i) { return w.ranked.begin() + static_cast<ptrdiff_t>(i); };
  for (size_t begin = 0, portion = 64; begin < w.ranked.size(); portion *= 4) {
    const size_t end = std::min(begin + portion, w.ranked.size());
    if (end < w.ranked.size()) std::nth_element(at(begin), at(end), w.ranked.end(), ranks_before);
    std::sort(at(begin), at(end), ranks_before);
    for (; begin < end; ++begin) {
      reached += w.weights[static_cast<size_t>(w.ranked[begin].index)];
      if (reached >= enough) return begin + 1;
    }
  }
  return w.ranked.size();
}

void keep_top_p(Workspace& w, double top_p) {
  const double total = sum(w.weights);
  // All tokens below this weight together hold less than half of 1 - top_p, so the nucleus is full before it needs one.
  // For a top_p that close to 1 that rounding of sums could matter, every token is ranked.
  const double least = 1 - top_p < 1e-9 ? 0 : (1 - top_p) * total / (2 * static_cast<double>(w.ids.size()));
  w.ranked.clear();
  for (size_t i = 0; i < w.ids.size(); ++i)
    if (w.weights[i] >= least) w.ranked.push_back({w.x[i], static_cast<int32_t>(i)});
  w.ranked.resize(order_until(w, top_p * total));
  std::sort(w.ranked.begin(), w.ranked.end(), [](const Scored& a, const Scored& b) { return a.index < b.index; });
  for (size_t i = 0; i < w.ranked.size(); ++i) w.keep(static_cast<size_t>(w.ranked[i].index), i);
  w.shrink(w.ranked.size());
}

void keep_min_p(Workspace& w, double min_p) {
  size_t kept = 0;
  for (size_t i = 0; i < w.ids.size(); ++i)
    if (w.weights[i] >= min_p) w.keep(i, kept++);  // the largest weight is exactly 1
  w.shrink(kept);
}

/// The first id, ascending, whose running sum exceeds u * total; u < 1 makes sure that there is one.
TokenId pick(const Workspace& w, double u) {
  const double target = u * sum(w.weights);
  double reached = 0;
  for (size_t i = 0; i < w.ids.size(); ++i) {
    reached += w.weights[i];
    if (reached > target) return w.ids[i];
  }
  fail("sampler: the running sum never passed u * total");
}

}  // namespace

Sampler::Sampler(SamplingParams params, size_t vocab_size)
    : params_(std::move(params)),
      vocab_size_(vocab_size),
      penalises_(params_.repetition_penalty != 1 || params_.presence_penalty != 0 || params_.frequency_penalty != 0),
      history_(static_cast<size_t>(std::max(params_.penalty_window, 0))) {
  params_.validate();
  check(vocab_size > 0 && vocab_size <= size_t{std::numeric_limits<TokenId>::max()}, "sampler: bad vocabulary size");
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

  for (double& x : w.x) x /= params_.temperature;
  const double largest = w.x[best];
  if (params_.top_k > 0 && static_cast<size_t>(params_.top_k) < vocab_size_)
    keep_top_k(w, static_cast<size_t>(params_.top_k));
  else
    keep_all(w);
  w.weights.resize(w.x.size());
  fixed_exp(w.weights.data(), w.x.data(), largest, w.x.size());
  if (params_.top_p < 1) keep_top_p(w, params_.top_p);
  if (params_.min_p > 0) keep_min_p(w, params_.min_p);
  return pick(w, philox_uniform(params_.seed, {position, params_.choice, params_.prompt, params_.step}));
}

}  // namespace fathom

#include "engine/quality.h"

#include <algorithm>
#include <cmath>

#include "engine/forced.h"

namespace fathom {
namespace {

/// Tokens per forward: a head's logits are in the engine's scratch too, and of these no window's worth is needed.
constexpr size_t kChunk = 128;

size_t best(std::span<const float> logits) {
  return static_cast<size_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

}  // namespace

/// With l and r the logits less their row's largest, e = exp(l), S = sum of e, R = sum of exp(r):
/// KL = sum of e / S (l - log S - r + log R) = sum of e (l - r) / S - log S + log R.
QualitySums::Token QualitySums::compare(std::span<const float> exact, std::span<const float> other, TokenId next) {
  const size_t best_exact = best(exact), best_other = best(other);
  const double m_exact = exact[best_exact], m_other = other[best_other];
  double S = 0, R = 0, weighted = 0;
  for (size_t i = 0; i < exact.size(); ++i) {
    const double l = exact[i] - m_exact, r = other[i] - m_other, e = std::exp(l);
    S += e;
    R += std::exp(r);
    weighted += e * (l - r);
  }
  const auto at = static_cast<size_t>(next);
  return {.loss = std::log(R) - (other[at] - m_other),
          .loss_exact = std::log(S) - (exact[at] - m_exact),
          .kl = weighted / S - std::log(S) + std::log(R),
          .same_best = best_exact == best_other};
}

void QualitySums::add(const Tensor& exact, const Tensor& other, std::span<const TokenId> ids, ThreadPool& pool) {
  check(ids.size() > 1, "a window of one token predicts nothing");
  check(exact.shape() == other.shape() && exact.dim(0) == ids.size(), "logits are of the window's tokens");
  const size_t V = exact.dim(1), begin = tokens_.size();
  tokens_.resize(begin + ids.size() - 1);
  pool.run(ids.size() - 1, [&](size_t t) {
    tokens_[begin + t] = compare({exact.data<float>() + t * V, V}, {other.data<float>() + t * V, V}, ids[t + 1]);
  });
  ++windows_;
  window_ = ids.size();
}

Quality QualitySums::quality() const {
  Quality q{.windows = windows_, .window = window_, .tokens = tokens_.size()};
  if (tokens_.empty()) return q;
  std::vector<double> kl;
  kl.reserve(tokens_.size());
  const auto n = static_cast<double>(tokens_.size());
  double loss = 0, loss_exact = 0;
  for (const Token& t : tokens_) {
    loss += t.loss;
    loss_exact += t.loss_exact;
    q.kl += t.kl;
    q.same_best += t.same_best ? 1 : 0;
    kl.push_back(t.kl);
  }
  q.kl /= n;
  q.same_best /= n;
  q.perplexity = std::exp(loss / n);
  q.perplexity_exact = std::exp(loss_exact / n);
  std::sort(kl.begin(), kl.end());
  q.kl_max = kl.back();
  const double at = 0.99 * (n - 1);
  const auto below = static_cast<size_t>(at);
  const double above = kl[std::min(below + 1, kl.size() - 1)];
  q.kl_99 = kl[below] + (at - std::floor(at)) * (above - kl[below]);
  return q;
}

std::vector<std::vector<TokenId>> text_windows(std::span<const TokenId> ids, size_t window, size_t most,
                                               std::string_view what) {
  if (window < 2 || ids.size() < window)
    throw Error(cat(what, ": expected at least one window of ", window, " tokens, found ", ids.size(), " tokens"));
  std::vector<std::vector<TokenId>> windows;
  for (; windows.size() < most && ids.size() >= window; ids = ids.subspan(window))
    windows.emplace_back(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(window));
  return windows;
}

Quality measure_quality(Engine& exact, Engine& other, const std::vector<std::vector<TokenId>>& windows,
                        const WorkProgress& progress) {
  ThreadPool pool(other.info().threads);
  QualitySums sums;
  for (size_t i = 0; i < windows.size(); ++i) {
    if (progress) progress(i, windows.size());
    const std::vector<ForcedOutputs> a = forced_forward(exact, {windows[i]}, {.chunk = kChunk});
    if (progress) progress(i, windows.size());
    const std::vector<ForcedOutputs> b = forced_forward(other, {windows[i]}, {.chunk = kChunk});
    sums.add(a[0].logits, b[0].logits, windows[i], pool);
  }
  return sums.quality();
}

}  // namespace fathom

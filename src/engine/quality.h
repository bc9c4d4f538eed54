// What a profile and a type of cache lose against `exact` with an f32 cache, on a text, so that no speed is quoted
// without its price. The definitions are those of tools/compare_llama_cpp.py: windows of a text, each alone and without
// BOS, all figures in double from the logits of all positions. For `fathom bench --quality`. On the compute thread.
#pragma once
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "base/work.h"
#include "engine/engine.h"

namespace fathom {

struct Quality {
  size_t windows = 0, window = 0, tokens = 0;  ///< `tokens`: predicted, window - 1 of each window
  double perplexity = 0, perplexity_exact = 0;
  double kl = 0;         ///< mean over tokens of the sum over V of p_exact (log p_exact - log p), nats
  double kl_99 = 0;      ///< its 99th percentile, interpolated
  double kl_max = 0;     ///< of one token
  double same_best = 0;  ///< share of tokens whose most likely token is the same
};

class QualitySums {
 public:
  /// One window: logits [T, V] f32 of both, and its T ids. The last row predicts a token outside: left out.
  void add(const Tensor& exact, const Tensor& other, std::span<const TokenId> ids, ThreadPool& pool);
  Quality quality() const;

 private:
  struct Token {
    double loss, loss_exact, kl;
    bool same_best;
  };
  static Token compare(std::span<const float> exact, std::span<const float> other, TokenId next);

  std::vector<Token> tokens_;
  size_t windows_ = 0, window_ = 0;
};

/// `ids` in windows of `window` tokens, the first `most` whole ones. Throws Error naming `what` where there is none.
std::vector<std::vector<TokenId>> text_windows(std::span<const TokenId> ids, size_t window, size_t most,
                                               std::string_view what);

/// `exact` and `other` are one model, and may be one engine; logits of one window of each are held. Progress in
/// windows.
Quality measure_quality(Engine& exact, Engine& other, const std::vector<std::vector<TokenId>>& windows,
                        const WorkProgress& progress);

}  // namespace fathom

// A forward over given tokens: logits of every position, and on request what is inside. For `fathom logits`, perplexity
// and the golden tests. Goes through the same chunks and pages as an answer.
#pragma once
#include <functional>
#include <vector>

#include "engine/engine.h"

namespace fathom {

struct ForcedOptions {
  size_t chunk = 0;     ///< tokens of each sequence per forward; 0: the engine's prefill chunk
  bool layers = false;  ///< layer_out, final_norm, and mtp_logits where the model has the module
};

struct ForcedOutputs {
  Tensor logits;                  ///< [T, V]
  std::vector<Tensor> layer_out;  ///< per layer [T, D]
  Tensor final_norm;              ///< [T, D]
  Tensor mtp_logits;              ///< [T - 1, V]; undefined without the module
};

/// One output per sequence. Sequences share forwards (which changes no bit, law 2). Throws Error for an id outside the
/// vocabulary, ResourceError where the pool is too small.
std::vector<ForcedOutputs> forced_forward(Engine& engine, const std::vector<std::vector<TokenId>>& sequences,
                                          const ForcedOptions& options = {});

/// log-probability of each token after the first, in order: l - (m + log(row sum of exp(l - m))).
std::vector<float> token_logprobs(const Tensor& logits, std::span<const TokenId> ids);

}  // namespace fathom

// How far a student's distribution of the next token is from its teacher's, and what that says to the student's logits.
// Called by distillation (train/distill.h). Pure functions: any thread.
#pragma once
#include <cstddef>
#include <span>

#include "kernels/kernels.h"

namespace fathom {

enum class Divergence {
  kForward,  ///< KL(teacher || student): the student covers all that the teacher finds likely
  kReverse,  ///< KL(student || teacher): the student keeps to what the teacher finds likely
};

struct DivergenceOptions {
  Divergence divergence = Divergence::kForward;
  size_t top_k = 0;       ///< outcomes: the teacher's k most likely tokens, and all others as one; 0: every token
  float temperature = 1;  ///< both distributions are softmax(logits / temperature)
};

/// One position; p and q are the teacher's and the student's probabilities of the outcomes i:
///   forward: D = sum of p_i (log p_i - log q_i);   d D / d student[v] = (q_v - p_v) / temperature
///   reverse: D = sum of q_i (log q_i - log p_i);   d D / d student[v] = q_v (log q_i - log p_i - D) / temperature
/// with i the outcome that token v is in; in the lump of all others p_v is p_i q_v / q_i. Among tokens that the teacher
/// finds equally likely the lower ids are the k; a k from the vocabulary's size on is 0.
///   student [V] logits, become w d D / d student;   teacher [V] logits, are used up
/// Returns D in nats: not a number, and derivatives of 0, where logits are none. No table of kernels changes a bit, and
/// nothing is libm's. Sources: arXiv:1503.02531 (forward, temperature), arXiv:2306.08543 (reverse).
double divergence(const Kernels& kernels, std::span<float> student, std::span<float> teacher,
                  const DivergenceOptions& options, float w);

}  // namespace fathom

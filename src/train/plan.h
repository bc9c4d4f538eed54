// What a run will take before it takes it: memory, and multiply-adds. Numbers from the configuration; what memory is
// planned is refused with the numbers where there is not enough. No state: thread-safe.
#pragma once
#include <cstdint>

#include "models/model.h"
#include "train/recipe.h"

namespace fathom {

/// In bytes.
struct TrainingMemory {
  uint64_t parameters = 0;   ///< masters, their packed copy, gradients
  uint64_t optimizer = 0;    ///< moments, average
  uint64_t activations = 0;  ///< of a micro-batch, what its backward needs, and the cache pages
  uint64_t logits = 0;       ///< of a tile of tokens
  uint64_t teacher = 0;      ///< of stage distill: its weights and forward, and what draws answers
  uint64_t total() const { return parameters + optimizer + activations + logits + teacher; }
};

/// `trained`: numbers that are trained; `rows`: tokens of a micro-batch.
TrainingMemory training_memory(const ModelConfig& config, uint64_t trained, const Recipe& recipe, uint64_t rows);

/// A teacher's weights, cache and one layer of its forward over `rows` tokens, in bytes.
uint64_t teacher_memory(const ModelConfig& config, uint64_t weight_bytes, uint64_t rows);

/// In bytes.
struct MemoryPlan {
  uint64_t total = 0;      ///< what the process holds now, and what is still to come
  uint64_t available = 0;  ///< what it holds now, and what is free
};

/// Throws ResourceError with the numbers, for `what`, where what is still to come (all but the masters, which are
/// there) is more than the available memory.
MemoryPlan require_memory(const TrainingMemory& memory, uint64_t rows, const char* what);

/// Multiply-adds, each counted as two operations, of forward and both backwards of `rows` tokens: 6 a token for each
/// weight of a matrix that it passes (4 where the model is frozen), and attention over sequences of `length`.
double training_operations(const Model& model, uint64_t rows, uint64_t length, bool frozen = false);

}  // namespace fathom

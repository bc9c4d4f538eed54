// What a run will take before it takes it: memory, and multiply-adds. Numbers from the configuration; what memory is
// planned is refused with the numbers where there is not enough. No state: thread-safe.
#pragma once
#include <cstdint>

#include "engine/memory.h"
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
  bool resumed = false;      ///< the optimizer's state was read, and is not zeros that nobody has written yet

  /// What is there before the first step.
  uint64_t held() const { return parameters / 3 + (resumed ? optimizer : 0); }
  uint64_t to_come() const { return parameters + optimizer + activations + logits + teacher - held(); }
  /// The most that the process held so far, a trial without an update behind it, and what an update adds.
  uint64_t tried() const { return peak_resident_memory_bytes() + (resumed ? 0 : optimizer); }
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

/// Throws ResourceError with the numbers, for `what`, where what is still to come is more than the available memory.
MemoryPlan require_memory(const TrainingMemory& memory, uint64_t rows, const char* what);

/// Multiply-adds, each counted as two operations, of forward and both backwards of `rows` tokens: 6 a token for each
/// weight of a matrix that it passes (4 where the model is frozen), and attention over sequences of `length`.
double training_operations(const Model& model, uint64_t rows, uint64_t length, bool frozen = false);

}  // namespace fathom

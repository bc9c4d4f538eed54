// A short list of models that this program runs well, from a pocket's size to a workstation's, for those who do not
// know a name yet. The sizes are those that their repositories publish; the memory is planned from the shapes, as
// Engine::load does. Pure functions; any thread.
#pragma once
#include <span>
#include <string>

#include "base/json.h"
#include "server/app/model_memory.h"

namespace fathom {

struct RecommendedModel {
  const char *id, *name, *repository, *file;  ///< file: as OWNER/NAME:FILE takes it
  const char* licence;
  const char* good_at;  ///< a sentence
  bool thinks;          ///< it reasons before it answers
  double parameters;    ///< of all its weights
  uint64_t size_bytes;  ///< of the file
  size_t vocab_size, hidden_size, intermediate_size, num_hidden_layers;
  size_t num_attention_heads, num_key_value_heads, head_dim, max_position_embeddings;

  /// Weights, scratch and a context of 4,096 tokens in bf16.
  uint64_t memory_bytes() const;
};

/// By size, the smallest first.
std::span<const RecommendedModel> recommended_models();

/// {id, name, repository, file, licence, good_at, thinks, parameters, size_bytes, memory_bytes, fits, best} of each.
/// fits: "now", "after_unloading", or why not: "no_memory", "no_disk". best: the largest that takes at most 60% of the
/// memory that there would be without other models, so that a long context fits beside it.
json::array recommended_json(const MemoryRoom& room, uint64_t disk_free_bytes);

}  // namespace fathom

#include "train/plan.h"

#include <algorithm>

namespace fathom {
namespace {

/// Numbers that the tape keeps per token of layer `index`: every op's output, as models/parts write them.
uint64_t layer_numbers(const ModelConfig& c, size_t index) {
  const uint64_t D = c.hidden_size, H = c.num_attention_heads;
  uint64_t n = 5 * D;  // two norms, two residuals, the attention's output
  if (c.is_mla()) {
    const uint64_t q = H * (c.qk_nope_head_dim + c.qk_rope_head_dim), latent = c.kv_lora_rank,
                   rope = c.qk_rope_head_dim;
    n += 2 * c.q_lora_rank + 2 * q + H * c.qk_nope_head_dim;           // query, rotated, columns of its heads
    n += 2 * H * (latent + rope) + 2 * H * latent + H * c.v_head_dim;  // absorbed query, latent output, its columns
    n += 5 * (latent + rope);                                          // latent row and its page
  } else {
    const uint64_t q = H * c.head_dim, kv = c.num_key_value_heads * c.head_dim;
    n += 3 * q + 3 * kv + 2 * kv + (c.model_type.starts_with("qwen3") ? q + kv : 0);
  }
  if (!c.is_moe_layer(index)) return n + 3 * c.intermediate_size + D;
  const uint64_t k = c.num_experts_per_tok;
  n += 2 * c.n_routed_experts + k * (2 * D + 3 * c.moe_intermediate_size) + D;
  return n + (c.n_shared_experts ? 3 * c.n_shared_experts * c.moe_intermediate_size + 2 * D : 0);
}

bool is_expert(const std::string& name) { return name.find("mlp.experts.") != std::string::npos; }

}  // namespace

TrainingMemory training_memory(const ModelConfig& c, uint64_t trained, const Recipe& recipe, uint64_t rows) {
  TrainingMemory m;
  m.parameters = 3 * 4 * trained;
  const uint64_t averages = recipe.optimizer.ema_decay > 0 ? 1 : 0;
  m.optimizer = 4 * trained * ((recipe.optimizer.name == "muon" ? 1 : 2) + averages);
  const size_t layers = c.num_hidden_layers + (c.num_nextn_predict_layers ? 1 : 0);
  uint64_t all = 0, largest = 0;
  for (size_t i = 0; i < layers; ++i) {
    const uint64_t n = layer_numbers(c, i);
    all += recipe.train.recompute ? c.hidden_size : n;
    largest = std::max(largest, n);
  }
  // The backward of a layer holds gradients of some of its values, and a layer computed again all of them.
  m.activations = 4 * rows * (all + (recipe.train.recompute ? 2 : 1) * largest + 4 * c.hidden_size);
  m.logits = std::min<uint64_t>(uint64_t{128} << 20, 8 * rows * c.vocab_size) + 8 * uint64_t{c.vocab_size} * 16;
  return m;
}

uint64_t teacher_memory(const ModelConfig& c, uint64_t weight_bytes, uint64_t rows) {
  uint64_t largest = 0;
  for (size_t i = 0; i < c.num_hidden_layers; ++i) largest = std::max(largest, layer_numbers(c, i));
  const uint64_t pages = kv_layout(c, CacheType::kF32).bytes_per_token() * rows;
  return weight_bytes + pages + 4 * rows * (largest + 2 * c.hidden_size);
}

MemoryPlan require_memory(const TrainingMemory& memory, uint64_t rows, const char* what) {
  const uint64_t available = available_memory_bytes(), to_come = memory.to_come();
  if (to_come > available)
    throw ResourceError(cat(what, ": expected ", gib(to_come), " of free memory (", gib(memory.activations),
                            " of it for the activations of ", rows, " tokens",
                            memory.teacher ? cat(", ", gib(memory.teacher), " for the teacher") : "", "), found ",
                            gib(available),
                            "; fewer sequences at a time, a shorter context and recomputation take less"));
  const uint64_t held = resident_memory_bytes();
  return {held + to_come, held + available};
}

double training_operations(const Model& model, uint64_t rows, uint64_t length, bool frozen) {
  const ModelConfig& c = model.config();
  double weights = c.tie_word_embeddings ? static_cast<double>(c.vocab_size * c.hidden_size) : 0;
  for (const Weight* w : model.weights().in_order()) {
    if (w->name().ends_with("embed_tokens.weight")) continue;
    const double share =
        is_expert(w->name()) ? static_cast<double>(c.num_experts_per_tok) / static_cast<double>(c.n_routed_experts) : 1;
    weights += share * static_cast<double>(w->O() * w->K());
  }
  const size_t width = c.is_mla() ? 2 * c.kv_lora_rank + c.qk_rope_head_dim : 2 * c.head_dim;
  const double attention =
      static_cast<double>(c.num_hidden_layers * c.num_attention_heads * width) * static_cast<double>(length) / 2;
  return static_cast<double>(rows) * ((frozen ? 4 : 6) * weights + 6 * attention);
}

}  // namespace fathom

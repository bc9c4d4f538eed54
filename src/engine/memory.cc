#include "engine/memory.h"

#include <algorithm>
#include <fstream>
#include <optional>
#include <sstream>

#include "base/checked.h"
#include "base/error.h"
#include "models/model.h"

namespace fathom {
namespace {

constexpr double kGiB = 1024.0 * 1024 * 1024;
constexpr uint64_t kUnbounded = ~uint64_t{0};

uint64_t bounded_mul(uint64_t a, uint64_t b) { return checked_mul(a, b).value_or(kUnbounded); }
uint64_t bounded_add(uint64_t a, uint64_t b) { return checked_add(a, b).value_or(kUnbounded); }

std::optional<uint64_t> number_in(const char* path) {
  uint64_t value = 0;
  if (std::ifstream in(path); in >> value) return value;
  return std::nullopt;  // absent, or "max"
}

/// The number behind `key` in a file of "key number ..." lines; 0 where there is none.
uint64_t keyed_number(const char* path, std::string_view key) {
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    std::string word;
    if (uint64_t value = 0; words >> word && word == key && words >> value) return value;
  }
  return 0;
}

/// Scratch of a forward over a chunk: a few activations as wide as the model's widest rows.
uint64_t scratch_bytes(const ModelConfig& c, size_t chunk) {
  const uint64_t attention =
      c.is_mla()
          ? c.num_attention_heads * (3 * c.kv_lora_rank + 2 * c.qk_rope_head_dim + c.qk_nope_head_dim + c.v_head_dim)
          : 3 * c.num_attention_heads * c.head_dim;
  const uint64_t experts = c.num_experts_per_tok * (c.hidden_size * 2 + c.moe_intermediate_size * 3);
  const uint64_t width = 8 * c.hidden_size + attention + std::max<uint64_t>(3 * c.intermediate_size, experts);
  return bounded_add(bounded_mul(2 * chunk * sizeof(float), width), 2 * c.vocab_size * sizeof(float));
}

/// What 60% of the available memory leaves beside weights and scratch.
uint64_t cache_room(const MemoryNeeds& needs, uint64_t available) {
  const auto room = static_cast<uint64_t>(0.6 * static_cast<double>(available));
  const uint64_t fixed = bounded_add(needs.weights, needs.scratch);
  return room > fixed ? room - fixed : 0;
}

bool is_joined_kv_b(std::string_view name) {
  return name.ends_with(".self_attn.kv_b_proj.weight") || name.ends_with(".attn_kv_b.weight");
}

/// What the loader makes of one tensor (models/weights.h).
uint64_t packed_bytes(const TensorInfo& t) {
  const size_t rank = t.shape.rank();
  if (t.name.ends_with("_scale_inv")) return t.size_bytes;
  const bool blocks = info(t.dtype).block_size != 1 || t.dtype == DType::kF8E4M3;
  if (rank < 2 || (blocks && is_joined_kv_b(t.name))) return bounded_mul(t.shape.count(), sizeof(float));
  const uint64_t rows = t.shape[rank - 2], spare = (kPanelRows - rows % kPanelRows) % kPanelRows;
  if (!rows) return 0;
  const uint64_t stored = t.size_bytes / info(t.dtype).block_bytes, padded = stored + stored / rows * spare;
  return bounded_mul(padded / kPanelRows, group_bytes(t.dtype));
}

}  // namespace

uint64_t MemoryNeeds::kv(uint64_t ctx, uint64_t sequences) const {
  const uint64_t pages = ctx / kPagePositions + (ctx % kPagePositions != 0);
  return bounded_mul(bounded_mul(bounded_mul(pages, kPagePositions), kv_per_token), sequences);
}

uint64_t MemoryNeeds::total(uint64_t ctx, uint64_t sequences) const {
  return bounded_add(bounded_add(weights, scratch), kv(ctx, sequences));
}

uint64_t packed_weight_bytes(std::span<const TensorInfo> tensors) {
  uint64_t bytes = 0;
  for (const TensorInfo& t : tensors) bytes = bounded_add(bytes, packed_bytes(t));
  return bytes;
}

MemoryNeeds memory_needs(const ModelConfig& config, uint64_t weight_bytes, CacheType type, size_t prefill_chunk) {
  return {weight_bytes, scratch_bytes(config, prefill_chunk), kv_layout(config, type).bytes_per_token()};
}

size_t choose_context(const MemoryNeeds& needs, const ModelConfig& config, size_t asked, size_t sequences,
                      uint64_t available, size_t least) {
  const uint64_t per_token = std::max<uint64_t>(bounded_mul(needs.kv_per_token, sequences), 1);
  const uint64_t fixed = bounded_add(needs.weights, needs.scratch);
  const auto refuse = [&](uint64_t tokens) {
    throw ResourceError(cat("not enough memory: ", gib(needs.weights), " of weights, ",
                            gib(bounded_mul(tokens, per_token)), " of cache for ", tokens, " tokens and ",
                            gib(needs.scratch), " of scratch are needed, ", gib(available), " are free"));
  };
  if (asked != 0) {
    if (asked > config.max_position_embeddings)
      throw UsageError(
          cat("--ctx: expected at most the model's own ", config.max_position_embeddings, " positions, found ", asked));
    if (fixed > available || asked > (available - fixed) / per_token) refuse(asked);
    return asked;
  }
  least = std::min<size_t>(std::max<size_t>(least, 4096), config.max_position_embeddings);
  if (fixed > available || least > (available - fixed) / per_token) refuse(least);
  return std::clamp<size_t>(cache_room(needs, available) / per_token, least, config.max_position_embeddings);
}

uint64_t pages_that_fit(const MemoryNeeds& needs, uint64_t available) {
  return cache_room(needs, available) / std::max<uint64_t>(bounded_mul(needs.kv_per_token, kPagePositions), 1);
}

uint64_t available_memory_bytes() {
  uint64_t available = kUnbounded;
  if (const uint64_t kib = keyed_number("/proc/meminfo", "MemAvailable:")) available = kib * 1024;
  const std::optional<uint64_t> limit = number_in("/sys/fs/cgroup/memory.max");
  const std::optional<uint64_t> used = number_in("/sys/fs/cgroup/memory.current");
  // The page cache of files that nobody uses now, such as the model just read, is given back when it is asked for.
  const uint64_t reclaimable = keyed_number("/sys/fs/cgroup/memory.stat", "inactive_file");
  if (limit && used) available = std::min(available, *limit + reclaimable > *used ? *limit + reclaimable - *used : 0);
  return available;
}

uint64_t resident_memory_bytes() { return keyed_number("/proc/self/status", "VmRSS:") * 1024; }
uint64_t peak_resident_memory_bytes() { return keyed_number("/proc/self/status", "VmHWM:") * 1024; }

std::string gib(uint64_t bytes) {
  std::ostringstream out;
  out.precision(2);
  out << std::fixed << static_cast<double>(bytes) / kGiB << " GiB";
  return out.str();
}

}  // namespace fathom

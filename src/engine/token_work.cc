#include "engine/token_work.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>
#include <string_view>

#include "models/model.h"

namespace fathom {
namespace {

bool contains(std::string_view name, std::string_view part) { return name.find(part) != std::string_view::npos; }

/// The layer in "model.layers.3.mlp..." and "blk.3.ffn_...".
std::optional<size_t> layer_of(std::string_view name) {
  for (const std::string_view prefix : {"model.layers.", "blk."}) {
    if (!name.starts_with(prefix)) continue;
    size_t layer = 0;
    const auto [end, error] = std::from_chars(name.data() + prefix.size(), name.data() + name.size(), layer);
    if (error == std::errc()) return layer;
  }
  return std::nullopt;
}

bool is_embedding(std::string_view name) { return name == "token_embd.weight" || name == "model.embed_tokens.weight"; }
bool is_head(std::string_view name) { return name == "output.weight" || name == "lm_head.weight"; }
bool is_routed(std::string_view name) { return contains(name, "_exps.") || contains(name, ".mlp.experts."); }
bool is_scale(std::string_view name) { return name.ends_with("_scale_inv"); }

/// What no token's forward reads: MTP modules, and vectors that follow from the configuration.
bool is_unread(std::string_view name, const ModelConfig& config) {
  const std::optional<size_t> layer = layer_of(name);
  return contains(name, ".nextn.") || (layer && *layer >= config.num_hidden_layers) || name == "rope_freqs.weight" ||
         name.ends_with(".inv_freq");
}

}  // namespace

double TokenWork::pass_bytes(size_t sequences, double depth) const {
  const auto n = static_cast<double>(sequences);
  double routed_share = 1;
  if (experts) {
    const double missed = 1 - static_cast<double>(used) / static_cast<double>(experts);
    routed_share = 1 - std::pow(missed, n);
  }
  return static_cast<double>(shared_bytes) + routed_share * static_cast<double>(routed_bytes) +
         n * (static_cast<double>(row_bytes) + depth * static_cast<double>(kv_bytes));
}

double TokenWork::prompt_bytes(size_t tokens, size_t chunk) const {
  double bytes = 0;
  for (size_t done = 0; done < tokens; done += chunk) bytes += pass_bytes(std::min(chunk, tokens - done), 0);
  return bytes;
}

double TokenWork::prefill_macs() const {
  const double share = experts ? static_cast<double>(used) / static_cast<double>(experts) : 1;
  return static_cast<double>(shared_macs) + share * static_cast<double>(routed_macs);
}

TokenWork count_token_work(std::span<const TensorInfo> tensors, const ModelConfig& config, CacheType type) {
  TokenWork work{.experts = config.n_routed_experts, .used = config.num_experts_per_tok};
  ModelConfig without_mtp = config;
  without_mtp.num_nextn_predict_layers = 0;
  work.kv_bytes = kv_layout(without_mtp, type).bytes_per_token();
  const TensorInfo* embedding = nullptr;
  bool has_head = false;
  for (const TensorInfo& t : tensors) {
    if (is_unread(t.name, config)) continue;
    const uint64_t macs = t.shape.rank() < 2 || is_scale(t.name) ? 0 : t.shape.count();
    if (is_embedding(t.name)) {
      embedding = &t;
    } else if (is_routed(t.name)) {
      work.routed_bytes += t.size_bytes;
      work.routed_macs += macs;
    } else {
      work.shared_bytes += t.size_bytes;
      (is_head(t.name) ? work.head_macs : work.shared_macs) += macs;
      has_head = has_head || is_head(t.name);
    }
  }
  if (!embedding) return work;
  const uint64_t rows = embedding->shape.rank() ? embedding->shape[0] : 0;
  work.row_bytes = rows ? embedding->size_bytes / rows : 0;
  if (!has_head) {  // tied: the table is the head
    work.shared_bytes += embedding->size_bytes;
    work.head_macs = embedding->shape.count();
  }
  return work;
}

}  // namespace fathom

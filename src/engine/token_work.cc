#include "engine/token_work.h"

#include <algorithm>
#include <cmath>

#include "formats/tensor_role.h"
#include "models/model.h"

namespace fathom {
namespace {

/// What no token's forward reads.
bool is_unread(std::string_view name, const ModelConfig& config) {
  return is_mtp(name, config.num_hidden_layers) || is_derived(name);
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

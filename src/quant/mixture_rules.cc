#include "quant/mixture_rules.h"

namespace fathom {
namespace {

/// The first and the last eighth of the layers, and every third between them.
bool more_bits(uint64_t layer, uint64_t layers) {
  return layer < layers / 8 || layer >= 7 * layers / 8 || (layer - layers / 8) % 3 == 2;
}

bool contains(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

}  // namespace

TensorCategory tensor_category(std::string_view name) {
  if (name == "output.weight") return TensorCategory::kOutput;
  if (name == "token_embd.weight" || name == "per_layer_token_embd.weight") return TensorCategory::kTokenEmbedding;
  for (const char* v : {"attn_qkv.weight", "attn_kv_b.weight", "attn_v.weight"})
    if (contains(name, v)) return TensorCategory::kAttentionV;
  if (contains(name, "attn_k.weight")) return TensorCategory::kAttentionK;
  if (contains(name, "attn_q.weight")) return TensorCategory::kOther;
  if (contains(name, "attn_output.weight")) return TensorCategory::kAttentionOutput;
  if (contains(name, "ffn_up") || contains(name, "ffn_gate")) return TensorCategory::kOther;
  return contains(name, "ffn_down") ? TensorCategory::kFfnDown : TensorCategory::kOther;
}

MixtureRules::MixtureRules(std::span<const TensorInfo> tensors, const MixtureModel& model,
                           const MixtureOptions& options)
    : model_(model), options_(options), file_type_(options.mixture->file_type), base_(options.mixture->base) {
  for (const TensorInfo& t : tensors) {
    const TensorCategory category = tensor_category(t.name);
    if (category == TensorCategory::kOutput) tied_ = false;
    if (category == TensorCategory::kAttentionV) ++attention_v_count_;
  }
}

DType MixtureRules::choose(const TensorInfo& tensor, TensorCategory category) {
  switch (category) {
    case TensorCategory::kOutput: return output(tensor);
    case TensorCategory::kTokenEmbedding: return tied_ ? output(tensor) : base_;
    case TensorCategory::kAttentionV: return attention_v();
    case TensorCategory::kAttentionK: return model_.experts == 8 ? DType::kQ8_0 : base_;
    case TensorCategory::kAttentionOutput: return attention_output();
    case TensorCategory::kFfnDown: return ffn_down(tensor);
    case TensorCategory::kOther: return base_;
  }
  return base_;
}

DType MixtureRules::output(const TensorInfo& tensor) const {
  if (options_.output) return *options_.output;
  if (tensor.shape.back() % info(base_).block_size != 0) return DType::kQ8_0;
  return base_ == DType::kQ8_0 ? base_ : DType::kQ6_K;
}

DType MixtureRules::attention_v() {
  const uint64_t i = attention_v_seen_++;
  if (model_.experts == 8) return DType::kQ8_0;  // small beside eight experts
  const bool shared = model_.gqa >= 4;           // one such head serves many query heads
  DType type = base_;
  if (is(FileType::kQ2_K))
    type = shared ? DType::kQ4_K : DType::kQ3_K;
  else if (is(FileType::kQ2_K_S) && shared)
    type = DType::kQ4_K;
  else if (is(FileType::kQ3_K_M))
    type = i < 2 ? DType::kQ5_K : DType::kQ4_K;
  else if (is(FileType::kQ3_K_L))
    type = DType::kQ5_K;
  else if (is(FileType::kIQ4_NL, FileType::kIQ4_XS) && shared)
    type = DType::kQ5_K;
  else if (is(FileType::kQ4_K_M, FileType::kQ5_K_M) && more_bits(i, attention_v_count_))
    type = DType::kQ6_K;
  else if (is(FileType::kQ4_K_S) && i < 4)
    type = DType::kQ5_K;
  const bool low = type == DType::kQ3_K || type == DType::kQ4_K;
  return model_.is_70b && low ? DType::kQ5_K : type;
}

DType MixtureRules::attention_output() const {
  if (model_.experts == 8) {
    const bool raised = is(FileType::kQ2_K) || is(FileType::kQ3_K_S, FileType::kQ3_K_M) ||
                        is(FileType::kQ4_K_S, FileType::kQ4_K_M) || is(FileType::kIQ4_NL, FileType::kIQ4_XS);
    return raised ? DType::kQ5_K : base_;
  }
  if (is(FileType::kQ2_K)) return DType::kQ3_K;
  if (is(FileType::kQ3_K_M)) return DType::kQ4_K;
  return is(FileType::kQ3_K_L) ? DType::kQ5_K : base_;
}

DType MixtureRules::ffn_down(const TensorInfo& tensor) {
  const uint64_t layers = model_.layers;
  uint64_t i = ffn_down_seen_++;
  if (model_.experts > 1) {  // a layer has two such tensors (routed and shared), or one: the name counts
    const std::optional<uint64_t> named = layer_number(tensor.name);
    if (!named || *named >= layers)
      throw Error(cat("tensor ", printable(tensor.name), ": expected a layer below ", layers, ", found ",
                      named ? cat(*named) : std::string("none")));
    i = *named;
  }
  const bool first = i < layers / 8, more = more_bits(i, layers);
  switch (file_type_) {
    case FileType::kQ2_K: return DType::kQ3_K;
    case FileType::kQ2_K_S: return first ? DType::kQ4_K : base_;
    case FileType::kQ3_K_M: return i < layers / 16 ? DType::kQ5_K : DType::kQ4_K;
    case FileType::kQ3_K_L: return DType::kQ5_K;
    case FileType::kQ4_K_M:
    case FileType::kQ5_K_M: return more ? DType::kQ6_K : base_;
    case FileType::kIQ4_NL:
    case FileType::kIQ4_XS: return first && !options_.has_importance ? DType::kQ5_K : base_;
    case FileType::kQ4_K_S: return first ? DType::kQ5_K : base_;
    // With an importance matrix the first layers' ffn_down are known to suffer in the formats without an offset.
    case FileType::kQ4_0: return first && options_.has_importance ? DType::kQ4_1 : base_;
    case FileType::kQ5_0: return first && options_.has_importance ? DType::kQ5_1 : base_;
    default: return base_;
  }
}

}  // namespace fathom

// The rules behind a mixture: which tensors deserve more bits than the base type (spec/gguf.md 5). Called by
// mixture.cc alone, tensor by tensor in the order of writing, since some rules count. One thread.
#pragma once
#include <span>
#include <string_view>

#include "quant/mixture.h"

namespace fathom {

/// What a tensor is for, as far as the rules care. By name: ffn_down is also ffn_down_exps and ffn_down_shexp.
enum class TensorCategory { kTokenEmbedding, kAttentionV, kAttentionK, kAttentionOutput, kFfnDown, kOutput, kOther };
/// attn_v, attn_qkv and attn_kv_b are all kAttentionV.
TensorCategory tensor_category(std::string_view name);

class MixtureRules {
 public:
  MixtureRules(std::span<const TensorInfo> tensors, const MixtureModel& model, const MixtureOptions& options);
  /// The type for the next tensor that may change and that nobody named, before its row length is looked at. Throws
  /// Error naming a tensor whose layer the model does not have.
  DType choose(const TensorInfo& tensor, TensorCategory category);

 private:
  DType output(const TensorInfo& tensor) const;
  DType attention_v();
  DType attention_output() const;
  DType ffn_down(const TensorInfo& tensor);
  bool is(FileType a) const { return file_type_ == a; }
  bool is(FileType a, FileType b) const { return is(a) || is(b); }

  const MixtureModel& model_;
  const MixtureOptions& options_;
  FileType file_type_;
  DType base_;
  bool tied_ = true;  // no output.weight: the embedding is the output too
  uint64_t attention_v_count_ = 0, attention_v_seen_ = 0, ffn_down_seen_ = 0;
};

}  // namespace fathom

// One tensor of a Hugging Face folder that is being written: where its values come from, in what order, as what type.
// Called by quant/convert_safetensors_folder.cc. A WeightConverter is used by one thread and splits work over its pool.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/function_ref.h"
#include "base/thread_pool.h"
#include "formats/checkpoint.h"

namespace fathom {

enum class WeightForm {
  kAsStored,   ///< the source's values in their order
  kHalves,     ///< rows of each head from pairs (2i, 2i + 1) back to halves (i, i + d / 2): GGUF's llama
  kJoinedKvB,  ///< kv_b_proj [H (nope + v), lora] from k_b_proj [H, lora, nope] and v_b_proj [H, v, lora]
  kFp8Values,  ///< e4m3 in blocks of 128 x 128
  kFp8Scales,  ///< the scales of those blocks
};

struct WeightToWrite {
  TensorInfo info;     ///< as it will stand in the file; size_bytes is computed by the writer
  std::string source;  ///< a name for Checkpoint::find; kJoinedKvB: "model.layers.3.self_attn"
  WeightForm form = WeightForm::kAsStored;
  size_t heads = 0;  ///< kHalves
};

/// What a change of type did to values.
struct ValueLoss {
  uint64_t rounded = 0;     ///< another value than before
  uint64_t overflowed = 0;  ///< finite before, infinite now; counted in `rounded` too
  ValueLoss& operator+=(const ValueLoss& other);
};

/// out = x[0, n) as F32, F16 or BF16, to nearest even.
ValueLoss encode_values(const float* x, size_t n, DType type, std::byte* out);

class WeightConverter {
 public:
  using Sink = FunctionRef<void(std::span<const std::byte>)>;

  /// Both outlive this object.
  WeightConverter(const Checkpoint& checkpoint, ThreadPool& pool) : checkpoint_(checkpoint), pool_(pool) {}

  /// Gives all bytes of the tensor to `sink`, piece by piece: a few million values are in memory at once, and mapped
  /// pages are given back. Values of the stored type go through unchanged, bit for bit. Throws Error naming the tensor
  /// where a shape is wrong or a value cannot be written in FP8.
  ValueLoss convert(const WeightToWrite& weight, Sink sink);

 private:
  void as_stored(const StoredTensor& from, DType type, Sink sink);
  void halves(const WeightToWrite& weight, Sink sink);
  void joined_kv_b(const WeightToWrite& weight, Sink sink);
  void fp8(const WeightToWrite& weight, Sink sink);
  /// The values of `t` with elements of the size that `type` has, if they are stored so, else as f32 in f32_.
  std::span<const std::byte> working(const Tensor& t, const Tensor& scale_inv, DType type);
  /// What working() or a reordering of it gave, as `type`.
  void emit(std::span<const std::byte> values, bool stored_so, DType type, Sink sink);

  const Checkpoint& checkpoint_;
  ThreadPool& pool_;
  std::vector<float> f32_;
  std::vector<std::byte> reordered_, encoded_;
  ValueLoss loss_;
};

}  // namespace fathom

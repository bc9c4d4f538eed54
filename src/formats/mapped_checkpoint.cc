#include "formats/mapped_checkpoint.h"

#include <functional>

#include "tensor/dequantize.h"

namespace fathom {
namespace {

constexpr size_t kScaleBlock = 128;  // spec/models.md 8.2
size_t blocks_of(size_t n) { return n / kScaleBlock + (n % kScaleBlock != 0); }

/// The scales as f32: some files store them as bf16. A copy, for a weight in memory looks at its file no more.
Tensor read_scales(std::string_view name, const Located& weight, const Located& scales) {
  const Shape& w = weight.shape();
  if (w.rank() != 2) throw Error(cat("tensor ", name, ": expected an FP8 matrix, found shape ", w));
  const Tensor stored = scales.tensor();
  require_shape(cat(name, "_scale_inv"), stored, {blocks_of(w[0]), blocks_of(w[1])});
  if (stored.dtype() != DType::kF32 && stored.dtype() != DType::kBF16)
    throw Error(cat("tensor ", name, "_scale_inv: expected F32 or BF16, found ", stored.dtype()));
  return dequantize(stored);
}

}  // namespace

StoredTensor MappedCheckpoint::find(std::string_view name) const {
  const std::optional<Place> found = place(name);
  if (!found) throw Error(cat(what_, ": has no tensor ", printable(name)));
  StoredTensor out{found->data.tensor(), {}};
  if (out.data.dtype() != DType::kF8E4M3) return out;
  if (!found->scale_inv) throw Error(cat(what_, ": tensor ", printable(name), ": FP8 without its weight_scale_inv"));
  out.scale_inv = read_scales(printable(name), found->data, *found->scale_inv);
  return out;
}

void MappedCheckpoint::add_tensor(TensorInfo tensor) {
  weight_bytes_ += tensor.size_bytes;
  tensors_.push_back(std::move(tensor));
}

void MappedCheckpoint::release(const Tensor& mapped) const {
  const std::less_equal<const std::byte*> not_above;  // pointers into different objects
  const std::byte *begin = mapped.bytes(), *end = begin + mapped.size_bytes();
  for (const auto& mapping : mappings_) {
    const std::span<const std::byte> all = mapping->bytes();
    if (not_above(all.data(), begin) && not_above(end, all.data() + all.size())) {
      mapping->release({begin, mapped.size_bytes()});
      return;
    }
  }
}

std::optional<Located> MappedCheckpoint::expert_of(const Located& stack, const ExpertName& expert, bool merged) {
  const Shape& shape = stack.shape();
  if (shape.rank() != 3 || (merged && shape[1] % 2 != 0))
    throw Error(cat("tensor ", printable(stack.range.info.name),
                    ": expected a stack of experts [E, rows, columns], found ", shape));
  if (expert.index >= shape[0]) return std::nullopt;
  const Located one = stack.element(expert.index);
  if (!merged) return one;
  const size_t half = shape[1] / 2;
  return one.rows(expert.projection == "gate_proj" ? 0 : half, half);
}

}  // namespace fathom

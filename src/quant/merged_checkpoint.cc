#include "quant/merged_checkpoint.h"

#include <fmt/format.h>

#include <cmath>

#include "tensor/dequantize.h"

namespace fathom {

void merge_into(const Tensor& w, const PeftMatrix& adapter, float scale, const ModelConfig& config) {
  const size_t O = adapter.b.dim(0), r = adapter.a.dim(0), K = adapter.a.dim(1);
  require_shape(cat("adapter of ", printable(adapter.weight), ": the base's matrix"), w, {O, K});
  std::vector<float> change(K);
  for (size_t o = 0; o < O; ++o) {
    const float* b = adapter.b.data<float>() + hugging_face_row(config, adapter.weight, o) * r;
    std::fill(change.begin(), change.end(), 0.0f);
    for (size_t i = 0; i < r; ++i) {
      const float* a = adapter.a.data<float>() + i * K;
      for (size_t k = 0; k < K; ++k) change[k] = std::fma(b[i], a[k], change[k]);
    }
    float* row = w.data<float>() + o * K;
    for (size_t k = 0; k < K; ++k) row[k] = row[k] + scale * change[k];
  }
}

MergedCheckpoint::MergedCheckpoint(std::unique_ptr<Checkpoint> base, PeftAdapter adapter)
    : base_(std::move(base)), adapter_(std::move(adapter)) {
  for (const PeftMatrix& m : adapter_.matrices) {
    if (!base_->has(m.weight))
      throw Error(cat("adapter of ", printable(m.weight), ": expected a matrix of the model, found none of that name"));
    matrices_.emplace(m.weight, &m);
  }
  constexpr std::string_view kScales = "_scale_inv";
  const std::vector<TensorInfo>& all = base_->tensors();
  for (size_t i = 0; i < all.size(); ++i) {
    const std::string_view name = all[i].name;
    if (name.ends_with(kScales) && matrices_.contains(name.substr(0, name.size() - kScales.size()))) continue;
    TensorInfo& info = tensors_.emplace_back(all[i]);
    indices_.push_back(i);
    if (info.dtype != DType::kF8E4M3 || !matrices_.contains(name)) continue;
    info.dtype = DType::kF32;
    info.size_bytes = stored_bytes(printable(info.name), info.dtype, info.shape);
  }
}

StoredTensor MergedCheckpoint::find(std::string_view name) const {
  StoredTensor stored = base_->find(name);
  const auto found = matrices_.find(name);
  if (found == matrices_.end()) return stored;
  const std::lock_guard lock(mutex_);
  if (last_name_ != name) {
    Tensor merged = dequantize(stored.data, stored.scale_inv);
    merge_into(merged, *found->second, adapter_.scale(), base_->config());
    last_name_ = name;
    last_ = std::move(merged);
  }
  return {last_, {}};
}

std::unique_ptr<Checkpoint> open_merged(const std::filesystem::path& path, const std::filesystem::path& adapter) {
  std::unique_ptr<Checkpoint> base = open_checkpoint(path);
  if (adapter.empty()) return base;
  return std::make_unique<MergedCheckpoint>(std::move(base), read_peft_adapter(adapter));
}

void MergeError::add(const Tensor& merged, const Tensor& stored) {
  ++matrices;
  for (size_t i = 0; i < merged.count(); ++i) {
    const auto x = static_cast<double>(merged.data<float>()[i]), d = static_cast<double>(stored.data<float>()[i]) - x;
    values += x * x;
    change += d * d;
  }
}

std::string MergeError::text() const {
  return fmt::format("{} merged {} quantised: RMS error {:.3g}% of the values' RMS", matrices,
                     matrices == 1 ? "matrix was" : "matrices were",
                     values > 0 ? 100 * std::sqrt(change / values) : 0.0);
}

}  // namespace fathom

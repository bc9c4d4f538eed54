#include "models/weights.h"

#include <cstring>

#include "tensor/dequantize.h"
#include "tensor/float_types.h"

namespace fathom {
namespace {

/// Any stored float or quantised type to f32; FP8 with its block scales (spec/models.md 8.2).
Tensor to_f32(const StoredTensor& stored) {
  const Tensor& t = stored.data;
  Tensor out = make_tensor(DType::kF32, t.shape());
  if (t.dtype() != DType::kF8E4M3) {
    dequantize(t.dtype(), t.bytes(), out.data<float>(), t.count());
    return out;
  }
  const size_t rows = t.dim(0), columns = t.shape().back(), scale_columns = (columns + 127) / 128;
  for (size_t r = 0; r < rows; ++r)
    for (size_t c = 0; c < columns; ++c)
      out.data<float>()[r * columns + c] = f32_from_f8e4m3(static_cast<uint8_t>(t.bytes()[r * columns + c])) *
                                           stored.scale_inv.data<float>()[(r / 128) * scale_columns + c / 128];
  return out;
}

/// F64 serves finite differences alone; no published model has it, and no kernel reads it.
void require_float(const std::string& name, const Tensor& t) {
  if (t.dtype() == DType::kF64 || !can_dequantize(t.dtype()))
    throw Error(
        cat("tensor ", name, ": expected a floating-point type up to 32 bits or a quantised one, found ", t.dtype()));
}

}  // namespace

const Weight& Weights::add(Weight weight) {
  const Weight& added = matrices_.emplace_back(std::move(weight));
  in_order_.push_back(&added);
  return added;
}

std::span<const Weight> Weights::add(std::vector<Weight> stack) {
  const std::vector<Weight>& added = stacks_.emplace_back(std::move(stack));
  for (const Weight& w : added) in_order_.push_back(&w);
  return added;
}

const Tensor& Weights::add_vector(const std::string& name, Tensor vector) {
  return vectors_.emplace_back(name, std::move(vector)).second;
}

uint64_t Weights::size_bytes() const {
  return bytes_of([](DType) { return true; });
}

uint64_t Weights::bytes_of(const std::function<bool(DType)>& which) const {
  uint64_t sum = 0;
  for (const Weight* w : in_order_)
    if (which(w->dtype())) sum += w->size_bytes();
  return sum;
}

WeightLoader::WeightLoader(const Checkpoint& checkpoint, Weights& weights, const LoadOptions& options)
    : checkpoint_(checkpoint),
      weights_(weights),
      progress_(options.progress),
      pool_(options.threads),
      repacked_(options.repacked),
      total_(checkpoint.weight_bytes()) {}

void WeightLoader::done(uint64_t bytes) {
  done_ += bytes;
  if (progress_) progress_(done_, total_);
}

Weight WeightLoader::pack(const std::string& name, size_t O, size_t K) {
  const StoredTensor stored = checkpoint_.find(name);
  require_shape(name, stored.data, {O, K});
  require_float(name, stored.data);
  Weight weight = repacked_ ? repacked(name, stored.data.dtype(), O, K, stored.scale_inv)
                            : Weight(name, stored.data, stored.scale_inv, &pool_);
  checkpoint_.release(stored.data);
  done(stored.data.size_bytes());
  return weight;
}

Weight WeightLoader::repacked(const std::string& name, DType dtype, size_t O, size_t K, Tensor scale_inv) {
  return Weight(name, dtype, O, K, repacked_->next(name, dtype, O, K, pool_), std::move(scale_inv));
}

const Weight& WeightLoader::linear(const std::string& name, size_t O, size_t K, bool always_exact) {
  Weight weight = pack(name, O, K);
  weight.always_exact = always_exact;
  return weights_.add(std::move(weight));
}

std::span<const Weight> WeightLoader::stack(const std::string& prefix, const std::string& suffix, size_t n, size_t O,
                                            size_t K) {
  std::vector<Weight> out;
  out.reserve(n);
  for (size_t i = 0; i < n; ++i) out.push_back(pack(cat(prefix, i, suffix), O, K));
  return weights_.add(std::move(out));
}

Tensor WeightLoader::vector(const std::string& name, size_t n) {
  const StoredTensor stored = checkpoint_.find(name);
  require_shape(name, stored.data, {n});
  require_float(name, stored.data);
  done(stored.data.size_bytes());
  return weights_.add_vector(name, to_f32(stored));
}

Tensor WeightLoader::optional_vector(const std::string& name, size_t n, bool required) {
  return required || has(name) ? vector(name, n) : Tensor();
}

std::span<const Weight> WeightLoader::heads_of(const std::string& name, size_t O, size_t K) {
  const StoredTensor stored = checkpoint_.find(name);
  const size_t heads = config().num_attention_heads;
  require_shape(name, stored.data, {heads, O, K});
  require_float(name, stored.data);
  std::vector<Weight> out;
  for (size_t h = 0; h < heads; ++h)
    out.push_back(repacked_ ? repacked(name, stored.data.dtype(), O, K)
                            : Weight(name, stored.data.slice(h, 1).reshaped({O, K}), {}, &pool_));
  checkpoint_.release(stored.data);
  done(stored.data.size_bytes());
  return weights_.add(std::move(out));
}

WeightLoader::AbsorbedKv WeightLoader::split_kv_b(const std::string& name) {
  const ModelConfig& c = config();
  const size_t heads = c.num_attention_heads, nope = c.qk_nope_head_dim, v = c.v_head_dim, latent = c.kv_lora_rank;
  StoredTensor stored = checkpoint_.find(name);
  require_shape(name, stored.data, {heads * (nope + v), latent});
  require_float(name, stored.data);
  done(stored.data.size_bytes());
  // Types of single values keep their type; blocks are dequantised, since K's part is transposed.
  const bool single = info(stored.data.dtype()).block_size == 1 && stored.data.dtype() != DType::kF8E4M3;
  const DType dtype = single ? stored.data.dtype() : DType::kF32;
  const Tensor joined = repacked_ ? Tensor() : single ? stored.data : to_f32(stored);
  const size_t bytes = info(dtype).block_bytes;
  const auto head_of = [&](size_t h) { return joined.slice(h * (nope + v), nope + v); };
  const auto transposed_k = [&](size_t h) {
    const Tensor head = head_of(h);
    Tensor k = make_tensor(dtype, {latent, nope});
    for (size_t i = 0; i < latent; ++i)
      for (size_t j = 0; j < nope; ++j)
        std::memcpy(k.bytes() + (i * nope + j) * bytes, head.bytes() + (j * latent + i) * bytes, bytes);
    return k;
  };
  const auto halves = [&](size_t O, size_t K, bool transposed, const auto& half_of) {
    std::vector<Weight> out;
    for (size_t h = 0; h < heads; ++h) {
      out.push_back(repacked_ ? repacked(name, dtype, O, K) : Weight(name, half_of(h), {}, &pool_));
      out.back().always_exact = true;
      out.back().stored_row = h * (nope + v) + (transposed ? 0 : nope);
      out.back().transposed = transposed;
    }
    return weights_.add(std::move(out));
  };
  const AbsorbedKv out{halves(latent, nope, true, transposed_k),
                       halves(v, latent, false, [&](size_t h) { return head_of(h).slice(nope, v); })};
  checkpoint_.release(stored.data);
  return out;
}

WeightLoader::AbsorbedKv WeightLoader::absorbed_kv(const std::string& prefix) {
  const ModelConfig& c = config();
  if (has(prefix + "k_b_proj.weight"))
    return {heads_of(prefix + "k_b_proj.weight", c.kv_lora_rank, c.qk_nope_head_dim),
            heads_of(prefix + "v_b_proj.weight", c.v_head_dim, c.kv_lora_rank)};
  return split_kv_b(prefix + "kv_b_proj.weight");
}

}  // namespace fathom

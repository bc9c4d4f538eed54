#include "quant/convert_to_gguf_data.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <numbers>

#include "quant/quantize.h"
#include "tensor/dequantize.h"
#include "tensor/float_types.h"

namespace fathom {
namespace {

constexpr size_t kChunkBytes = size_t{8} << 20;
constexpr size_t kScaleBlock = 128;  // spec/models.md 8.2

size_t bytes_of(DType type, size_t values) { return values / info(type).block_size * info(type).block_bytes; }

/// Makes a tensor unit by unit: a unit is a row, or with Arrange::kKeys a head.
class Producer {
 public:
  Producer(const Checkpoint& source, const GgufTensorPlan& tensor) : t_(tensor), to_(tensor.info.dtype) {
    for (const std::string& name : t_.sources) sources_.push_back(source.find(name));
    const Tensor& first = sources_[0].data;
    const bool vector = first.shape().rank() <= 1;
    // A bias of permuted rows is a column: its rows have one value.
    source_columns_ = vector && t_.arrange == Arrange::kPairs ? 1 : first.shape().back();
    source_rows_ = source_columns_ ? first.count() / source_columns_ : 0;
    values_ = t_.arrange == Arrange::kKeys ? source_columns_ * t_.key_rows : source_columns_;
    units_ = values_ ? t_.info.shape.count() / values_ : 0;
  }

  size_t units() const { return units_; }
  size_t unit_bytes() const { return bytes_of(to_, values_); }
  size_t unit_values() const { return values_; }

  /// The bytes of unit `index`. scratch: two times unit_values().
  void make(size_t index, std::byte* out, float* scratch) const {
    const StoredTensor& source = sources_[index_of_source(index)];
    if (source.data.dtype() == to_) return copy(source, index, out);
    float* x = scratch;
    load(source, index, x);
    if (t_.arrange == Arrange::kKeys) {
      transpose(reinterpret_cast<const std::byte*>(x), reinterpret_cast<std::byte*>(x + values_), sizeof(float));
      x += values_;
    }
    quantize(to_, x, out, values_);
    if (to_ == DType::kF16) count_overflows(x, out);
  }

  uint64_t overflows() const { return overflows_; }
  void release(const Checkpoint& checkpoint) const {
    for (const StoredTensor& source : sources_) checkpoint.release(source.data);
  }

 private:
  size_t index_of_source(size_t unit) const { return t_.arrange == Arrange::kRows ? unit / source_rows_ : 0; }

  size_t source_row(size_t unit) const {
    switch (t_.arrange) {
      case Arrange::kPairs: {
        const size_t d = t_.head_rows, row = unit % d;
        return unit - row + row % 2 * (d / 2) + row / 2;
      }
      case Arrange::kKeys: return unit * t_.head_rows;
      case Arrange::kValues: {
        const size_t v = t_.head_rows - t_.key_rows;
        return unit / v * t_.head_rows + t_.key_rows + unit % v;
      }
      default: return unit % source_rows_;
    }
  }

  /// The unit's source rows, as they are stored, with the same type on both sides.
  void copy(const StoredTensor& source, size_t unit, std::byte* out) const {
    const std::byte* rows = source.data.bytes() + source_row(unit) * bytes_of(to_, source_columns_);
    if (t_.arrange == Arrange::kKeys)
      transpose(rows, out, info(to_).block_bytes);
    else
      std::memcpy(out, rows, unit_bytes());
  }

  void load(const StoredTensor& source, size_t unit, float* x) const {
    const DType from = source.data.dtype();
    const size_t first = source_row(unit), columns = source_columns_;
    dequantize(from, source.data.bytes() + first * bytes_of(from, columns), x, values_);
    if (!source.scale_inv.defined()) return;
    for (size_t row = first; row < first + values_ / columns; ++row, x += columns) {
      const float* scales = source.scale_inv.data<float>() + row / kScaleBlock * source.scale_inv.dim(1);
      for (size_t c = 0; c < columns; ++c) x[c] *= scales[c / kScaleBlock];
    }
  }

  /// [key_rows, kv_lora_rank] to [kv_lora_rank, key_rows]
  void transpose(const std::byte* from, std::byte* to, size_t size) const {
    const size_t rows = t_.key_rows, columns = source_columns_;
    for (size_t c = 0; c < columns; ++c)
      for (size_t r = 0; r < rows; ++r) std::memcpy(to + (c * rows + r) * size, from + (r * columns + c) * size, size);
  }

  void count_overflows(const float* x, const std::byte* out) const {
    uint64_t n = 0;
    for (size_t i = 0; i < values_; ++i) {
      uint16_t half;
      std::memcpy(&half, out + 2 * i, sizeof half);
      n += (half & 0x7fff) == 0x7c00 && std::isfinite(x[i]);
    }
    if (n) overflows_ += n;
  }

  const GgufTensorPlan& t_;
  DType to_;
  std::vector<StoredTensor> sources_;
  size_t source_rows_ = 0, source_columns_ = 0, values_ = 0, units_ = 0;
  mutable std::atomic<uint64_t> overflows_{0};
};

}  // namespace

uint64_t produce_tensor(const Checkpoint& source, const GgufTensorPlan& tensor, ThreadPool& pool,
                        const std::function<void(std::span<const std::byte>)>& write) {
  const Producer producer(source, tensor);
  const size_t units = producer.units(), size = producer.unit_bytes();
  if (units == 0) return 0;
  const size_t chunk = std::clamp<size_t>(kChunkBytes / (size + 1), 1, units);
  const size_t parts = std::min(chunk, pool.size() * 4), scratch_values = 2 * producer.unit_values();
  std::vector<std::byte> out(chunk * size);
  std::vector<float> scratch(parts * scratch_values);
  for (size_t begin = 0; begin < units; begin += chunk) {
    const size_t n = std::min(chunk, units - begin);
    pool.run(parts, [&](size_t part) {
      for (size_t u = n * part / parts; u < n * (part + 1) / parts; ++u)
        producer.make(begin + u, out.data() + u * size, scratch.data() + part * scratch_values);
    });
    write({out.data(), n * size});
  }
  producer.release(source);
  return producer.overflows();
}

std::vector<float> llama3_rope_freqs(const ModelConfig& config) {
  const RopeScaling& s = config.rope_scaling;
  const auto factor = static_cast<float>(s.factor), low = static_cast<float>(s.low_freq_factor);
  const double original = s.original_max_position_embeddings, range = s.high_freq_factor - s.low_freq_factor;
  std::vector<float> divisors(config.head_dim / 2);
  // In f32, step by step as the reference does, since the file's values are compared with its own.
  for (size_t i = 0; i < divisors.size(); ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(config.head_dim);
    const float theta = 1.0f / std::pow(static_cast<float>(config.rope_theta), exponent);
    const float wavelength = static_cast<float>(2 * std::numbers::pi) / theta;
    if (wavelength < original / s.high_freq_factor) {
      divisors[i] = 1;
    } else if (wavelength > original / s.low_freq_factor) {
      divisors[i] = factor;
    } else {
      const float m = (static_cast<float>(original) / wavelength - low) / static_cast<float>(range);
      divisors[i] = 1.0f / ((1.0f - m) / factor + m);
    }
  }
  return divisors;
}

}  // namespace fathom

#include "quant/merge_gguf.h"

#include <map>

#include "base/thread_pool.h"
#include "formats/gguf_names.h"
#include "formats/gguf_writer.h"
#include "quant/quantize.h"
#include "tensor/dequantize.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

/// Merged values as blocks of the type, rows over the pool.
Tensor quantized(const std::string& name, const Tensor& merged, DType type, ThreadPool& pool) {
  if (!can_quantize(type))
    throw Error(cat("tensor ", printable(name), ": expected a type that merged values can be stored in, found ", type));
  if (const auto bad = first_unstorable(type, merged.data<float>(), merged.count()))
    throw Error(cat("tensor ", printable(name), ": expected values that ", type, " can hold, found ",
                    merged.data<float>()[*bad], " after merging"));
  const size_t rows = merged.dim(0), K = merged.dim(1), row_bytes = K / info(type).block_size * info(type).block_bytes;
  Tensor out = make_tensor(type, merged.shape());
  pool.run(rows, [&](size_t r) { quantize(type, merged.data<float>() + r * K, out.bytes() + r * row_bytes, K); });
  return out;
}

GgufKeys keys_of(const GgufFile& in) {
  GgufKeys keys;
  keys.copy(in.metadata());
  for (const char* key : {"split.no", "split.count", "split.tensors.count"}) keys.remove(key);
  return keys;
}

}  // namespace

MergedGguf merge_into_gguf(const fs::path& in, const fs::path& out, const fs::path& adapter_folder, size_t threads,
                           const WorkProgress& progress) {
  if (std::error_code absent; fs::equivalent(in, out, absent) && !absent)
    throw Error(cat(out.string(), ": expected another file than the input, found the same"));
  const GgufFile file(in);
  const ModelConfig config = open_checkpoint(in)->config();
  const PeftAdapter adapter = read_peft_adapter(adapter_folder);
  std::map<std::string, const PeftMatrix*> matrices;  // by GGUF's names
  for (const PeftMatrix& m : adapter.matrices) {
    const std::optional<std::string> name = gguf_name(m.weight);
    if (!name || !file.has(*name))
      throw Error(
          cat("adapter of ", printable(m.weight), ": expected a matrix of ", in.string(), ", found none of that name"));
    matrices.emplace(*name, &m);
  }
  GgufWriter writer(out, keys_of(file), file.tensors());
  MergedGguf result{file.tensors().size(), writer.total_bytes(), {}};
  require_room(out, result.bytes);
  ThreadPool pool(threads);
  uint64_t done = 0, total = 0;
  for (const TensorInfo& t : file.tensors()) total += t.size_bytes;
  for (const TensorInfo& t : file.tensors()) {
    Tensor values = file.tensor(t.name);
    if (const auto found = matrices.find(t.name); found != matrices.end()) {
      const Tensor merged = dequantize(values);
      merge_into(merged, *found->second, adapter.scale(), config);
      values = quantized(t.name, merged, t.dtype, pool);
      if (info(t.dtype).block_size > 1) result.error.add(merged, dequantize(values));
    }
    writer.write({values.bytes(), values.size_bytes()});
    done += t.size_bytes;
    if (progress) progress(done, total);
  }
  writer.commit();
  return result;
}

}  // namespace fathom

#include "quant/convert_to_gguf.h"

#include "formats/json_file.h"
#include "quant/convert_to_gguf_about.h"
#include "quant/convert_to_gguf_data.h"
#include "quant/convert_to_gguf_keys.h"
#include "quant/gguf_tokenizer_keys.h"
#include "quant/merged_checkpoint.h"
#include "quant/quantize.h"
#include "tensor/dequantize.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

std::vector<TensorInfo> infos_of(const GgufPlan& plan) {
  std::vector<TensorInfo> infos;
  for (const GgufTensorPlan& t : plan.tensors) infos.push_back(t.info);
  return infos;
}

GgufKeys make_keys(const fs::path& folder, const Checkpoint& checkpoint, const GgufPlan& plan, bool fathom_keys,
                   std::vector<std::string>& notes) {
  GgufKeys keys;
  const ModelConfig& config = checkpoint.config();
  const json::value value = read_bounded_json(folder / "config.json");
  const JsonObject config_json(value, (folder / "config.json").string());
  set_general_keys(keys, folder, gguf_architecture(config), config_json, checkpoint.generation_config(),
                   infos_of(plan));
  set_model_keys(keys, config, config_json, plan, notes);
  keys.set_u32("general.quantization_version", 2);
  if (const std::optional<TokenizerSpec> spec = checkpoint.tokenizer()) {
    set_tokenizer_keys(keys, *spec, config, notes);
    set_more_tokenizer_keys(keys, *spec, folder, config_json, notes);
  } else {
    set_placeholder_tokenizer_keys(keys, config, notes);
  }
  if (fathom_keys) set_fathom_keys(keys, folder, checkpoint);
  return keys;
}

void require_disk(const fs::path& file, uint64_t bytes) {
  std::error_code error;
  const fs::path folder = file.has_parent_path() ? file.parent_path() : fs::path(".");
  const fs::space_info space = fs::space(folder, error);
  if (!error && space.available < bytes)
    throw ResourceError(cat(file.string(), ": needs ", bytes, " bytes, and the disk has ", space.available));
}

void write_tensors(GgufWriter& writer, const Checkpoint& checkpoint, const GgufPlan& plan, size_t threads,
                   const WorkProgress& progress, std::vector<std::string>& notes) {
  ThreadPool pool(threads);
  uint64_t done = 0;
  const auto write = [&](std::span<const std::byte> bytes) {
    if (progress) progress(done, writer.total_bytes());
    writer.write(bytes);
    done += bytes.size();
  };
  for (const GgufTensorPlan& t : plan.tensors) {
    if (t.arrange == Arrange::kRopeFreqs) {
      write(std::as_bytes(std::span<const float>(llama3_rope_freqs(checkpoint.config()))));
      continue;
    }
    if (const uint64_t overflows = produce_tensor(checkpoint, t, pool, write))
      notes.push_back(cat("tensor ", t.info.name, ": ", overflows, " values above 65504 became infinite in F16"));
  }
}

/// Of the merged matrices that became quantised. Rows are quantised each for itself, so their order does not matter.
MergeError merge_error(const Checkpoint& checkpoint, const GgufPlan& plan) {
  MergeError error;
  const auto* merged = dynamic_cast<const MergedCheckpoint*>(&checkpoint);
  for (const GgufTensorPlan& t : plan.tensors) {
    if (!merged || info(t.info.dtype).block_size == 1 || t.sources.size() != 1 || t.arrange == Arrange::kKeys) continue;
    if (!merged->is_merged(t.sources[0])) continue;
    const Tensor values = merged->find(t.sources[0]).data, stored = make_tensor(t.info.dtype, values.shape());
    quantize(t.info.dtype, values.data<float>(), stored.bytes(), values.count());
    error.add(values, dequantize(stored));
  }
  return error;
}

}  // namespace

ToGgufResult convert_to_gguf(const fs::path& folder, const fs::path& file, const ToGgufOptions& options,
                             const WorkProgress& progress) {
  const std::unique_ptr<Checkpoint> checkpoint = open_merged(folder, options.adapter);
  GgufPlan plan = plan_gguf(*checkpoint, options.types);
  ToGgufResult result{plan.type, plan.tensors.size(), 0, plan.notes};
  const GgufKeys keys = make_keys(folder, *checkpoint, plan, options.fathom_keys, result.notes);
  GgufWriter writer(file, keys, infos_of(plan));
  result.bytes = writer.total_bytes();
  require_disk(file, result.bytes);
  write_tensors(writer, *checkpoint, plan, options.threads, progress, result.notes);
  if (const MergeError error = merge_error(*checkpoint, plan); error.matrices) result.notes.push_back(error.text());
  if (progress) progress(result.bytes, result.bytes);
  writer.commit();
  return result;
}

}  // namespace fathom

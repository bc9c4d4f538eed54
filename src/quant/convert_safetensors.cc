#include "quant/convert_safetensors.h"

#include <algorithm>
#include <unordered_set>

#include "formats/absent_file.h"
#include "formats/json_file.h"
#include "quant/convert_safetensors_config.h"
#include "quant/fp8.h"
#include "quant/gguf_tokenizer_keys.h"
#include "quant/merged_checkpoint.h"
#include "tensor/dequantize.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kScaleSuffix = "_scale_inv";

size_t blocks_of(size_t n) { return n / kFp8Block + (n % kFp8Block != 0); }

class Plan {
 public:
  Plan(const Checkpoint& checkpoint, DType type) : checkpoint_(checkpoint), type_(type) {
    for (const TensorInfo& t : checkpoint.tensors())
      if (t.dtype == DType::kF8E4M3) fp8_scales_.insert(cat(t.name, kScaleSuffix));
    for (const TensorInfo& t : checkpoint.tensors()) add(t);
  }

  std::vector<WeightToWrite> weights;
  bool has_fp8 = false;  ///< of what will be written
  size_t from_fp8 = 0, to_fp8 = 0;

 private:
  void add(const TensorInfo& t) {
    if (type_ == DType::kF8E4M3) return add_for_fp8(t);
    if (fp8_scales_.count(t.name) != 0) return;
    const bool kept = !can_dequantize(t.dtype) || t.name.ends_with(".e_score_correction_bias");
    if (t.dtype == DType::kF8E4M3) {
      ++from_fp8;
      require_finite_scales(printable(t.name), checkpoint_.find(t.name).scale_inv);
    }
    weights.push_back({{t.name, kept ? t.dtype : type_, t.shape, 0}, t.name});
  }

  void add_for_fp8(const TensorInfo& t) {
    has_fp8 = has_fp8 || t.dtype == DType::kF8E4M3;
    const bool wide = t.dtype == DType::kF32 || t.dtype == DType::kF16 || t.dtype == DType::kBF16;
    if (!wide || t.shape.rank() != 2 || t.shape.count() == 0 || !is_fp8_matrix(t.name)) {
      weights.push_back({{t.name, t.dtype, t.shape, 0}, t.name});
      return;
    }
    has_fp8 = true;
    ++to_fp8;
    weights.push_back({{t.name, DType::kF8E4M3, t.shape, 0}, t.name, WeightForm::kFp8Values});
    weights.push_back({{cat(t.name, kScaleSuffix), DType::kF32, {blocks_of(t.shape[0]), blocks_of(t.shape[1])}, 0},
                       t.name,
                       WeightForm::kFp8Scales});
  }

  const Checkpoint& checkpoint_;
  DType type_;
  std::unordered_set<std::string> fp8_scales_;
};

/// Routers that loaders build as linears would be looked for in FP8. DeepSeek's own configurations have no such list:
/// its router is no linear there.
std::vector<std::string> linears_not_in_fp8(const Checkpoint& checkpoint) {
  std::vector<std::string> kept;
  if (checkpoint.config().is_mla()) return kept;
  constexpr std::string_view kWeight = ".weight";
  for (const TensorInfo& t : checkpoint.tensors())
    if (t.name == "lm_head.weight" || t.name.ends_with(".mlp.gate.weight"))
      kept.push_back(t.name.substr(0, t.name.size() - kWeight.size()));
  return kept;
}

std::string new_config(const fs::path& in, const Checkpoint& checkpoint, DType type, const Plan& plan) {
  json::value value = read_bounded_json(in / "config.json");
  json::object& config = value.as_object();
  bool changed = false;
  if (type != DType::kF8E4M3) {
    changed = set_torch_dtype(config, type);
    changed = config.erase("quantization_config") != 0 || changed;
  } else if (plan.has_fp8 && !config.contains("quantization_config")) {
    config["quantization_config"] = fp8_quantization_config(linears_not_in_fp8(checkpoint));
    changed = true;
  }
  return changed ? config_text(value) : read_text_file(in / "config.json", kMaxConfigBytes);
}

bool is_weights_file(const fs::path& path) {
  const std::string name = path.filename().string(), extension = path.extension().string();
  for (const char* other : {".safetensors", ".gguf", ".h5", ".msgpack", ".onnx"})
    if (extension == other) return true;
  return is_pickle(path) || is_unfinished(path) || name.ends_with(".index.json");
}

/// Of the merged matrices that became FP8.
MergeError merge_error(const Checkpoint& checkpoint, const std::vector<WeightToWrite>& weights) {
  MergeError error;
  const auto* merged = dynamic_cast<const MergedCheckpoint*>(&checkpoint);
  for (const WeightToWrite& w : weights) {
    if (!merged || w.form != WeightForm::kFp8Values || !merged->is_merged(w.source)) continue;
    const Tensor values = merged->find(w.source).data, stored = make_tensor(DType::kF8E4M3, values.shape());
    const size_t rows = values.dim(0), columns = values.dim(1);
    const Tensor scales = make_tensor(DType::kF32, {blocks_of(rows), blocks_of(columns)});
    for (size_t r = 0; r < rows; r += kFp8Block) {
      const size_t n = std::min(kFp8Block, rows - r);
      float* scale = scales.data<float>() + r / kFp8Block * blocks_of(columns);
      fp8_block_scales(values.data<float>() + r * columns, n, columns, scale);
      fp8_block_values(values.data<float>() + r * columns, n, columns, scale,
                       reinterpret_cast<uint8_t*>(stored.bytes()) + r * columns);
    }
    error.add(values, dequantize(stored, scales));
  }
  return error;
}

void copy_one(const fs::path& from, const fs::path& to) {
  std::error_code ec;
  fs::copy_file(from, to, ec);
  if (ec == std::errc::no_space_on_device || ec == std::errc::file_too_large)
    throw ResourceError(cat(to.string(), ": copying failed: ", ec.message()));
  if (ec) throw Error(cat(from.string(), ": copying failed: ", ec.message()));
}

void copy_templates(const fs::path& from, const fs::path& to) {
  fs::create_directory(to);
  for (const fs::directory_entry& entry : fs::directory_iterator(from))
    if (entry.path().extension() == ".jinja" && entry.is_regular_file())
      copy_one(entry.path(), to / entry.path().filename());
}

/// Everything beside the weights: tokenizer, templates, licence, code.
void copy_others(const fs::path& in, FolderAside& out, std::vector<std::string>& notes) {
  std::vector<fs::path> files;
  for (const fs::directory_entry& entry : fs::directory_iterator(in)) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  std::string left_out;
  for (const fs::path& path : files) {
    const std::string name = path.filename().string();
    if (name == "config.json" || name == "model.safetensors" || name == "model.safetensors.index.json") continue;
    const bool shard = name.starts_with("model-") && name.ends_with(".safetensors");
    if (shard || name.starts_with(".") || name == out.path().filename()) continue;
    if (name == kMoreTemplates && fs::is_directory(path))
      copy_templates(path, out.path() / name);
    else if (!fs::is_regular_file(path) || is_weights_file(path))
      left_out += cat(left_out.empty() ? "" : ", ", printable(name), fs::is_directory(path) ? "/" : "");
    else
      copy_one(path, out.path() / name);
  }
  if (!left_out.empty()) notes.push_back("not copied: " + left_out);
}

}  // namespace

FolderReport convert_folder_type(const fs::path& in, const fs::path& out, DType type, const FolderOptions& options,
                                 const WorkProgress& progress) {
  check(type == DType::kF8E4M3 || !torch_dtype(type).empty(), "a folder's type is F32, F16, BF16 or F8_E4M3");
  const std::unique_ptr<Checkpoint> checkpoint = open_merged(in, options.adapter);
  if (!fs::is_directory(in)) throw Error(cat(in.string(), ": expected a Hugging Face folder, found a file"));
  FolderReport report;
  Plan plan(*checkpoint, type);
  if (plan.from_fp8)
    report.notes.push_back(cat(plan.from_fp8, " FP8 matrices were multiplied by their scales and are ", type, " now"));
  if (plan.to_fp8)
    report.notes.push_back(cat(plan.to_fp8, " matrices were rounded to FP8 (e4m3) in blocks of 128 x 128"));
  if (type == DType::kF8E4M3 && plan.to_fp8 == 0)
    report.notes.push_back(plan.has_fp8 ? "the folder's matrices are in FP8 already"
                                        : "no matrix has a name that FP8 is used for");
  const std::string config = new_config(in, *checkpoint, type, plan);
  if (const MergeError error = merge_error(*checkpoint, plan.weights); error.matrices)
    report.notes.push_back(error.text());
  FolderAside folder(out);
  write_weights(*checkpoint, std::move(plan.weights), folder, options, progress, report);
  copy_others(in, folder, report.notes);
  folder.write_text("config.json", config);
  folder.commit();
  return report;
}

}  // namespace fathom

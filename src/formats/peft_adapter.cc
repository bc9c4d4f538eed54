#include "formats/peft_adapter.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <map>

#include "base/hash.h"
#include "formats/atomic_file.h"
#include "formats/json_file.h"
#include "formats/safetensors.h"
#include "tensor/dequantize.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

constexpr char kConfig[] = "adapter_config.json", kTensors[] = "adapter_model.safetensors";
constexpr std::string_view kPrefix = "base_model.model.", kA = ".lora_A.weight", kB = ".lora_B.weight";
constexpr int64_t kMaxRank = 65536;

/// Options that change nothing in what a finished adapter computes, whatever they say, and those read below.
constexpr std::string_view kHarmless[] = {
    "auto_mapping",
    "base_model_name_or_path",
    "bias",
    "ensure_weight_tying",
    "eva_config",
    "exclude_modules",
    "inference_mode",
    "init_lora_weights",
    "layers_pattern",
    "layers_to_transform",
    "lora_alpha",
    "lora_dropout",
    "megatron_core",
    "peft_type",
    "peft_version",
    "qalora_group_size",
    "r",
    "revision",
    "runtime_config",
    "target_modules",
    "task_type",
    "use_rslora",
};
/// Initialisations of A and B that leave the base as it was published.
constexpr std::string_view kPlainStarts[] = {"gaussian", "eva", "orthogonal"};

/// What an option that is not used says: null, false, 0, "", [] or {}.
bool is_unset(const json::value& v) {
  switch (v.kind()) {
    case json::kind::null: return true;
    case json::kind::bool_: return !v.get_bool();
    case json::kind::string: return v.get_string().empty();
    case json::kind::array: return v.get_array().empty();
    case json::kind::object: return v.get_object().empty();
    default: return v.is_number() && v.to_number<double>() == 0;
  }
}

void require_text(const JsonObject& o, std::string_view key, std::string_view want) {
  if (const std::string found = o.string(key); found != want)
    throw Error(cat(o.what(), ": ", key, ": expected ", want, ", found ", printable(found)));
}

void refuse_what_is_not_supported(const JsonObject& o) {
  require_text(o, "peft_type", "LORA");
  if (o.has("task_type")) require_text(o, "task_type", "CAUSAL_LM");
  if (o.has("bias")) require_text(o, "bias", "none");
  if (const json::value* start = o.find("init_lora_weights"); start && start->is_string()) {
    const std::string_view name = start->get_string();
    if (std::find(std::begin(kPlainStarts), std::end(kPlainStarts), name) == std::end(kPlainStarts))
      throw Error(cat(o.what(), ": init_lora_weights: expected a start that leaves the base as it is, found ",
                      printable(name), ": convert the adapter to plain LoRA first"));
  }
  for (const auto& option : o.raw()) {
    const std::string_view key = option.key();
    if (std::find(std::begin(kHarmless), std::end(kHarmless), key) == std::end(kHarmless) && !is_unset(option.value()))
      throw Error(cat(o.what(), ": ", printable(key), ": expected an adapter without this option, found ",
                      printable(to_json(option.value())), ": it is not supported"));
  }
}

void read_config(const fs::path& path, PeftAdapter& out) {
  const json::value value = read_bounded_json(path);
  const JsonObject o(value, path.string());
  refuse_what_is_not_supported(o);
  const int64_t r = o.integer("r");
  if (r < 1 || r > kMaxRank) throw Error(cat(path.string(), ": r: expected 1 to ", kMaxRank, ", found ", r));
  out.r = static_cast<size_t>(r);
  out.lora_alpha = o.number("lora_alpha");
  out.use_rslora = o.boolean_or("use_rslora", false);
  if (!std::isfinite(out.scale()))
    throw Error(cat(path.string(), ": lora_alpha: expected a finite number, found ", out.lora_alpha));
  out.base_model_name_or_path = o.string_or("base_model_name_or_path", "");
  const json::value* targets = o.find("target_modules");
  if (targets && targets->is_string()) out.target_modules.emplace_back(targets->get_string());
  if (targets && targets->is_array())
    for (const json::value& target : targets->get_array())
      if (target.is_string()) out.target_modules.emplace_back(target.get_string());
}

/// The tensor as f32.
Tensor values_of(const SafetensorsFile& file, const TensorInfo& info) {
  const Tensor stored = file.tensor(info.name);
  const std::string what = cat(file.path().string(), ": tensor ", printable(info.name));
  if (stored.dtype() != DType::kF32 && stored.dtype() != DType::kF16 && stored.dtype() != DType::kBF16)
    throw Error(cat(what, ": expected F32, F16 or BF16, found ", stored.dtype()));
  if (stored.shape().rank() != 2)
    throw Error(cat(what, ": expected a matrix, found ", stored.shape().rank(), " dimensions"));
  return dequantize(stored);
}

/// The base's tensor that `name` adapts; empty where it is no tensor of that end.
std::string weight_of(std::string_view name, std::string_view end) {
  if (!name.starts_with(kPrefix) || !name.ends_with(end) || name.size() <= kPrefix.size() + end.size()) return "";
  return cat(name.substr(kPrefix.size(), name.size() - kPrefix.size() - end.size()), ".weight");
}

void read_tensors(const fs::path& path, PeftAdapter& out) {
  const SafetensorsFile file(path);
  std::map<std::string, PeftMatrix> matrices;
  for (const StoredRange& range : file.ranges()) {
    const std::string a = weight_of(range.info.name, kA), b = weight_of(range.info.name, kB);
    if (a.empty() && b.empty())
      throw Error(cat(path.string(), ": tensor ", printable(range.info.name), ": expected ", kPrefix, "NAME", kA,
                      " or NAME", kB, ", found something else: it is not supported"));
    PeftMatrix& matrix = matrices[a.empty() ? b : a];
    (a.empty() ? matrix.b : matrix.a) = values_of(file, range.info);
  }
  for (auto& [weight, matrix] : matrices) {
    const std::string what = cat(path.string(), ": adapter of ", printable(weight));
    if (!matrix.a.defined() || !matrix.b.defined())
      throw Error(cat(what, ": expected lora_A and lora_B, found one of them"));
    if (matrix.a.dim(0) != out.r || matrix.b.dim(1) != out.r)
      throw Error(cat(what, ": expected lora_A [", out.r, ", K] and lora_B [O, ", out.r, "], found ", matrix.a.shape(),
                      " and ", matrix.b.shape()));
    out.matrices.push_back({weight, matrix.a, matrix.b});
  }
  if (out.matrices.empty()) throw Error(cat(path.string(), ": expected adapted matrices, found none"));
}

}  // namespace

float PeftAdapter::scale() const {
  const auto rank = static_cast<double>(r);
  return static_cast<float>(lora_alpha / (use_rslora ? std::sqrt(rank) : rank));
}

PeftAdapter read_peft_adapter(const fs::path& folder) {
  if (!fs::is_directory(folder))
    throw Error(cat(folder.string(), ": expected the folder of an adapter (", kConfig, ", ", kTensors, "), found ",
                    fs::exists(folder) ? "a file" : "nothing"));
  if (!fs::exists(folder / kTensors) && fs::exists(folder / "adapter_model.bin"))
    throw Error(cat(folder.string(), ": expected ", kTensors, ", found a pickle file, which is not read"));
  PeftAdapter out;
  read_config(folder / kConfig, out);
  read_tensors(folder / kTensors, out);
  return out;
}

void write_peft_adapter(const fs::path& folder, const PeftAdapter& adapter) {
  std::error_code failed;
  fs::create_directories(folder, failed);
  if (failed) throw Error(cat(folder.string(), ": making the folder failed: ", failed.message()));
  std::vector<std::pair<std::string, Tensor>> tensors;
  for (const PeftMatrix& m : adapter.matrices) {
    constexpr std::string_view kWeight = ".weight";
    check(m.weight.ends_with(kWeight), "matrices are called by their tensors");
    const std::string module = cat(kPrefix, m.weight.substr(0, m.weight.size() - kWeight.size()));
    tensors.emplace_back(cat(module, kA), m.a);
    tensors.emplace_back(cat(module, kB), m.b);
  }
  write_safetensors(folder / kTensors, tensors, {{"format", "pt"}});
  json::object config{{"base_model_name_or_path", nullptr},
                      {"bias", "none"},
                      {"fan_in_fan_out", false},
                      {"inference_mode", true},
                      {"init_lora_weights", true},
                      {"lora_alpha", adapter.lora_alpha},
                      {"lora_dropout", 0.0},
                      {"modules_to_save", nullptr},
                      {"peft_type", "LORA"},
                      {"r", adapter.r},
                      {"target_modules", json::array(adapter.target_modules.begin(), adapter.target_modules.end())},
                      {"task_type", "CAUSAL_LM"},
                      {"use_dora", false},
                      {"use_rslora", adapter.use_rslora}};
  if (!adapter.base_model_name_or_path.empty()) config["base_model_name_or_path"] = adapter.base_model_name_or_path;
  const std::string text = to_json(config, {.indent = 2, .key_sep = ": ", .python_floats = true}) + "\n";
  AtomicFile file(folder / kConfig);
  file.write(text.data(), text.size());
  file.commit();
}

size_t hugging_face_row(const ModelConfig& config, std::string_view weight, size_t row) {
  const bool rotated = weight.ends_with(".q_proj.weight") || weight.ends_with(".k_proj.weight");
  if (!rotated || config.model_type != "llama" || !config.rope_interleaved) return row;
  const size_t d = config.head_dim, in_head = row % d;
  return row - in_head + in_head % 2 * (d / 2) + in_head / 2;
}

std::string adapter_id(const PeftAdapter& adapter) {
  Blake2b256 hash;
  hash.update(cat("fathom-adapter-1 scale=", std::bit_cast<uint32_t>(adapter.scale()), "\n"));
  for (const PeftMatrix& m : adapter.matrices) {
    hash.update(cat(m.weight, "\n", m.a.dim(0), ",", m.a.dim(1), "\n", m.b.dim(0), ",", m.b.dim(1), "\n"));
    for (const Tensor* t : {&m.a, &m.b})
      hash.update(std::span(reinterpret_cast<const uint8_t*>(t->bytes()), t->size_bytes()));
  }
  return hash.hex();
}

}  // namespace fathom

#include "quant/mixture.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <regex>

#include "quant/mixture_rules.h"
#include "quant/quantize.h"

namespace fathom {
namespace {

constexpr std::array kMixtures{
    Mixture{"Q4_K_M", FileType::kQ4_K_M, DType::kQ4_K},   Mixture{"Q4_K_S", FileType::kQ4_K_S, DType::kQ4_K},
    Mixture{"Q5_K_M", FileType::kQ5_K_M, DType::kQ5_K},   Mixture{"Q5_K_S", FileType::kQ5_K_S, DType::kQ5_K},
    Mixture{"Q6_K", FileType::kQ6_K, DType::kQ6_K},       Mixture{"Q3_K_S", FileType::kQ3_K_S, DType::kQ3_K},
    Mixture{"Q3_K_M", FileType::kQ3_K_M, DType::kQ3_K},   Mixture{"Q3_K_L", FileType::kQ3_K_L, DType::kQ3_K},
    Mixture{"Q2_K", FileType::kQ2_K, DType::kQ2_K},       Mixture{"Q2_K_S", FileType::kQ2_K_S, DType::kQ2_K},
    Mixture{"Q8_0", FileType::kQ8_0, DType::kQ8_0},       Mixture{"Q4_0", FileType::kQ4_0, DType::kQ4_0},
    Mixture{"Q4_1", FileType::kQ4_1, DType::kQ4_1},       Mixture{"Q5_0", FileType::kQ5_0, DType::kQ5_0},
    Mixture{"Q5_1", FileType::kQ5_1, DType::kQ5_1},       Mixture{"IQ4_NL", FileType::kIQ4_NL, DType::kIQ4_NL},
    Mixture{"IQ4_XS", FileType::kIQ4_XS, DType::kIQ4_XS}, Mixture{"BF16", FileType::kBF16, DType::kBF16},
    Mixture{"F16", FileType::kF16, DType::kF16},          Mixture{"F32", FileType::kF32, DType::kF32},
};

// Small or sensitive tensors of architectures in the ecosystem; a name that contains one of these stays as it is.
constexpr std::array kNeverQuantized{
    "_norm.weight",
    "ffn_gate_inp.weight",
    "ffn_gate_tid2eid.weight",
    "altup",
    "laurel",
    "per_layer_model_proj",
    "ssm_conv1d",
    "shortconv.conv.weight",
    "indexer.k_proj.weight",
    "indexer.q_proj.weight",
    "time_mix_first.weight",
    "time_mix_w0.weight",
    "time_mix_w1.weight",
    "time_mix_w2.weight",
    "time_mix_v0.weight",
    "time_mix_v1.weight",
    "time_mix_v2.weight",
    "time_mix_a0.weight",
    "time_mix_a1.weight",
    "time_mix_a2.weight",
    "time_mix_g1.weight",
    "time_mix_g2.weight",
    "time_mix_decay_w1.weight",
    "time_mix_decay_w2.weight",
    "time_mix_lerp_fused.weight",
    "attn_rel_b.weight",
    ".position_embd",
    "sam.pos_embd",
    "sam.neck.",
    "sam.net_",
    ".rel_pos",
    ".patch_embd",
    ".patch_merger",
    "a.rvq.codebook",
    "mm.a.code_embd",
};

std::string upper(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  return out;
}

/// Dimensions without the trailing ones of size 1 (in GGUF's order): a matrix of one row is a vector.
size_t dimensions(const Shape& shape) {
  size_t ones = 0;
  while (ones < shape.rank() && shape[ones] == 1) ++ones;
  return std::max<size_t>(shape.rank() - ones, 1);
}

bool is_quantized(DType type) { return info(type).block_size > 1; }

DType smaller_block(DType type) {
  switch (type) {
    case DType::kIQ4_XS: return DType::kIQ4_NL;
    case DType::kQ2_K:
    case DType::kQ3_K: return DType::kQ4_0;
    case DType::kQ4_K: return DType::kQ5_0;
    case DType::kQ5_K: return DType::kQ5_1;
    case DType::kQ6_K: return DType::kQ8_0;
    default: return type;
  }
}

/// `type`, or where rows are no whole number of its blocks the type with smaller blocks, in the end F16.
TensorChoice fit(DType type, size_t row) {
  if (row % info(type).block_size == 0) return {.type = type};
  const DType smaller = smaller_block(type);
  return {.type = row % info(smaller).block_size == 0 ? smaller : DType::kF16, .wanted = type};
}

/// The patterns of --tensor-type, and whether each has met a tensor.
class Overrides {
 public:
  explicit Overrides(const std::vector<std::pair<std::string, DType>>& by_name) {
    for (const auto& [pattern, type] : by_name) try {
        patterns_.push_back({pattern, std::regex(pattern), type, false});
      } catch (const std::regex_error& e) {
        throw UsageError(cat("--tensor-type ", pattern, ": expected a regular expression, found an error: ", e.what()));
      }
  }
  std::optional<DType> find(const std::string& name) {
    for (Pattern& p : patterns_)
      if (std::regex_search(name, p.regex)) {
        p.met = true;
        return p.type;
      }
    return std::nullopt;
  }
  void refuse_unmet() const {
    for (const Pattern& p : patterns_)
      if (!p.met)
        throw UsageError(cat("--tensor-type ", p.text, "=", p.type,
                             ": expected a pattern that meets a tensor first, found none that may be quantised"));
  }

 private:
  struct Pattern {
    std::string text;
    std::regex regex;
    DType type;
    bool met;
  };
  std::vector<Pattern> patterns_;
};

TensorChoice choose(const TensorInfo& tensor, MixtureRules& rules, Overrides& overrides,
                    const MixtureOptions& options) {
  const size_t row = tensor.shape.back();
  if (!may_be_quantized(tensor)) return {.type = tensor.dtype, .may_change = false};
  const TensorCategory category = tensor_category(tensor.name);
  if (options.token_embedding && category == TensorCategory::kTokenEmbedding) return fit(*options.token_embedding, row);
  if (options.output && category == TensorCategory::kOutput) return fit(*options.output, row);
  if (const std::optional<DType> type = overrides.find(tensor.name)) return fit(*type, row);
  const DType base = options.mixture->base;
  return fit(is_quantized(base) && !options.pure ? rules.choose(tensor, category) : base, row);
}

}  // namespace

std::span<const Mixture> mixtures() { return kMixtures; }

const Mixture& find_mixture(std::string_view name) {
  std::string wanted = upper(name), known;
  if (wanted == "Q3_K" || wanted == "Q4_K" || wanted == "Q5_K") wanted += "_M";
  for (const Mixture& m : kMixtures) {
    if (wanted == m.name) return m;
    known += cat(known.empty() ? "" : ", ", m.name);
  }
  throw UsageError(cat("TYPE: expected one of ", known, ", found '", printable(name), "'"));
}

DType find_written_type(std::string_view what, std::string_view name) {
  const std::string wanted = upper(name);
  std::string known;
  for (size_t i = 0; i < kDTypeCount; ++i) {
    const auto type = static_cast<DType>(i);
    if (!can_quantize(type)) continue;
    if (wanted == info(type).name) return type;
    known += cat(known.empty() ? "" : ", ", type);
  }
  throw UsageError(cat(what, ": expected one of ", known, ", found '", printable(name), "'"));
}

MixtureModel mixture_model(const GgufMetadata& metadata) {
  MixtureModel model{.architecture = metadata.string("general.architecture").value_or("")};
  if (model.architecture.empty())
    throw Error(cat(metadata.what(), ": key general.architecture: expected the name of one, found none"));
  const std::string a = model.architecture + ".";
  model.layers = metadata.integer(a + "block_count").value_or(0);
  model.experts = metadata.integer(a + "expert_count").value_or(0);
  const auto first = [&](const std::string& key) -> std::optional<uint64_t> {  // a number, or one per layer
    const std::vector<int64_t> values = metadata.integers(key);
    if (values.empty() || values[0] < 0) return std::nullopt;
    return static_cast<uint64_t>(values[0]);
  };
  const uint64_t heads = first(a + "attention.head_count").value_or(0);
  const uint64_t kv_heads = first(a + "attention.head_count_kv").value_or(heads);
  model.gqa = kv_heads ? heads / kv_heads : 0;
  const uint64_t nextn = metadata.integer(a + "nextn_predict_layers").value_or(0);
  const bool has_80_layers = model.layers >= nextn && model.layers - nextn == 80;
  model.is_70b = has_80_layers && ((model.architecture == "llama" && heads != kv_heads) ||
                                   model.architecture == "qwen2" || model.architecture == "deci");
  return model;
}

bool may_be_quantized(const TensorInfo& tensor) {
  const std::string& name = tensor.name;
  if (dimensions(tensor.shape) < 2 || !name.ends_with("weight")) return false;
  if (name == "position_embd.weight" || name == "token_types.weight") return false;
  return std::none_of(kNeverQuantized.begin(), kNeverQuantized.end(),
                      [&](const char* part) { return name.find(part) != std::string::npos; });
}

std::optional<uint64_t> layer_number(std::string_view name) {
  if (!name.starts_with("blk.")) return std::nullopt;
  uint32_t n = 0;
  const auto [end, error] = std::from_chars(name.data() + 4, name.data() + name.size(), n);
  if (error != std::errc()) return std::nullopt;
  return n;
}

void sort_for_writing(std::vector<TensorInfo>& tensors) {
  std::sort(tensors.begin(), tensors.end(), [](const TensorInfo& a, const TensorInfo& b) {
    const std::optional<uint64_t> la = layer_number(a.name), lb = layer_number(b.name);
    return la != lb ? la < lb : a.name < b.name;
  });
}

std::vector<TensorChoice> choose_types(std::span<const TensorInfo> tensors, const MixtureModel& model,
                                       const MixtureOptions& options) {
  MixtureRules rules(tensors, model, options);
  Overrides overrides(options.by_name);
  std::vector<TensorChoice> choices;
  choices.reserve(tensors.size());
  for (const TensorInfo& tensor : tensors) choices.push_back(choose(tensor, rules, overrides, options));
  overrides.refuse_unmet();
  return choices;
}

}  // namespace fathom

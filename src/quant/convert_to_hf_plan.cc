#include <algorithm>
#include <map>
#include <set>

#include "formats/gguf_names.h"
#include "formats/safetensors.h"
#include "quant/convert_to_hf.h"
#include "tensor/dequantize.h"

namespace fathom {
namespace {

bool is_plain(DType type) { return type == DType::kF32 || type == DType::kF16 || type == DType::kBF16; }

bool is_quantised(DType type) { return !is_plain(type) && type != DType::kF64 && can_dequantize(type); }

/// The types that the folder's tensors had, from fathom.hf.dtypes.
class KeptTypes {
 public:
  explicit KeptTypes(const GgufMetadata& m) {
    const std::optional<std::string> text = m.string("fathom.hf.dtypes");
    if (!text) return;
    const json::value value = parse_json(*text, cat(m.what(), ": key fathom.hf.dtypes"));
    const JsonObject types(value, cat(m.what(), ": key fathom.hf.dtypes"));
    for (const auto& [key, names] : types.raw()) {
      if (key == "default") {
        default_ = type_named(types.string("default"));
        continue;
      }
      for (const json::value& name : types.array(key))
        if (name.is_string()) by_name_[std::string(name.get_string())] = type_named(key);
    }
  }
  bool known() const { return default_.has_value(); }
  /// nullopt: not known, or a type that cannot come back (FP8).
  std::optional<DType> of(const std::string& name) const {
    const auto it = by_name_.find(name);
    return it == by_name_.end() ? default_ : it->second;
  }

 private:
  static std::optional<DType> type_named(std::string_view name) {
    for (const DType type : {DType::kF32, DType::kF16, DType::kBF16})
      if (safetensors_name(type) == name) return type;
    return std::nullopt;
  }
  std::optional<DType> default_;
  std::map<std::string, std::optional<DType>> by_name_;
};

/// What GGUF keeps in F32 whatever the matrices are: vectors and the router.
bool is_small(const TensorInfo& t) { return t.shape.rank() < 2 || t.name.ends_with(".ffn_gate_inp.weight"); }

class Planner {
 public:
  Planner(const GgufFile& file, const Checkpoint& checkpoint, std::optional<DType> type)
      : checkpoint_(checkpoint), c_(checkpoint.config()), asked_(type), kept_(file.metadata()), file_(file) {}

  HfPlan run() {
    find_main_type();
    for (const TensorInfo& t : checkpoint_.tensors()) add(t);
    for (const WeightToWrite& w : plan_.weights) require_new(w.info.name);
    add_notes();
    return std::move(plan_);
  }

 private:
  /// The type with the most bytes of matrices, or BF16 where some are quantised.
  void find_main_type() {
    std::map<DType, uint64_t> bytes;
    for (const TensorInfo& t : checkpoint_.tensors()) {
      if (is_quantised(t.dtype)) {
        quantised_types_.insert(info(t.dtype).name);
        ++quantised_;
      } else if (!is_small(t)) {
        bytes[t.dtype] += t.size_bytes;
      }
    }
    if (quantised_ == 0 && !bytes.empty())
      main_ = std::max_element(bytes.begin(), bytes.end(), [](auto& a, auto& b) { return a.second < b.second; })->first;
    plan_.type = asked_.value_or(kept_.known() ? kept_.of("model.embed_tokens.weight").value_or(main_) : main_);
    if (!is_plain(plan_.type)) plan_.type = main_ = DType::kBF16;
  }

  DType type_of(const TensorInfo& t, const std::string& name) const {
    if (!can_dequantize(t.dtype))
      throw Error(
          cat("tensor ", printable(t.name), ": expected numbers that a model computes with, found type ", t.dtype));
    if (name.ends_with(".e_score_correction_bias")) return DType::kF32;
    if (asked_) return *asked_;
    if (kept_.known())
      if (const std::optional<DType> kept = kept_.of(name)) return *kept;
    if (!is_small(t)) return quantised_ || !is_plain(t.dtype) ? main_ : t.dtype;
    return is_plain(t.dtype) && !fits(t) ? t.dtype : main_;
  }

  /// Whether the main type holds every value of this small tensor.
  bool fits(const TensorInfo& t) const {
    constexpr size_t kMost = size_t{1} << 26;  // values; the largest router has 2 million
    if (t.dtype == main_) return true;
    if (t.shape.count() > kMost) return false;
    const Tensor values = dequantize(file_.tensor(t.name));
    std::vector<std::byte> out(values.count() * info(main_).block_bytes);
    return encode_values(values.data<float>(), values.count(), main_, out.data()).rounded == 0;
  }

  void add(const TensorInfo& t) {
    if (t.name == "rope_freqs.weight") return;  // config.json's rope_scaling
    if (const std::optional<ExpertStack> stack = expert_stack(t.name)) return add_experts(t, *stack);
    const std::optional<std::string> name = hf_name(t.name);
    if (!name) throw Error(cat("tensor ", printable(t.name), " has no Hugging Face name"));
    if (name->ends_with(".self_attn.k_b_proj.weight")) return add_kv_b(t, *name);
    if (name->ends_with(".self_attn.v_b_proj.weight")) {
      const std::string k_b = name->substr(0, name->size() - 15) + "k_b_proj.weight";
      if (!checkpoint_.has(k_b)) throw Error(cat("tensor ", printable(t.name), " stands without its attn_k_b"));
      return;
    }
    WeightToWrite w{{*name, type_of(t, *name), t.shape, 0}, *name};
    const bool q = name->find(".self_attn.q_proj.") != name->npos, k = name->find(".self_attn.k_proj.") != name->npos;
    if (c_.model_type == "llama" && (q || k)) {
      w.form = WeightForm::kHalves;
      w.heads = q ? c_.num_attention_heads : c_.num_key_value_heads;
      if (t.shape.rank() < 1 || t.shape[0] != w.heads * c_.head_dim || c_.head_dim % 2 != 0)
        throw Error(cat("tensor ", printable(t.name), ": expected ", w.heads * c_.head_dim,
                        " rows, an even number a head, found shape ", t.shape));
    }
    plan_.weights.push_back(std::move(w));
  }

  void add_kv_b(const TensorInfo& t, const std::string& k_b) {
    const std::string source = k_b.substr(0, k_b.size() - std::string_view(".k_b_proj.weight").size());
    const std::string v_b = source + ".v_b_proj.weight", name = source + ".kv_b_proj.weight";
    if (!checkpoint_.has(v_b)) throw Error(cat("tensor ", printable(t.name), " stands without its attn_v_b"));
    const size_t H = c_.num_attention_heads, nope = c_.qk_nope_head_dim, v = c_.v_head_dim, lora = c_.kv_lora_rank;
    require_shape(printable(t.name), checkpoint_.find(k_b).data, {H, lora, nope});
    require_shape(v_b, checkpoint_.find(v_b).data, {H, v, lora});
    plan_.weights.push_back({{name, type_of(t, name), {H * (nope + v), lora}, 0}, source, WeightForm::kJoinedKvB});
  }

  void add_experts(const TensorInfo& t, const ExpertStack& stack) {
    if (t.shape.rank() != 3 || t.shape[0] != c_.n_routed_experts)
      throw Error(cat("tensor ", printable(t.name), ": expected ", c_.n_routed_experts,
                      " experts [E, rows, columns], found shape ", t.shape));
    const bool both = stack.projection == "gate_up";
    if (both && t.shape[1] % 2 != 0)
      throw Error(
          cat("tensor ", printable(t.name), ": expected gate and up rows, an even number, found shape ", t.shape));
    for (size_t e = 0; e < t.shape[0]; ++e)
      for (const std::string& projection :
           both ? std::vector<std::string>{"gate", "up"} : std::vector{stack.projection}) {
        const std::string name = cat("model.layers.", stack.layer, ".mlp.experts.", e, ".", projection, "_proj.weight");
        plan_.weights.push_back({{name, type_of(t, name), {t.shape[1] / (both ? 2 : 1), t.shape[2]}, 0}, name});
      }
  }

  void require_new(const std::string& name) {
    if (!names_.insert(name).second)
      throw Error(cat("tensor ", printable(name), " comes from two tensors of the file"));
  }

  void add_notes() {
    if (quantised_ != 0) {
      std::string types;
      for (const std::string& type : quantised_types_) types += cat(types.empty() ? "" : ", ", type);
      plan_.notes.push_back(cat(quantised_, " tensors were quantised (", types,
                                "): the weights from before cannot come back, these are the quantised values"));
    }
    size_t wider = 0;
    for (const WeightToWrite& w : plan_.weights)
      wider += !kept_.known() && !asked_ && w.info.dtype == DType::kF32 && plan_.type != DType::kF32 &&
               !w.info.name.ends_with(".e_score_correction_bias");
    if (wider != 0) plan_.notes.push_back(cat(wider, " tensors stay F32, since ", plan_.type, " would round them"));
  }

  const Checkpoint& checkpoint_;
  const ModelConfig& c_;
  std::optional<DType> asked_;
  KeptTypes kept_;
  const GgufFile& file_;
  DType main_ = DType::kBF16;
  size_t quantised_ = 0;
  std::set<std::string> quantised_types_, names_;
  HfPlan plan_;
};

}  // namespace

HfPlan plan_hf(const GgufFile& file, const Checkpoint& checkpoint, std::optional<DType> type) {
  return Planner(file, checkpoint, type).run();
}

}  // namespace fathom

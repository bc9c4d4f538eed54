#include "quant/convert_to_gguf_plan.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <map>
#include <set>

#include "formats/gguf_names.h"
#include "quant/fp8.h"
#include "quant/needed_tensors.h"
#include "tensor/dequantize.h"

namespace fathom {
namespace {

constexpr std::string_view kLayers = "model.layers.";

/// N of "model.layers.N."; nullopt for other names.
std::optional<size_t> layer_of(std::string_view name) {
  if (!name.starts_with(kLayers)) return std::nullopt;
  size_t layer = 0;
  const char* begin = name.data() + kLayers.size();
  const auto [end, error] = std::from_chars(begin, name.data() + name.size(), layer);
  if (error != std::errc() || end == name.data() + name.size() || *end != '.') return std::nullopt;
  return layer;
}

/// Buffers that old checkpoints carry and nobody reads.
bool is_buffer(std::string_view name) {
  return name.ends_with(".rotary_emb.inv_freq") || name.ends_with(".attention.masked_bias") ||
         name.ends_with(".attention.bias");
}

/// "3 tensors (a, b, ...)"
std::string counted(const char* what, const std::vector<std::string>& names) {
  std::string text = cat(names.size(), " ", what, names.size() == 1 ? "" : "s", " (");
  for (size_t i = 0; i < names.size() && i < 3; ++i) text += (i ? ", " : "") + printable(names[i]);
  return text + (names.size() > 3 ? ", ...)" : ")");
}

bool exact(DType from, DType to) {
  return from == to || (to == DType::kF32 && (from == DType::kBF16 || from == DType::kF16 || from == DType::kF8E4M3));
}

class Planner {
 public:
  Planner(const Checkpoint& checkpoint, const ToGgufTypes& types)
      : source_(checkpoint), c_(checkpoint.config()), types_(types) {}

  GgufPlan run() {
    plan_.type = types_.type.value_or(auto_type(source_));
    plan_.mtp_layers = types_.mtp ? c_.num_nextn_predict_layers : 0;
    require_all();
    refuse_what_gguf_cannot_say();
    if (c_.rope_scaling.rope_type == RopeType::kLlama3) add_rope_freqs();
    for (const TensorInfo& t : source_.tensors()) add(t);
    note_all();
    return std::move(plan_);
  }

 private:
  void refuse_what_gguf_cannot_say() const {
    require_shape("model.embed_tokens.weight", source_.find("model.embed_tokens.weight").data,
                  {c_.vocab_size, c_.hidden_size});
    if (c_.model_type.starts_with("deepseek") && !c_.rope_interleaved)
      throw Error(cat(source_.description(), ": rope_interleave: expected true, found false (GGUF cannot say it)"));
  }

  /// A folder that lost some of its tensors is found out here rather than by whoever loads the file.
  void require_all() const {
    constexpr size_t kMost = 100, kShown = 8;
    if (!c_.tie_word_embeddings && !source_.has("lm_head.weight"))
      throw Error(cat(source_.description(), ": tensor lm_head.weight is missing, and tie_word_embeddings is not set"));
    const std::vector<std::string> missing = missing_tensors(source_, plan_.mtp_layers, kMost);
    if (missing.empty()) return;
    if (missing.size() == 1) throw Error(cat("tensor ", missing[0], " is missing"));
    std::string names;
    for (size_t i = 0; i < missing.size() && i < kShown; ++i) names += cat(i ? ", " : "", missing[i]);
    throw Error(cat(missing.size() == kMost ? "at least " : "", missing.size(), " tensors are missing: ", names,
                    missing.size() > kShown ? ", ..." : ""));
  }

  void add_rope_freqs() {
    if (c_.is_mla()) throw Error("llama3 rope scaling is not built for DeepSeek's attention");
    GgufTensorPlan t;
    t.info = {"rope_freqs.weight", DType::kF32, {c_.head_dim / 2}, 0};
    t.arrange = Arrange::kRopeFreqs;
    plan_.tensors.push_back(std::move(t));
  }

  void add(const TensorInfo& t) {
    if (is_buffer(t.name)) return left_out_.push_back(t.name);
    if (t.name.ends_with("_scale_inv") && source_.has(t.name.substr(0, t.name.size() - 10))) return;
    const std::optional<size_t> layer = layer_of(t.name);
    if (layer && *layer >= c_.num_hidden_layers + plan_.mtp_layers) return beyond_.push_back(t.name);
    if (t.name == "lm_head.weight" && c_.tie_word_embeddings && !keeps_tied_head()) return left_out_.push_back(t.name);
    if (const auto expert = expert_name(t.name)) return add_stacks(*expert, t.name);
    if (layer && t.name.ends_with(".mlp.experts.gate_up_proj")) return add_merged(*layer, {"gate_proj", "up_proj"});
    if (layer && t.name.ends_with(".mlp.experts.down_proj")) return add_merged(*layer, {"down_proj"});
    if (layer && c_.is_mla() && t.name.ends_with(".self_attn.kv_b_proj.weight")) return add_kv_b(*layer, t);
    const std::optional<std::string> name = gguf_name(t.name);
    if (!name) throw Error(cat("tensor ", printable(t.name), ": GGUF has no name for it"));
    const bool pairs = c_.model_type == "llama" &&
                       (name->find(".attn_q.") != std::string::npos || name->find(".attn_k.") != std::string::npos);
    if (pairs)
      add_pairs(*name, t);
    else
      add_rows(*name, t.shape, {t.name});
  }

  /// A tied head that is stored too: it travels where it says the same as the embedding.
  bool keeps_tied_head() const {
    if (c_.model_type.starts_with("deepseek")) return false;
    const Tensor head = source_.find("lm_head.weight").data, embed = source_.find("model.embed_tokens.weight").data;
    return head.dtype() == embed.dtype() && head.shape() == embed.shape() &&
           std::memcmp(head.bytes(), embed.bytes(), head.size_bytes()) == 0;
  }

  GgufTensorPlan& add_rows(std::string name, Shape shape, std::vector<std::string> sources) {
    const DType from = source_.find(sources[0]).data.dtype();
    if (!can_dequantize(from))
      throw Error(cat("tensor ", printable(sources[0]), ": expected floating-point values, found ", from));
    for (const std::string& source : sources) require_finite_scales(printable(source), source_.find(source).scale_inv);
    const DType to = target(name, shape, from);
    if (!exact(from, to)) rounded_[{from, to}].push_back(sources[0]);
    plan_.tensors.push_back({{std::move(name), to, shape, 0}, Arrange::kRows, std::move(sources), from});
    return plan_.tensors.back();
  }

  void add_pairs(const std::string& name, const TensorInfo& t) {
    const size_t heads = name.find(".attn_q.") != std::string::npos ? c_.num_attention_heads : c_.num_key_value_heads;
    if (t.shape.rank() == 0 || t.shape[0] != heads * c_.head_dim)
      throw Error(
          cat("tensor ", printable(t.name), ": expected ", heads * c_.head_dim, " rows, found shape ", t.shape));
    GgufTensorPlan& planned = add_rows(name, t.shape, {t.name});
    planned.arrange = Arrange::kPairs;
    planned.head_rows = c_.head_dim;
  }

  void add_kv_b(size_t layer, const TensorInfo& t) {
    const size_t heads = c_.num_attention_heads, nope = c_.qk_nope_head_dim, v = c_.v_head_dim, lora = c_.kv_lora_rank;
    require_shape(printable(t.name), source_.find(t.name).data, {heads * (nope + v), lora});
    for (const bool keys : {true, false}) {
      const Shape shape = keys ? Shape{heads, lora, nope} : Shape{heads, v, lora};
      GgufTensorPlan& planned =
          add_rows(cat("blk.", layer, keys ? ".attn_k_b.weight" : ".attn_v_b.weight"), shape, {t.name});
      planned.arrange = keys ? Arrange::kKeys : Arrange::kValues;
      planned.head_rows = nope + v;
      planned.key_rows = nope;
    }
  }

  void add_stacks(const ExpertName& expert, const std::string& name) {
    if (expert.index >= c_.n_routed_experts)
      throw Error(cat("tensor ", printable(name), ": the model has ", c_.n_routed_experts, " experts"));
    if (stacked_.insert(expert.layer).second)
      for (const char* projection : {"down_proj", "gate_proj", "up_proj"}) add_stack(expert.layer, projection);
  }

  void add_merged(size_t layer, std::initializer_list<const char*> projections) {
    for (const char* projection : projections) add_stack(layer, projection);
  }

  void add_stack(size_t layer, std::string_view projection) {
    std::vector<std::string> sources;
    for (size_t e = 0; e < c_.n_routed_experts; ++e)
      sources.push_back(cat(kLayers, layer, ".mlp.experts.", e, ".", projection, ".weight"));
    const Shape one = source_.find(sources[0]).data.shape();
    if (one.rank() != 2) throw Error(cat("tensor ", sources[0], ": expected a matrix, found shape ", one));
    for (const std::string& name : sources) {
      const Tensor expert = source_.find(name).data;
      require_shape(name, expert, one);
      if (!can_dequantize(expert.dtype()))
        throw Error(cat("tensor ", name, ": expected floating-point values, found ", expert.dtype()));
    }
    add_rows(gguf_expert_stack(layer, projection), {c_.n_routed_experts, one[0], one[1]}, std::move(sources));
  }

  /// spec/gguf.md 3.3
  DType target(const std::string& name, const Shape& shape, DType from) {
    if (shape.rank() <= 1 || name.ends_with("_norm.weight") || name.ends_with(".ffn_gate_inp.weight") ||
        !name.ends_with(".weight"))
      return DType::kF32;
    const DType wanted = types_.fp8_as_q8 && from == DType::kF8E4M3 ? DType::kQ8_0 : plan_.type;
    if (shape.back() % info(wanted).block_size == 0) return wanted;
    odd_rows_.push_back(name);
    return DType::kF16;
  }

  void note_all() {
    const auto note = [&](std::string text) { plan_.notes.push_back(std::move(text)); };
    if (!beyond_.empty())
      note(cat(counted("tensor", beyond_), " of layers from ", c_.num_hidden_layers + plan_.mtp_layers, " on left out",
               c_.num_nextn_predict_layers > plan_.mtp_layers ? ": the MTP layers" : ""));
    if (!left_out_.empty())
      note(cat(counted("tensor", left_out_), " left out: the model computes without ",
               left_out_.size() == 1 ? "it" : "them"));
    if (!odd_rows_.empty())
      note(cat(counted("tensor", odd_rows_), " became F16: rows are no multiple of 32 values, which Q8_0 needs"));
    for (const auto& [types, names] : rounded_)
      note(cat(counted("tensor", names), " rounded from ", types.first, " to ", types.second));
    if (types_.fp8_as_q8 && std::none_of(plan_.tensors.begin(), plan_.tensors.end(),
                                         [](const auto& t) { return t.source_type == DType::kF8E4M3; }))
      note("--fp8-as-q8 changed nothing: no tensor is FP8");
  }

  const Checkpoint& source_;
  const ModelConfig& c_;
  const ToGgufTypes& types_;
  GgufPlan plan_;
  std::set<size_t> stacked_;
  std::vector<std::string> left_out_, beyond_, odd_rows_;
  std::map<std::pair<DType, DType>, std::vector<std::string>> rounded_;
};

}  // namespace

DType auto_type(const Checkpoint& checkpoint) {
  bool fp8 = false;
  for (const TensorInfo& t : checkpoint.tensors()) {
    if (t.shape.rank() < 2) continue;
    if (t.dtype == DType::kBF16 || t.dtype == DType::kF16) return t.dtype;
    fp8 = fp8 || t.dtype == DType::kF8E4M3;
  }
  return fp8 ? DType::kBF16 : DType::kF32;
}

GgufPlan plan_gguf(const Checkpoint& checkpoint, const ToGgufTypes& types) { return Planner(checkpoint, types).run(); }

}  // namespace fathom

#include "train/masters.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <numbers>

#include "base/hash.h"
#include "base/philox.h"
#include "tensor/float_types.h"
#include "train/drawn_checkpoint.h"

namespace fathom {
namespace {

bool is_router_bias(std::string_view name) { return name.ends_with("e_score_correction_bias"); }

/// Whether p is the matrix of linears alone that are not exact in every profile, as the router and kv_b_proj are.
bool is_rounded(const Parameter& p) {
  return (p.hidden_matrix && !p.name.ends_with("kv_b_proj.weight")) || p.name == "lm_head.weight";
}

Tensor to_bf16(const Tensor& x) {
  Tensor out = make_tensor(DType::kBF16, x.shape());
  std::ranges::transform(x.span<float>(), out.data<uint16_t>(), bf16_from_f32);
  return out;
}

/// Tensors by name, for load_model.
class MasterCheckpoint final : public Checkpoint {
 public:
  MasterCheckpoint(const ModelConfig& config, std::span<const std::vector<Parameter>* const> lists, Profile profile)
      : config_(config), rounds_(profile == Profile::kBF16) {
    for (const std::vector<Parameter>* list : lists)
      for (const Parameter& p : *list) tensors_.emplace(p.name, &p);
  }
  const ModelConfig& config() const override { return config_; }
  const GenerationConfig& generation_config() const override { return generation_; }
  std::optional<TokenizerSpec> tokenizer() const override { return {}; }
  bool has(std::string_view name) const override { return tensors_.contains(name); }
  StoredTensor find(std::string_view name) const override {
    const auto found = tensors_.find(name);
    if (found == tensors_.end())
      throw Error(cat("tensor ", name, ": expected among the trained parameters, not found"));
    const Parameter& p = *found->second;
    return {rounds_ && is_rounded(p) ? to_bf16(p.value) : p.value, {}};
  }
  const std::vector<TensorInfo>& tensors() const override { return none_; }
  Tensor stored(size_t /*index*/) const override { return {}; }
  uint64_t weight_bytes() const override {
    uint64_t sum = 0;
    for (const auto& [name, p] : tensors_) sum += p->value.size_bytes();
    return sum;
  }
  std::string description() const override { return "a trainer's parameters"; }
  void release(const Tensor& /*mapped*/) const override {}

 private:
  const ModelConfig& config_;
  GenerationConfig generation_;
  bool rounds_;
  std::map<std::string, const Parameter*, std::less<>> tensors_;
  std::vector<TensorInfo> none_;
};

/// Calls f(row of w, column of w, index in the stored matrix) for every value of w.
template <class F>
void for_values(const Weight& w, size_t stored_columns, const F& f) {
  for (size_t o = 0; o < w.O(); ++o)
    for (size_t k = 0; k < w.K(); ++k)
      f(o * w.K() + k,
        w.transposed ? (w.stored_row + k) * stored_columns + o : (w.stored_row + o) * stored_columns + k);
}

bool is_whole(const Weight& w, const Shape& stored) {
  return !w.transposed && w.O() == stored[0] && w.K() == stored[1];
}

/// Shapes of the stored matrices: as far as their parts reach.
std::map<std::string, Shape> stored_shapes(const Weights& weights) {
  std::map<std::string, Shape> shapes;
  for (const Weight* w : weights.in_order()) {
    const size_t rows = w->stored_row + (w->transposed ? w->K() : w->O()), columns = w->transposed ? w->O() : w->K();
    Shape& shape = shapes[w->name()];
    shape = shape.rank() == 0 ? Shape{rows, columns} : Shape{std::max(shape[0], rows), columns};
  }
  return shapes;
}

}  // namespace

Masters Masters::from(const Checkpoint& checkpoint, size_t threads) {
  if (checkpoint.config().is_mla() && checkpoint.has("model.layers.0.self_attn.k_b_proj.weight"))
    throw Error(
        "training: expected kv_b_proj in one matrix as Hugging Face has it, found GGUF's halves; convert first");
  const std::unique_ptr<const Model> model = load_model(checkpoint, {.threads = threads, .share_mtp = true});
  Masters out;
  out.config_ = checkpoint.config();
  std::map<std::string, Tensor> values;
  for (const auto& [name, shape] : stored_shapes(model->weights())) values[name] = make_tensor(DType::kF32, shape);
  for (const Weight* w : model->weights().in_order()) {
    const Tensor rows = w->row_major(), &to = values[w->name()];
    for_values(*w, to.dim(1), [&](size_t from, size_t at) { to.data<float>()[at] = rows.data<float>()[from]; });
  }
  for (const auto& [name, vector] : model->weights().vectors()) values[name] = vector;
  for (const auto& [name, value] : values) {
    Parameter p{name, value, takes_decay(name, value.shape()), is_hidden_matrix(name, value.shape())};
    (is_router_bias(name) ? out.router_biases_ : out.parameters_).push_back(std::move(p));
  }
  return out;
}

Masters Masters::draw(const ModelConfig& config, const NewWeights& weights, size_t threads) {
  return from(DrawnCheckpoint(config, weights), threads);
}

Masters Masters::none(const ModelConfig& config) {
  Masters out;
  out.config_ = config;
  return out;
}

Parameter* Masters::find(const std::string& name) {
  for (std::vector<Parameter>* list : {&parameters_, &router_biases_})
    for (Parameter& p : *list)
      if (p.name == name) return &p;
  return nullptr;
}

uint64_t Masters::count() const {
  uint64_t sum = 0;
  for (const Parameter& p : parameters_) sum += p.value.count();
  return sum;
}

Masters Masters::with_values(const NamedTensors& values) const {
  Masters out = *this;
  for (const auto& [name, value] : values) {
    Parameter* p = out.find(name.substr(name.find('.') + 1));
    check(p && p->value.shape() == value.shape(), "a value for each parameter");
    p->value = value;
  }
  return out;
}

std::unique_ptr<const Model> Masters::snapshot(size_t threads, Profile profile) const {
  const std::array lists = {&parameters_, &router_biases_};
  return load_model(MasterCheckpoint(config_, lists, profile), {.threads = threads, .share_mtp = true});
}

std::vector<Tensor> Masters::gather(const Model& model, Gradients& gradients) const {
  std::map<std::string_view, size_t> index;
  for (size_t i = 0; i < parameters_.size(); ++i) index[parameters_[i].name] = i;
  std::vector<Tensor> out(parameters_.size());
  const auto add = [&](const Weight& w) {
    if (!gradients.has(w)) return;
    const Parameter& p = parameters_[index.at(w.name())];
    Tensor& sum = out[index.at(w.name())];
    const Tensor& part = gradients.of(w);
    if (!sum.defined() && is_whole(w, p.value.shape())) {
      sum = part;
      return;
    }
    if (!sum.defined()) sum = zeros(DType::kF32, p.value.shape());
    for_values(w, p.value.dim(1), [&](size_t from, size_t at) { sum.data<float>()[at] += part.data<float>()[from]; });
  };
  for (const Weight* w : model.weights().in_order()) add(*w);
  for (const Weight& w : model.weights().further_uses()) add(w);
  for (const auto& [name, vector] : model.weights().vectors())
    if (const auto found = index.find(name); found != index.end() && gradients.has(vector))
      out[found->second] = gradients.of(vector);
  for (size_t i = 0; i < out.size(); ++i)
    if (!out[i].defined()) out[i] = zeros(DType::kF32, parameters_[i].value.shape());
  return out;
}

}  // namespace fathom

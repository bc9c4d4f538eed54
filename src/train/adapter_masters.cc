#include "train/adapter_masters.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>

#include "base/checksum.h"
#include "base/philox.h"

namespace fathom {
namespace {

constexpr std::string_view kWeight = ".weight", kAll = "all-linear";

std::string_view module_of(std::string_view weight) { return weight.substr(0, weight.size() - kWeight.size()); }

bool takes_adapter(const std::string& weight) {
  try {
    require_adaptable(weight);
  } catch (const Error&) {
    return false;
  }
  return weight.ends_with(kWeight) && !weight.ends_with(".mlp.gate.weight");
}

/// peft's rule for a list of targets: the module's name, or its end after a dot.
bool is_target(std::string_view module, std::string_view target) {
  return module == target || (module.ends_with(target) && module[module.size() - target.size() - 1] == '.');
}

/// The weights that the targets name, in the model's order.
std::vector<const Weight*> targeted(const Model& model, const std::vector<std::string>& targets) {
  std::set<std::string_view> seen, found;
  std::vector<const Weight*> out;
  for (const Weight* w : model.weights().in_order()) {
    if (!seen.insert(w->name()).second) continue;  // heads of one matrix
    for (const std::string& target : targets) {
      const bool named = is_target(module_of(w->name()), target);
      if (!named && (target != kAll || !takes_adapter(w->name()))) continue;
      if (named) require_adaptable(w->name());
      found.insert(target);
      out.push_back(w);
      break;
    }
  }
  for (const std::string& target : targets)
    if (!found.contains(target) && !seen.empty())
      throw Error(cat("target module ", printable(target),
                      ": expected the name of linears of the model, such as q_proj, or ", kAll,
                      ", found none of that name"));
  return out;
}

uint64_t key_of(uint64_t seed, std::string_view name) {
  return seed * 0x9E3779B97F4A7C15 ^ checksum(std::as_bytes(std::span(name)));
}

void fill_uniform(const Tensor& t, uint64_t key, double bound) {
  for (size_t i = 0; i < t.count(); ++i) {
    const auto words = philox4x32(key, {static_cast<uint32_t>(i), static_cast<uint32_t>(uint64_t{i} >> 32), 0, 0});
    t.data<float>()[i] = static_cast<float>(bound * (2 * ((static_cast<double>(words[0]) + 0.5) * 0x1p-32) - 1));
  }
}

}  // namespace

AdapterMasters::AdapterMasters(PeftAdapter adapter, const Model& model) : model_(&model), adapter_(std::move(adapter)) {
  for (const PeftMatrix& m : adapter_.matrices) {
    const std::string module(module_of(m.weight));
    parameters_.push_back(make_parameter(module + ".lora_A.weight", m.a));
    parameters_.push_back(make_parameter(module + ".lora_B.weight", m.b));
  }
}

AdapterMasters AdapterMasters::draw(const Model& model, const LoraOptions& options) {
  if (options.r == 0) throw Error("adapter rank r: expected at least 1, found 0");
  PeftAdapter adapter{.r = options.r, .lora_alpha = options.alpha, .use_rslora = options.rslora};
  std::set<std::string> modules;
  for (const Weight* w : targeted(model, options.targets)) {
    const Tensor a = make_tensor(DType::kF32, {options.r, w->K()});
    fill_uniform(a, key_of(options.seed, w->name()), 1 / std::sqrt(static_cast<double>(w->K())));
    adapter.matrices.push_back({w->name(), a, zeros(DType::kF32, {w->O(), options.r})});
    const std::string_view module = module_of(w->name());
    modules.emplace(module.substr(module.rfind('.') + 1));
  }
  std::sort(adapter.matrices.begin(), adapter.matrices.end(),
            [](const PeftMatrix& a, const PeftMatrix& b) { return a.weight < b.weight; });
  adapter.target_modules.assign(modules.begin(), modules.end());
  return from(std::move(adapter), model);
}

AdapterMasters AdapterMasters::from(PeftAdapter adapter, const Model& model) {
  AdapterMasters out(std::move(adapter), model);
  out.snapshot();  // throws where it does not fit
  return out;
}

AdapterMasters AdapterMasters::with_values(const NamedTensors& values) const {
  check(values.size() == parameters_.size(), "each parameter has another value");
  PeftAdapter adapter = adapter_;
  for (size_t i = 0; i < values.size(); ++i) {
    check(values[i].first.ends_with("." + parameters_[i].name), "values are in the order of the parameters");
    PeftMatrix& m = adapter.matrices[i / 2];
    (i % 2 == 0 ? m.a : m.b) = values[i].second;
  }
  return {std::move(adapter), *model_};
}

uint64_t AdapterMasters::count() const {
  uint64_t sum = 0;
  for (const Parameter& p : parameters_) sum += p.value.count();
  return sum;
}

std::vector<Tensor> AdapterMasters::gather(const Adapter& adapter, Gradients& gradients) const {
  std::vector<Tensor> out;
  for (const PeftMatrix& m : adapter_.matrices) {
    const LowRank* low_rank = adapter.find(m.weight);
    check(low_rank != nullptr, "the adapter is a snapshot of these masters");
    out.push_back(gradients.has(low_rank->a) ? gradients.of(low_rank->a) : zeros(DType::kF32, m.a.shape()));
    Tensor& db = out.emplace_back(zeros(DType::kF32, m.b.shape()));
    if (!gradients.has(low_rank->b)) continue;
    const size_t r = adapter_.r;
    for (size_t o = 0; o < m.b.dim(0); ++o)
      std::memcpy(db.data<float>() + hugging_face_row(model_->config(), m.weight, o) * r,
                  gradients.of(low_rank->b).data<float>() + o * r, r * sizeof(float));
  }
  return out;
}

void AdapterMasters::save(const std::filesystem::path& folder, const std::string& base) const {
  PeftAdapter adapter = adapter_;
  adapter.base_model_name_or_path = base;
  write_peft_adapter(folder, adapter);
}

}  // namespace fathom

#include "train/run_state.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "train/balance.h"
#include "train/run_identity.h"

namespace fathom {
namespace {

constexpr size_t kRecentLosses = 32;

std::filesystem::path resumed_from(const TrainOptions& options, const RunFolder& folder) {
  const std::optional<int64_t> latest = options.resume ? folder.latest_checkpoint() : std::nullopt;
  return latest ? run_checkpoint_path(folder.path(), *latest) : std::filesystem::path();
}

std::optional<AdapterMasters> adapter_of(const Recipe& recipe, const StartModel& model,
                                         const std::filesystem::path& resume) {
  if (!model.frozen) return std::nullopt;
  if (!resume.empty()) return AdapterMasters::from(read_peft_adapter(resume), *model.frozen);
  LoraOptions options{.r = static_cast<size_t>(recipe.lora.rank), .alpha = recipe.lora.alpha};
  options.targets = recipe.lora.targets;
  options.seed = static_cast<uint64_t>(recipe.seed);
  return AdapterMasters::draw(*model.frozen, options);
}

OptimizerOptions optimizer_options(const Recipe& recipe) {
  const Recipe::Optimizer& o = recipe.optimizer;
  return {o.name == "muon", o.betas[0], o.betas[1], o.eps, o.weight_decay, o.momentum};
}

bool is_finite(const Tensor& t) {
  for (const float x : t.span<float>())
    if (!std::isfinite(x)) return false;
  return true;
}

}  // namespace

RunState::RunState(const Recipe& recipe, const TrainOptions& options, const RunFolder& folder, size_t threads)
    : recipe_(recipe),
      identity_(run_identity(recipe, options)),
      threads_(threads),
      model_(start_model(recipe, options.start, folder.path(), resumed_from(options, folder), threads)),
      adapter_(adapter_of(recipe, model_, resumed_from(options, folder))),
      optimizer_(trained(), optimizer_options(recipe)),
      position_(zeros(DType::kI64, {1})),
      recent_losses_(make_tensor(DType::kF64, {kRecentLosses})) {
  for (double& loss : recent_losses_.span<double>()) loss = std::numeric_limits<double>::quiet_NaN();
  if (recipe.optimizer.ema_decay > 0) {
    ema_.emplace(trained(), recipe.optimizer.ema_decay);
    if (adapter_)
      average_adapter_ = adapter_->with_values(ema_->state());
    else
      average_ = model_.masters.with_values(ema_->state());
  }
  if (!adapter_ && ((recipe.stage == "grpo" && recipe.grpo.beta != 0) || recipe.stage == "dpo")) {
    for (const Parameter& p : model_.masters.parameters())
      reference_values_.emplace_back("reference." + p.name, make_tensor(DType::kF32, p.value.shape()));
    renew_reference();
    reference_ = model_.masters.with_values(reference_values_);
  }
  if (const std::filesystem::path from = resumed_from(options, folder); !from.empty())
    progress_ = load_trainer_state(from, identity_, tensors());
}

Snapshot RunState::snapshot() const {
  if (adapter_) return {model_.frozen, std::make_shared<const Adapter>(adapter_->snapshot())};
  return {model_.masters.snapshot(threads_, model_.profile), nullptr};
}

Snapshot RunState::judged() const {
  if (average_adapter_) return {model_.frozen, std::make_shared<const Adapter>(average_adapter_->snapshot())};
  return average_ ? Snapshot{average_->snapshot(threads_, model_.profile), nullptr} : snapshot();
}

std::vector<Tensor> RunState::gather(const Snapshot& snapshot, Gradients& gradients) const {
  return adapter_ ? adapter_->gather(*snapshot.adapter, gradients) : model_.masters.gather(*snapshot.model, gradients);
}

NamedTensors RunState::tensors() const {
  NamedTensors out = optimizer_.state();
  if (ema_)
    for (auto& named : ema_->state()) out.push_back(std::move(named));
  out.insert(out.end(), reference_values_.begin(), reference_values_.end());
  out.emplace_back("run.position", position_);
  out.emplace_back("run.recent_losses", recent_losses_);
  return out;
}

void RunState::renew_reference() {
  for (size_t i = 0; i < reference_values_.size(); ++i) {
    const Tensor& from = model_.masters.parameters()[i].value;
    std::memcpy(reference_values_[i].second.bytes(), from.bytes(), from.size_bytes());
  }
}

std::string RunState::what_is_wrong(const TrainStep& step, std::span<const Tensor> gradients) const {
  if (!std::isfinite(step.loss)) return cat("the loss is ", step.loss);
  if (!std::isfinite(step.gradient_norm)) {
    for (size_t i = 0; i < gradients.size(); ++i)
      if (!is_finite(gradients[i]))
        return cat("the gradient of ", trained()[i].name, " has values that are no numbers");
    return cat("the gradient's norm is ", step.gradient_norm);
  }
  double sum = 0;
  size_t n = 0;
  for (const double loss : recent_losses_.span<double>())
    if (!std::isnan(loss)) sum += loss, ++n;
  if (recipe_.stage != "grpo" && recipe_.train.spike_factor > 0 && n == kRecentLosses &&
      step.loss > recipe_.train.spike_factor * sum / static_cast<double>(n))
    return cat("the loss ", step.loss, " is more than ", recipe_.train.spike_factor, " times the ",
               sum / static_cast<double>(n), " of the last ", n, " steps");
  return {};
}

void RunState::update(double learning_rate, float clip, std::span<const Tensor> gradients,
                      std::span<const ExpertLoad> loads, double loss, Backend& backend, ThreadPool& pool) {
  const auto multiply_add = [&](float* c, size_t c_stride, const float* a, size_t a_row, size_t a_col, const float* b,
                                size_t b_stride, size_t M, size_t N,
                                size_t K) { backend.multiply_add(c, c_stride, a, a_row, a_col, b, b_stride, M, N, K); };
  optimizer_.step(gradients, learning_rate, clip, pool, multiply_add);
  for (const ExpertLoad& load : loads) {
    const std::string name = load.gate.substr(0, load.gate.rfind(".weight")) + ".e_score_correction_bias";
    if (Parameter* bias = model_.masters.find(name); bias && recipe_.moe.bias_update_rate > 0)
      update_router_bias(bias->value.span<float>(), load.counts, static_cast<float>(recipe_.moe.bias_update_rate));
  }
  if (ema_) ema_->update(pool);
  const std::span<double> recent = recent_losses_.span<double>();
  std::copy(recent.begin() + 1, recent.end(), recent.begin());
  recent.back() = loss;
}

void RunState::save(const std::filesystem::path& folder) const {
  if (adapter_) {
    adapter_->save(folder, recipe_.model.start);
    if (average_adapter_) average_adapter_->save(folder / "ema", recipe_.model.start);
    const std::string files[] = {"adapter_config.json", "adapter_model.safetensors"};
    return save_trainer_state(folder, progress_, identity_, tensors(), files);
  }
  const std::vector<std::string> files = write_model_folder(folder, model_);
  if (ema_) {
    std::filesystem::create_directory(folder / "ema");
    write_model_folder(folder / "ema", model_, ema_->state());
  }
  save_trainer_state(folder, progress_, identity_, tensors(), files);
}

}  // namespace fathom

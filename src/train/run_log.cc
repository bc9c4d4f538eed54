#include "train/run_log.h"

#include <algorithm>
#include <array>
#include <chrono>

#include "engine/probes.h"

namespace fathom {
namespace {

double unix_time() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

double number_or_zero(const json::object& line, std::string_view key) {
  const json::value* value = line.if_contains(key);
  return value && value->is_number() ? value->to_number<double>() : 0;
}

}  // namespace

MetricsLog RunLog::open(const Recipe& recipe, const RunFolder& folder, const TrainerProgress& progress,
                        const json::object& header) {
  const std::filesystem::path path = run_metrics_path(folder.path());
  if (std::filesystem::exists(path)) return MetricsLog(path, static_cast<int64_t>(progress.step));
  json::object first{{"name", recipe.name}, {"stage", recipe.stage}};
  first.insert(header.begin(), header.end());
  return MetricsLog(path, first);
}

RunLog::RunLog(const Recipe& recipe, const RunFolder& folder, const TrainerProgress& progress,
               const json::object& header)
    : energy_(recipe.energy.watts),
      path_(run_metrics_path(folder.path())),
      metrics_(open(recipe, folder, progress, header)),
      events_(run_events_path(folder.path()), static_cast<int64_t>(progress.step) + 1, unix_time()) {
  const Metrics before = read_metrics(path_);
  if (before.steps.empty()) return;
  seconds_ = number_or_zero(before.steps.back(), "seconds");
  joules_before_ = number_or_zero(before.steps.back(), "joules");
}

double RunLog::measure_peak(size_t threads) {
  const Probes probes(best_kernels(), Profile::kExact, threads, size_t{64} << 20);
  return peak_gop_s_ = probes.take().peak_gop_s;
}

void RunLog::measure(TrainStep& step, uint64_t rows, double operations, double seconds) {
  seconds_ += seconds;
  step.seconds = seconds_;
  step.tokens_per_s = static_cast<double>(rows) / seconds;
  if (peak_gop_s_ > 0) step.peak_share = operations / seconds / 1e9 / peak_gop_s_;
  const EnergyReading energy = energy_.read();
  step.joules = joules_before_ + energy.joules;
  step.energy_source = energy.source;
}

void RunLog::append(const TrainStep& step) {
  json::object line{{"step", step.step}, {"tokens", step.tokens}, {"seconds", step.seconds}};
  std::vector<Scalar> scalars;
  const auto add = [&](std::string_view key, bool known, double value) {
    if (!known) return;
    line[key] = value;
    scalars.push_back({key, value});
  };
  add("loss", step.trains, step.loss);
  add("validation_loss", step.validation_loss.has_value(), step.validation_loss.value_or(0));
  add("mtp_loss", step.has_mtp, step.mtp_loss);
  add("balance_loss", step.balance_loss != 0, step.balance_loss);
  add("learning_rate", step.trains, step.learning_rate);
  add("gradient_norm", step.trains, step.gradient_norm);
  add("tokens_per_second", true, step.tokens_per_s);
  add("peak_share", step.peak_share != 0, step.peak_share);
  add("expert_load", step.expert_load != 0, step.expert_load);
  add("joules", true, step.joules);
  for (const auto& [key, value] : step.more) add(key, true, value);
  line["energy_source"] = step.energy_source;
  if (step.skipped) line["skipped"] = true;
  metrics_.append(line);
  events_.write(step.step, unix_time(), scalars);
}

std::optional<int64_t> RunLog::best_checkpoint(std::span<const int64_t> steps) const {
  std::optional<int64_t> best;
  double largest = 0;
  for (const json::object& line : read_metrics(path_).steps) {
    const json::value *reward = line.if_contains("validation_reward"), *loss = line.if_contains("validation_loss");
    const json::value* judged = reward ? reward : loss;
    const int64_t step = line.at("step").to_number<int64_t>();
    if (!judged || !judged->is_number() || std::find(steps.begin(), steps.end(), step) == steps.end()) continue;
    const double good = (reward ? 1 : -1) * judged->to_number<double>();
    if (!best || good > largest) best = step, largest = good;
  }
  return best;
}

}  // namespace fathom

#include "cli/bench_train.h"

#include <fmt/format.h>

#include "base/thread_pool.h"
#include "base/work.h"
#include "cli/bench_rival.h"
#include "cli/commands.h"
#include "cli/engine_loader.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/processor.h"
#include "cli/progress.h"
#include "cli/sanitize.h"
#include "engine/engine.h"
#include "formats/config_json.h"
#include "train/step_bench.h"

namespace fathom {
namespace {

constexpr size_t kWarmUpSteps = 2, kProductRows = 512, kProductWidth = 1024, kBytesVocabulary = 256;

/// A model that is trained on bytes or characters has its vocabulary from the text.
ModelConfig read_config(const std::string& path) {
  json::value value = parse_json(read_text_file(path), path);
  if (value.is_object() && !value.as_object().contains("vocab_size"))
    value.as_object()["vocab_size"] = int64_t{kBytesVocabulary};
  return config_from_json(JsonObject(value, path));
}

double rival_tokens_per_s(const std::string& pattern, const BenchTrainCommand& command, size_t threads) {
  const RivalPlace places[] = {{"{config}", shell_word(command.config)},
                               {"{sequences}", std::to_string(command.sequences)},
                               {"{context}", std::to_string(command.context)},
                               {"{threads}", std::to_string(threads)}};
  return rival_training_speed(run_rival(fill_places(pattern, places), interrupted()));
}

void measure_products(BenchTrainReport& report, ProductBench& bench, const Probes& probes) {
  const auto add = [&](Samples& shares, double seconds, double peak_gop_s) {
    if (peak_gop_s > 0) shares.values.push_back(bench.operations() / seconds / 1e9 / peak_gop_s);
  };
  const double before = probes.take().peak_gop_s;
  const ProductSeconds s = bench.run();
  const double peak = std::max(before, probes.take().peak_gop_s);
  add(report.products.forward, s.forward, peak);
  add(report.products.input, s.input, peak);
  add(report.products.weight, s.weight, peak);
}

void measure(BenchTrainReport& report, const BenchTrainCommand& command, StepBench& bench, const Probes& probes,
             const Kernels& kernels) {
  for (size_t i = 0; i < kWarmUpSteps; ++i) bench.run();
  ProgressBar bar("training steps", terminal_of(2));
  report.probes.push_back(probes.take());
  for (size_t i = 0; i < command.repeat; ++i) {
    if (interrupted()) throw Interrupted();
    bar.show(i, command.repeat);
    const double seconds = bench.run();
    report.probes.push_back(probes.take());
    report.tokens_per_s.values.push_back(static_cast<double>(bench.tokens()) / seconds);
    for (RivalSpeed& rival : report.rivals)
      rival.tokens_per_s.values.push_back(rival_tokens_per_s(rival.command, command, report.threads));
  }
  ProductBench products(report.products.T, report.products.K, report.products.O, report.threads, kernels);
  products.run();
  for (size_t i = 0; i < command.repeat; ++i) {
    if (interrupted()) throw Interrupted();
    measure_products(report, products, probes);
  }
}

std::string percent(const Samples& shares) {
  return fmt::format("{:.0f}% ({:.0f}..{:.0f})", 100 * shares.median(), 100 * shares.least(), 100 * shares.most());
}

std::string rate_text(const Samples& s) {
  return fmt::format("{} tok/s ({}..{})", short_number(s.median()), short_number(s.least()), short_number(s.most()));
}

}  // namespace

double BenchTrainReport::share_of_peak() const {
  const double peak = of_probes(probes, &ProbeReading::peak_gop_s).median();
  return peak > 0 ? operations_per_token * tokens_per_s.median() / 1e9 / peak : 0;
}

bool BenchTrainReport::is_shared() const {
  const Samples nops = of_probes(probes, &ProbeReading::nops_per_ns);
  return nops.least() < 0.75 * nops.most();
}

json::object bench_train_json(const BenchTrainReport& r) {
  json::array rivals;
  for (const RivalSpeed& rival : r.rivals)
    rivals.push_back(json::object{{"command", rival.command},
                                  {"tokens_per_s", samples_json(rival.tokens_per_s)},
                                  {"ratio", ratio_json(r.tokens_per_s, rival.tokens_per_s)}});
  const double share = r.share_of_peak();
  return {{"format", "fathom.bench-train"},
          {"version", 1},
          {"config", r.config},
          {"processor", r.processor},
          {"kernels", r.kernels},
          {"threads", r.threads},
          {"repeat", r.repeat},
          {"sequences", r.sequences},
          {"context", r.context},
          {"vocab_size", r.vocab_size},
          {"parameters", r.parameters},
          {"operations_per_token", r.operations_per_token},
          {"tokens_per_s", samples_json(r.tokens_per_s)},
          {"share_of_peak", share > 0 ? json::value(share) : json::value(nullptr)},
          {"peak_gop_s", samples_json(of_probes(r.probes, &ProbeReading::peak_gop_s))},
          {"nops_per_ns", samples_json(of_probes(r.probes, &ProbeReading::nops_per_ns))},
          {"state", r.is_shared() ? "shared" : "quiet"},
          {"products", json::object{{"rows", r.products.T},
                                    {"inputs", r.products.K},
                                    {"outputs", r.products.O},
                                    {"forward_share", samples_json(r.products.forward)},
                                    {"input_gradient_share", samples_json(r.products.input)},
                                    {"weight_gradient_share", samples_json(r.products.weight)}}},
          {"rivals", std::move(rivals)},
          {"interrupted", r.interrupted}};
}

std::string bench_train_table(const BenchTrainReport& r) {
  const Samples peak = of_probes(r.probes, &ProbeReading::peak_gop_s),
                nops = of_probes(r.probes, &ProbeReading::nops_per_ns);
  std::string out = sanitized(cat(r.processor, ", kernels ", r.kernels, ", ", r.threads,
                                  r.threads == 1 ? " thread" : " threads", ", profile exact\n", r.config));
  out += fmt::format(": {:.3g} M parameters, {} tokens of vocabulary; {} sequences of {} tokens a step\n\n",
                     static_cast<double>(r.parameters) / 1e6, r.vocab_size, r.sequences, r.context);
  if (!r.tokens_per_s.values.empty()) {
    out += cat("step           ", rate_text(r.tokens_per_s), "\n");
    out += fmt::format("               {:.0f}% of the peak of f32, {} Gop/s ({}..{}); nop {}{}\n",
                       100 * r.share_of_peak(), short_number(peak.median()), short_number(peak.least()),
                       short_number(peak.most()), short_number(nops.median()), r.is_shared() ? "!" : "");
  }
  for (size_t i = 0; i < r.rivals.size(); ++i)
    if (const std::optional<SpeedRatio> ratio = speed_ratio(r.tokens_per_s, r.rivals[i].tokens_per_s))
      out +=
          cat("  rival ", i + 1, "      ", rate_text(r.rivals[i].tokens_per_s), "  ratio ", ratio_text(*ratio), "\n");
  if (const ProductShares& p = r.products; !p.weight.values.empty()) {
    out += cat("products       [", p.T, " x ", p.K, "] with [", p.O, " x ", p.K, "], shares of the peak\n");
    out += cat("               forward ", percent(p.forward), ", input gradient ", percent(p.input),
               ", weight gradient ", percent(p.weight), "\n");
  }
  for (size_t i = 0; i < r.rivals.size(); ++i)
    out += sanitized(cat("rival ", i + 1, "        ", r.rivals[i].command)) + "\n";
  if (r.is_shared())
    out +=
        fmt::format("! somebody shared the cores: nop fell below 3/4 of this run's best, {:.1f} per ns\n", nops.most());
  if (r.interrupted) out += "interrupted: what was measured until then\n";
  return out;
}

int bench_train(const BenchTrainCommand& command, const Settings& settings) {
  const EngineOptions options = engine_options(settings);
  const Kernels& kernels = options.kernels ? *options.kernels : best_kernels();
  const ModelConfig config = read_config(command.config);
  BenchTrainReport report{.processor = processor_name(),
                          .kernels = kernels.name,
                          .config = command.config,
                          .threads = options.threads ? options.threads : physical_cores(),
                          .repeat = command.repeat,
                          .sequences = command.sequences,
                          .context = command.context,
                          .vocab_size = config.vocab_size};
  report.products = {.T = kProductRows, .K = kProductWidth, .O = kProductWidth};
  for (const std::string& rival : command.rivals) report.rivals.push_back({.command = rival});
  catch_interrupts(/*impatient=*/true);
  if (!command.rivals.empty()) catch_termination();  // a rival is in a group of its own, and ends with us
  StepBench bench(config, command.sequences, command.context, report.threads, kernels);
  report.parameters = bench.parameters();
  report.operations_per_token = bench.operations() / static_cast<double>(bench.tokens());
  const Probes probes(kernels, Profile::kExact, report.threads, size_t{64} << 20);
  try {
    measure(report, command, bench, probes, kernels);
  } catch (const Interrupted&) {
    report.interrupted = true;
  } catch (const RivalError& e) {
    report.interrupted = true;
    report.failure = e.what();
  }
  print_out(command.json ? to_json(bench_train_json(report)) + "\n" : bench_train_table(report));
  if (!report.failure.empty()) throw Error(report.failure);
  return report.interrupted ? Interrupted().exit_code() : 0;
}

}  // namespace fathom

// fathom bench: how fast a model runs here, next to what the machine allows.
#include "engine/bench.h"

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <fstream>

#include "base/thread_pool.h"
#include "base/work.h"
#include "cli/bench_report.h"
#include "cli/commands.h"
#include "cli/engine_loader.h"
#include "cli/folders.h"
#include "cli/interrupt.h"
#include "cli/long_work.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/sanitize.h"
#include "engine/token_work.h"
#include "quant/synthetic.h"

namespace fathom {
namespace {

constexpr size_t kFirstTokenPrompt = 100;

struct BenchCommand {
  std::string model, synthetic, type = "Q4_K_M";
  std::vector<size_t> prompts{512}, depths{0}, batches{4};
  size_t decode = 64, batch_depth = 0, repeat = 5, cold_starts = 3;
  bool json = false;
};

std::string processor_name() {
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);)
    if (line.starts_with("model name"))
      if (const size_t colon = line.find(": "); colon != std::string::npos) return sanitized(line.substr(colon + 2));
  return "unknown processor";
}

/// The most that was ever resident, in bytes; 0: unknown.
uint64_t peak_resident_bytes() {
  std::ifstream in("/proc/self/status");
  for (std::string word; in >> word;)
    if (uint64_t kib = 0; word == "VmHWM:" && in >> kib) return kib * 1024;
  return 0;
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

std::vector<BenchResult> cases_of(const BenchCommand& command) {
  std::vector<BenchResult> cases;
  using Kind = BenchResult::Kind;
  for (const size_t n : command.prompts)
    if (n) cases.push_back({.kind = Kind::kPrefill, .tokens = n});
  if (command.decode == 0) return cases;
  for (const size_t depth : command.depths)
    cases.push_back({.kind = Kind::kDecode, .tokens = command.decode, .depth = depth});
  for (const size_t n : command.batches)
    if (n)
      cases.push_back({.kind = Kind::kDecode, .tokens = command.decode, .depth = command.batch_depth, .sequences = n});
  return cases;
}

/// The cache that the largest case needs: its longest sequence, and how many of that length hold its tokens.
void size_cache(EngineOptions& options, const std::vector<BenchResult>& cases, size_t model_ctx) {
  size_t longest = std::min(kFirstTokenPrompt, model_ctx), pages = 0;
  for (const BenchResult& c : cases) {
    const size_t positions = c.kind == BenchResult::Kind::kPrefill ? c.tokens : c.depth + c.tokens;
    longest = std::max(longest, positions);
    pages = std::max(pages, c.sequences * ((positions + kPagePositions - 1) / kPagePositions));
  }
  if (options.ctx == 0) options.ctx = longest;
  if (options.ctx < longest)
    throw UsageError(
        cat("--ctx: expected at least the ", longest, " positions of the longest test, found ", options.ctx));
  const size_t pages_of_ctx = (options.ctx + kPagePositions - 1) / kPagePositions;
  options.sequences = std::max<size_t>(1, (pages + pages_of_ctx - 1) / pages_of_ctx);
}

class Bench {
 public:
  Bench(const BenchCommand& command, const Settings& settings)
      : command_(command), options_(engine_options(settings)), path_(find_model(command.model)) {
    const std::unique_ptr<Checkpoint> checkpoint = open_checkpoint(path_);
    report_.results = cases_of(command);
    size_cache(options_, report_.results, checkpoint->config().max_position_embeddings);
    const RunNumerics numerics = choose_numerics(options_, checkpoint->tensors());
    work_ = count_token_work(checkpoint->tensors(), checkpoint->config(), numerics.cache_type);
    // Before the model, so that it is resident throughout and can be taken off the peak.
    probes_.emplace(*numerics.kernels, numerics.profile, options_.threads ? options_.threads : physical_cores());
    report_.processor = processor_name();
    report_.unit = probes_->unit();
    report_.probe_bytes = probes_->buffer_bytes();
    report_.huge_pages = probes_->has_huge_pages();
    report_.repeat = command.repeat;
  }

  /// Results that have no measurement are dropped.
  BenchReport run() {
    try {
      start_cold();
      BenchRun run(*engine_, interrupted());
      run.prefill(16);  // first touches of scratch are nobody's speed
      for (size_t i = 0; i < report_.results.size(); ++i) measure(run, report_.results[i]);
    } catch (const Interrupted&) {
      report_.interrupted = true;
    }
    std::erase_if(report_.results, [](const BenchResult& r) { return r.tokens_per_s.values.empty(); });
    if (engine_) report_.engine = engine_->info();
    const uint64_t peak = peak_resident_bytes();
    report_.peak_memory_bytes = peak > report_.probe_bytes ? peak - report_.probe_bytes : 0;
    return std::move(report_);
  }

 private:
  /// The first load fills the page cache and counts for nothing.
  void start_cold() {
    engine_ = load_engine(command_.model, options_);
    report_.engine = engine_->info();
    if (command_.cold_starts == 0) return;
    report_.first_token_prompt = std::min(kFirstTokenPrompt, engine_->info().ctx);
    ProgressBar bar("first token", terminal_of(2));
    EngineOptions options = options_;
    options.identity_memory = state_folder() / "weights-ids.json";
    for (size_t i = 0; i < command_.cold_starts; ++i) {
      bar.show(i, command_.cold_starts);
      engine_.reset();
      const auto start = std::chrono::steady_clock::now();
      engine_ = Engine::load(path_, options);
      const double load_s = seconds_since(start);
      const double prefill_s = BenchRun(*engine_, interrupted()).prefill(report_.first_token_prompt);
      report_.load_s.values.push_back(load_s);
      report_.first_token_s.values.push_back(load_s + prefill_s);
    }
  }

  void measure(BenchRun& run, BenchResult& r) {
    const bool prefill = r.kind == BenchResult::Kind::kPrefill;
    const auto n = static_cast<double>(r.tokens), sequences = static_cast<double>(r.sequences);
    if (prefill) {
      r.bytes_per_token = work_.prompt_bytes(r.tokens, engine_->prefill_chunk()) / n;
      r.macs_per_token = work_.prefill_macs() + static_cast<double>(work_.head_macs) / n;
    } else {
      r.bytes_per_token = work_.pass_bytes(r.sequences, static_cast<double>(r.depth) + n / 2) / sequences;
      r.macs_per_token = work_.decode_macs();
    }
    ProgressBar bar(prefill ? "prefill" : "decode", terminal_of(2));
    if (!prefill) run.decode(r.sequences, r.depth, 1);  // fills the caches
    r.probes.push_back(probes_->take());
    for (size_t i = 0; i < command_.repeat; ++i) {
      bar.show(i, command_.repeat);
      const double seconds = prefill ? run.prefill(r.tokens) : run.decode(r.sequences, r.depth, r.tokens);
      r.probes.push_back(probes_->take());
      r.tokens_per_s.values.push_back(n * sequences / seconds);
    }
    bar.clear();
    run.clear();
    char speed[32];
    std::snprintf(speed, sizeof speed, "%.2f", r.tokens_per_s.median());
    print_err(cat(bench_label(r), ": ", speed, " tok/s\n"));
  }

  const BenchCommand& command_;
  EngineOptions options_;
  std::filesystem::path path_;
  TokenWork work_;
  std::optional<Probes> probes_;
  std::unique_ptr<Engine> engine_;
  BenchReport report_;
};

int bench(const BenchCommand& command, const Settings& settings) {
  if (!command.synthetic.empty()) {
    const SyntheticShape& shape = find_synthetic_shape(command.synthetic);
    const Mixture& mixture = find_mixture(command.type);
    if (!std::filesystem::exists(command.model)) {
      LongWork work(cat("writing ", shape.name));
      write_synthetic(command.model, shape, mixture, work.progress());
      work.clear();
      print_err(sanitized(cat("wrote ", command.model, ": ", shape.name, ", ", mixture.name, ", random weights")) +
                "\n");
    }
  }
  catch_interrupts(/*impatient=*/true);
  const BenchReport report = Bench(command, settings).run();
  print_out(command.json ? to_json(bench_json(report)) + "\n" : bench_table(report));
  return report.interrupted ? Interrupted().exit_code() : 0;
}

std::string shape_names() {
  std::string names;
  for (const SyntheticShape& s : synthetic_shapes()) names += cat(names.empty() ? "" : ", ", s.name);
  return names;
}

}  // namespace

void add_bench(CLI::App& app, Invocation& invocation) {
  CLI::App* command = app.add_subcommand("bench", "How fast a model runs here, next to the machine's limits.");
  const auto options = std::make_shared<BenchCommand>();
  command->add_option("MODEL", options->model, "GGUF file, Hugging Face folder, or OWNER/NAME")->required();
  const auto add_list = [&](const char* flag, std::vector<size_t>& list, const char* help) {
    command->add_option(flag, list, help)->delimiter(',')->take_all()->check(CLI::Range(0, 1 << 24));
  };
  add_list("--prompt", options->prompts, "prompts of so many tokens, as 512,2048 (default 512; 0: none)");
  add_list("--depth", options->depths, "decode after so many cached tokens, as 0,4096 (default 0)");
  add_list("--batch", options->batches, "decode so many sequences together, as 1,4,16 (default 4; 0: none)");
  command->add_option("--batch-depth", options->batch_depth, "cached tokens of each sequence of a batch (default 0)")
      ->check(CLI::Range(0, 1 << 24));
  command->add_option("--decode", options->decode, "tokens to decode (default 64; 0: no decoding)")
      ->check(CLI::Range(0, 1 << 24));
  command->add_option("--repeat", options->repeat, "measurements of each (default 5)")->check(CLI::Range(1, 1000));
  command->add_option("--cold-start", options->cold_starts, "times to the first token from loading on (default 3)")
      ->check(CLI::Range(0, 1000));
  command->add_option("--synthetic", options->synthetic,
                      cat("write a model with random weights to MODEL first, where there is no file: ", shape_names()));
  command->add_option("--type", options->type, "of the synthetic model's weights (default Q4_K_M)");
  command->add_flag("--json", options->json, "print an object with every measurement");
  add_engine_flags(*command, invocation);
  command->footer(
      "Example:  fathom bench /tmp/small.gguf --synthetic smollm2-135m --type Q8_0 --depth 0,4096\n"
      "Limits (reading memory, multiplying in registers) are measured before and after each test.\n"
      "Ctrl-C prints what was measured so far and exits with 130.");
  command->callback([&invocation, options] {
    invocation.run = [options](const Settings& settings) { return bench(*options, settings); };
  });
}

}  // namespace fathom

// fathom bench: how fast a model runs here, next to what the machine allows.
#include "engine/bench.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "base/clock.h"
#include "base/thread_pool.h"
#include "base/work.h"
#include "cli/bench_flags.h"
#include "cli/bench_report.h"
#include "cli/bench_rival.h"
#include "cli/commands.h"
#include "cli/engine_loader.h"
#include "cli/folders.h"
#include "cli/interrupt.h"
#include "cli/long_work.h"
#include "cli/output.h"
#include "cli/processor.h"
#include "cli/progress.h"
#include "cli/sanitize.h"
#include "cli/tokenizer_source.h"
#include "engine/memory.h"
#include "engine/replay.h"
#include "engine/token_work.h"
#include "quant/synthetic.h"

namespace fathom {
namespace {

constexpr size_t kFirstTokenPrompt = 100, kQualityWindow = 512, kVerifyPasses = 8;

struct BenchCommand {
  std::string model, synthetic, type = "Q4_K_M", text, tokenizer;
  std::vector<std::string> rivals, transcripts;
  std::vector<size_t> prompts{512}, depths{0}, batches{4}, verify;
  size_t decode = 64, batch_depth = 0, repeat = 5, cold_starts = 3, windows = 8;
  bool json = false, quality = false;
};

/// --text, or the text that docs/accuracy.md is about. Throws UsageError where there is neither.
std::filesystem::path quality_text(const BenchCommand& command) {
  if (!command.text.empty()) return command.text;
  if (const char* shared = std::getenv("FATHOM_SHARED")) {
    std::filesystem::path path = std::filesystem::path(shared) / "data/text/wikitext-2-raw-test.txt";
    if (std::filesystem::exists(path)) return path;
  }
  throw UsageError("--quality: expected --text FILE: no data/text/wikitext-2-raw-test.txt in $FATHOM_SHARED");
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

/// Passes over one row first. nullopt: none is wanted.
std::optional<VerifyResult> verification_of(const BenchCommand& command) {
  VerifyResult verify{.depth = command.depths.empty() ? 0 : command.depths[0], .passes = {{}}};
  for (const size_t rows : command.verify)
    if (rows) verify.passes.push_back({.rows = rows, .seconds = {}});
  return verify.passes.size() > 1 ? std::optional(std::move(verify)) : std::nullopt;
}

/// The tokens of each --transcript. Throws Error where one is too short, or the vocabulary is another model's.
std::vector<std::vector<TokenId>> read_transcripts(const BenchCommand& command, size_t vocab_size) {
  std::vector<std::vector<TokenId>> texts;
  if (command.transcripts.empty()) return texts;
  const std::string& source = command.tokenizer.empty() ? command.model : command.tokenizer;
  const Tokenizer tokenizer(load_tokenizer_spec(find_model(source)));
  for (const std::string& file : command.transcripts) {
    texts.push_back(tokenizer.encode(read_text_file(file), {.parse_special = true, .add_special = true}));
    const std::vector<TokenId>& ids = texts.back();
    if (ids.size() < 3) throw Error(cat(file, ": expected at least three tokens to replay, found ", ids.size()));
    for (const TokenId id : ids)
      if (static_cast<size_t>(id) >= vocab_size)
        throw Error(cat(file, ": expected tokens below the model's ", vocab_size, ", found ", id, " by ", source));
  }
  return texts;
}

/// Sequences of so many positions, in the cache at the same time.
struct CacheNeed {
  size_t positions, sequences = 1;
};

/// The cache for the largest need: its longest sequence, and how many of that length hold its tokens.
void size_cache(EngineOptions& options, const std::vector<CacheNeed>& needs) {
  size_t longest = 0, pages = 0;
  for (const CacheNeed& need : needs) {
    longest = std::max(longest, need.positions);
    pages = std::max(pages, need.sequences * ((need.positions + kPagePositions - 1) / kPagePositions));
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
    const size_t model_ctx = checkpoint->config().max_position_embeddings;
    window_ = std::min(kQualityWindow, model_ctx);
    report_.verify = verification_of(command);
    transcripts_ = read_transcripts(command, checkpoint->config().vocab_size);
    size_cache(options_, cache_needs(model_ctx));
    if (command.quality) text_ = quality_text(command);
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

  /// Results that have no measurement are dropped. A rival's failure ends the run and is in the report.
  BenchReport run() {
    try {
      start_cold();
      const std::vector<std::vector<TokenId>> windows = quality_windows();
      BenchRun run(*engine_, interrupted());
      run.prefill(16);  // first touches of scratch are nobody's speed
      for (size_t i = 0; i < report_.results.size(); ++i) measure(run, report_.results[i]);
      if (report_.verify) measure_verify(run, *report_.verify);
      for (size_t i = 0; i < transcripts_.size(); ++i) measure_transcript(i);
      take_memory();
      if (command_.quality) measure_quality(windows);
    } catch (const Interrupted&) {
      report_.interrupted = true;
    } catch (const RivalError& e) {
      report_.interrupted = true;
      report_.failure = e.what();
    }
    std::erase_if(report_.results, [](const BenchResult& r) { return r.tokens_per_s.values.empty(); });
    std::erase_if(report_.transcripts, [](const TranscriptResult& t) { return t.tokens_per_s.values.empty(); });
    if (report_.verify && report_.verify->passes.back().seconds.values.empty()) report_.verify.reset();
    if (report_.peak_memory_bytes == 0) take_memory();
    return std::move(report_);
  }

 private:
  std::vector<CacheNeed> cache_needs(size_t model_ctx) const {
    std::vector<CacheNeed> needs{{command_.quality ? window_ : std::min(kFirstTokenPrompt, model_ctx)}};
    for (const BenchResult& r : report_.results) needs.push_back({r.depth + r.tokens, r.sequences});
    if (report_.verify)
      for (const VerifyResult::Pass& pass : report_.verify->passes)
        needs.push_back({report_.verify->depth + pass.rows});
    for (const std::vector<TokenId>& text : transcripts_) needs.push_back({text.size(), 2});
    return needs;
  }

  void take_memory() {
    const uint64_t peak = peak_resident_memory_bytes();
    report_.peak_memory_bytes = peak > report_.probe_bytes ? peak - report_.probe_bytes : 0;
  }

  /// Before anything is measured: a model that cannot read the text, or a text that is too short, is found at once.
  std::vector<std::vector<TokenId>> quality_windows() {
    if (!command_.quality) return {};
    report_.quality_text = sanitized(text_.filename().string());
    const std::vector<TokenId> ids =
        engine_->tokenizer().encode(read_text_file(text_), {.parse_special = false, .add_special = false});
    return text_windows(ids, window_, command_.windows, text_.string());
  }

  void measure_quality(const std::vector<std::vector<TokenId>>& windows) {
    EngineOptions options = options_;
    options.profile = Profile::kExact;
    options.cache_type = CacheType::kF32;
    options.ctx = window_;
    options.sequences = 1;
    const EngineInfo& info = engine_->info();
    const bool is_exact = info.profile == Profile::kExact && info.cache_type == CacheType::kF32;
    const std::unique_ptr<Engine> exact = is_exact ? nullptr : Engine::load(path_, options);
    ProgressBar bar("quality", terminal_of(2));
    report_.quality =
        fathom::measure_quality(exact ? *exact : *engine_, *engine_, windows, [&](uint64_t done, uint64_t total) {
          if (interrupted()) throw Interrupted();
          bar.show(done, total);
        });
  }

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
    for (const std::string& pattern : command_.rivals) r.rivals.push_back({.command = pattern, .tokens_per_s = {}});
    ProgressBar bar(prefill ? "prefill" : "decode", terminal_of(2));
    if (!prefill) run.decode(r.sequences, r.depth, 1);  // fills the caches
    r.probes.push_back(probes_->take());
    for (size_t i = 0; i < command_.repeat; ++i) {
      bar.show(i, command_.repeat);
      const double seconds = prefill ? run.prefill(r.tokens) : run.decode(r.sequences, r.depth, r.tokens);
      r.probes.push_back(probes_->take());
      r.tokens_per_s.values.push_back(n * sequences / seconds);
      for (RivalSpeed& rival : r.rivals)
        if (r.sequences == 1 || takes_batches(rival.command)) rival.tokens_per_s.values.push_back(time_rival(rival, r));
    }
    bar.clear();
    run.clear();
    char speed[32];
    std::snprintf(speed, sizeof speed, "%.2f", r.tokens_per_s.median());
    std::string line = cat(bench_label(r), ": ", speed, " tok/s");
    for (const RivalSpeed& rival : r.rivals)
      if (const std::optional<SpeedRatio> ratio = speed_ratio(r.tokens_per_s, rival.tokens_per_s)) {
        std::snprintf(speed, sizeof speed, ", %.2f of a rival's", ratio->of_medians);
        line += speed;
      }
    print_err(line + "\n");
  }

  void measure_verify(BenchRun& run, VerifyResult& v) {
    ProgressBar bar("verify", terminal_of(2));
    for (const VerifyResult::Pass& pass : v.passes) run.verify(pass.rows, v.depth, 1);
    v.probes.push_back(probes_->take());
    for (size_t i = 0; i < command_.repeat; ++i) {
      bar.show(i, command_.repeat);
      for (VerifyResult::Pass& pass : v.passes)
        pass.seconds.values.push_back(run.verify(pass.rows, v.depth, kVerifyPasses) / kVerifyPasses);
      v.probes.push_back(probes_->take());
    }
    run.clear();
  }

  void measure_transcript(size_t index) {
    report_.transcripts.push_back(
        {.name = sanitized(std::filesystem::path(command_.transcripts[index]).filename().string())});
    TranscriptResult& t = report_.transcripts.back();
    ProgressBar bar("replay", terminal_of(2));
    t.probes.push_back(probes_->take());
    for (size_t i = 0; i < command_.repeat; ++i) {
      bar.show(i, command_.repeat);
      const Replayed replayed = replay(*engine_, transcripts_[index], interrupted());
      t.probes.push_back(probes_->take());
      t.tokens = replayed.tokens;
      t.speculation = replayed.speculation;
      t.tokens_per_pass = replayed.tokens_per_pass();
      t.tokens_per_s.values.push_back(static_cast<double>(t.tokens) / replayed.seconds);
      t.tokens_per_s_off.values.push_back(static_cast<double>(t.tokens) / replayed.seconds_off);
    }
    bar.clear();
    print_err(cat(transcript_label(t), ": ", transcript_line(t), "\n"));
  }

  double time_rival(const RivalSpeed& rival, const BenchResult& r) const {
    const bool prefill = r.kind == BenchResult::Kind::kPrefill;
    const RivalTest test{.model = path_.string(),
                         .prompt = prefill ? r.tokens : 0,
                         .decode = prefill ? 0 : r.tokens,
                         .depth = r.depth,
                         .threads = probes_->threads(),
                         .batch = r.sequences};
    return rival_speed(run_rival(rival_command(rival.command, test), interrupted()), test);
  }

  const BenchCommand& command_;
  EngineOptions options_;
  std::filesystem::path path_;
  std::filesystem::path text_;  // of --quality
  size_t window_ = 0;           // its tokens
  std::vector<std::vector<TokenId>> transcripts_;
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
  if (!command.rivals.empty()) catch_termination();  // a rival is in a group of its own, and ends with us
  const BenchReport report = Bench(command, settings).run();
  print_out(command.json ? to_json(bench_json(report)) + "\n" : bench_table(report));
  if (!report.failure.empty()) throw Error(report.failure);
  return report.interrupted ? Interrupted().exit_code() : 0;
}

std::string shape_names() {
  std::string names;
  for (const SyntheticShape& s : synthetic_shapes()) names += cat(names.empty() ? "" : ", ", s.name);
  return names;
}

/// Throws for a flag that would do nothing beside `mode`: any but its own, which need it, and `others`.
void refuse_the_rest(CLI::App& command, const char* mode, std::initializer_list<std::string_view> others) {
  CLI::Option* flag = command.get_option(mode);
  for (CLI::Option* o : command.get_options())
    if (o->count() > 0 && o != flag && !o->get_needs().contains(flag) &&
        std::ranges::find(others, o->get_name()) == others.end())
      throw CLI::ExcludesError(mode, o->get_name());
}

}  // namespace

void add_bench(CLI::App& app, Invocation& invocation) {
  CLI::App* command = app.add_subcommand("bench", "How fast a model runs here, next to the machine's limits.");
  const auto options = std::make_shared<BenchCommand>();
  CLI::Option* model = command->add_option("MODEL", options->model, "GGUF file, Hugging Face folder, or OWNER/NAME");
  const std::shared_ptr<BenchTrainCommand> train = add_bench_train_flags(*command, *model);
  const std::shared_ptr<BenchServeCommand> serve = add_bench_serve_flags(*command, *model);
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
  CLI::Option* verify = command->add_option("--verify", options->verify,
                                            "passes over so many tokens of one sequence, as speculation verifies them, "
                                            "after the first --depth (default 2,4,8; 0: none)");
  verify->delimiter(',')->take_all()->check(CLI::Range(0, 512));
  CLI::Option* transcripts = command->add_option("--transcript", options->transcripts,
                                                 "replay this text with speculation and without; once for each text");
  transcripts->allow_extra_args(false)->type_name("FILE");
  command
      ->add_option("--tokenizer", options->tokenizer,
                   "of another model, for the texts: synthetic models read them byte by byte")
      ->type_name("MODEL")
      ->needs(transcripts);
  command->add_option("--repeat", options->repeat, "measurements of each (default 5)")->check(CLI::Range(1, 1000));
  command->add_option("--cold-start", options->cold_starts, "times to the first token from loading on (default 3)")
      ->check(CLI::Range(0, 1000));
  command->add_option("--synthetic", options->synthetic,
                      cat("write a model with random weights to MODEL first, where there is no file: ", shape_names()));
  command->add_option("--type", options->type, "of the synthetic model's weights (default Q4_K_M)");
  command
      ->add_option("--compare", options->rivals,
                   "after each measurement time this command of the shell too; once for each rival")
      ->allow_extra_args(false)
      ->type_name("CMD");
  CLI::Option* quality = command->add_flag("--quality", options->quality,
                                           "KL divergence and perplexity against profile exact, cache f32, on a text");
  command->add_option("--text", options->text, "the text (default: WikiText-2 in $FATHOM_SHARED)")
      ->type_name("FILE")
      ->needs(quality);
  command->add_option("--windows", options->windows, "its first windows of 512 tokens (default 8)")
      ->check(CLI::Range(1, 1 << 20))
      ->needs(quality);
  command->add_flag("--json", options->json, "print an object with every measurement");
  add_engine_flags(*command, invocation);
  command->footer(
      "Example:  fathom bench /tmp/small.gguf --synthetic smollm2-135m --type Q8_0 --depth 0,4096\n"
      "Limits (reading memory, multiplying in registers) are measured before and after each test.\n"
      "CMD has {model} {prompt} {decode} {depth} {threads}, and {batch} where it can decode batches; it prints\n"
      "llama-bench's JSON, or tok/s as the last number of its last line:\n"
      "  --compare 'llama-bench -m {model} -p {prompt} -n {decode} -d {depth} -t {threads} -r 1 -o json'\n"
      "With --serve the key, if one is needed, is $OPENAI_API_KEY.\n"
      "With --train CMD has {config} {sequences} {context} {threads} and prints {\"tokens_per_s\": N}.\n"
      "Ctrl-C prints what was measured so far and exits with 130.");
  command->callback([&invocation, command, options, verify, train, serve] {
    if (!serve->urls.empty()) {
      refuse_the_rest(*command, "--serve", {"--repeat", "--json", "--log"});
      serve->repeat = options->repeat, serve->json = options->json;
      invocation.run = [serve](const Settings&) { return bench_serve(*serve); };
      return;
    }
    if (!train->config.empty()) {
      refuse_the_rest(*command, "--train", {"--compare", "--repeat", "--json", "--kernels", "--threads", "--log"});
      train->rivals = options->rivals, train->repeat = options->repeat, train->json = options->json;
      invocation.run = [train](const Settings& settings) { return bench_train(*train, settings); };
      return;
    }
    if (options->model.empty()) throw CLI::RequiredError("MODEL, --train CONFIG or --serve URL,");
    if (verify->count() == 0 && options->decode > 0) options->verify = {2, 4, 8};
    invocation.run = [options](const Settings& settings) { return bench(*options, settings); };
  });
}

}  // namespace fathom

#include "cli/bench_report.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>

#include "cli/sanitize.h"
#include "engine/identity.h"
#include "engine/memory.h"

namespace fathom {
namespace {

[[gnu::format(printf, 1, 2)]] std::string format(const char* pattern, ...) {
  char text[256];
  va_list arguments;
  va_start(arguments, pattern);
  std::vsnprintf(text, sizeof text, pattern, arguments);
  va_end(arguments);
  return text;
}

json::array rivals_json(const BenchResult& r) {
  json::array rivals;
  for (const RivalSpeed& rival : r.rivals)
    rivals.push_back(json::object{{"command", rival.command},
                                  {"tokens_per_s", samples_json(rival.tokens_per_s)},
                                  {"ratio", ratio_json(r.tokens_per_s, rival.tokens_per_s)}});
  return rivals;
}

const char* state_name(const BenchReport& report, std::span<const ProbeReading> probes) {
  return report.is_shared(probes) ? "shared" : "quiet";
}

json::value verify_json(const BenchReport& report) {
  if (!report.verify) return nullptr;
  const VerifyResult& v = *report.verify;
  json::array passes;
  for (const VerifyResult::Pass& pass : v.passes)
    passes.push_back(json::object{{"rows", pass.rows},
                                  {"seconds", samples_json(pass.seconds)},
                                  {"cost", ratio_json(pass.seconds, v.passes[0].seconds)}});
  return json::object{{"depth", v.depth},
                      {"passes", std::move(passes)},
                      {"read_gb_s", samples_json(of_probes(v.probes, &ProbeReading::read_gb_s))},
                      {"nops_per_ns", samples_json(of_probes(v.probes, &ProbeReading::nops_per_ns))},
                      {"state", state_name(report, v.probes)}};
}

json::object transcript_json(const BenchReport& report, const TranscriptResult& t) {
  return {{"file", t.name},
          {"tokens", t.tokens},
          {"passes", t.speculation.passes},
          {"drafted_tokens", t.speculation.drafted},
          {"accepted_tokens", t.speculation.accepted},
          {"tokens_per_pass", t.tokens_per_pass},
          {"tokens_per_s", samples_json(t.tokens_per_s)},
          {"tokens_per_s_off", samples_json(t.tokens_per_s_off)},
          {"ratio", ratio_json(t.tokens_per_s, t.tokens_per_s_off)},
          {"read_gb_s", samples_json(of_probes(t.probes, &ProbeReading::read_gb_s))},
          {"nops_per_ns", samples_json(of_probes(t.probes, &ProbeReading::nops_per_ns))},
          {"state", state_name(report, t.probes)}};
}

json::value quality_json(const BenchReport& report) {
  if (!report.quality) return nullptr;
  const Quality& q = *report.quality;
  return json::object{{"text", report.quality_text},
                      {"windows", q.windows},
                      {"window", q.window},
                      {"tokens", q.tokens},
                      {"kl", q.kl},
                      {"kl_99", q.kl_99},
                      {"kl_max", q.kl_max},
                      {"perplexity", q.perplexity},
                      {"perplexity_exact", q.perplexity_exact},
                      {"same_best", q.same_best}};
}

const char* kind_name(BenchResult::Kind kind) { return kind == BenchResult::Kind::kPrefill ? "prefill" : "decode"; }

json::object result_json(const BenchReport& report, const BenchResult& r) {
  const std::optional<double> of_peak = r.share_of_peak();
  return {{"test", kind_name(r.kind)},
          {"tokens", r.tokens},
          {"depth", r.depth},
          {"sequences", r.sequences},
          {"tokens_per_s", samples_json(r.tokens_per_s)},
          {"bytes_per_token", r.bytes_per_token},
          {"multiply_adds_per_token", r.macs_per_token},
          {"share_of_read", r.share_of_read()},
          {"share_of_peak", of_peak ? json::value(*of_peak) : json::value(nullptr)},
          {"read_gb_s", samples_json(r.read_gb_s())},
          {"peak_gop_s", of_peak ? samples_json(r.peak_gop_s()) : json::value(nullptr)},
          {"nops_per_ns", samples_json(r.nops_per_ns())},
          {"state", state_name(report, r.probes)},
          {"rivals", rivals_json(r)}};
}

std::string row(const BenchReport& report, const BenchResult& r) {
  const Samples& speed = r.tokens_per_s;
  const std::optional<double> of_peak = r.share_of_peak();
  const bool peak = of_peak && *of_peak > r.share_of_read();
  const std::string range = short_number(speed.least()) + ".." + short_number(speed.most());
  const std::string limit = peak ? cat(report.unit, " ", short_number(r.peak_gop_s().median()))
                                 : cat("read ", short_number(r.read_gb_s().median()));
  return format("%-17s%7s %15s %8s %6s %10s %5.0f%% %s%s\n", bench_label(r).c_str(),
                short_number(speed.median()).c_str(), range.c_str(), short_number(r.bytes_per_token / 1e6).c_str(),
                short_number(r.macs_per_token / 1e9).c_str(), limit.c_str(),
                100 * (peak ? *of_peak : r.share_of_read()), short_number(r.nops_per_ns().median()).c_str(),
                report.is_shared(r.probes) ? "!" : "");
}

std::string rival_rows(const BenchResult& r) {
  std::string rows;
  for (size_t i = 0; i < r.rivals.size(); ++i) {
    const Samples& speed = r.rivals[i].tokens_per_s;
    const std::string label = cat("  rival ", i + 1);
    if (const std::optional<SpeedRatio> ratio = speed_ratio(r.tokens_per_s, speed)) {
      const std::string range = short_number(speed.least()) + ".." + short_number(speed.most());
      rows += format("%-17s%7s %15s   ratio %.2f (%.2f..%.2f)\n", label.c_str(), short_number(speed.median()).c_str(),
                     range.c_str(), ratio->of_medians, ratio->least, ratio->most);
    } else {
      rows += format("%-17s%7s %15s   not measured%s\n", label.c_str(), "-", "", r.sequences > 1 ? ": no {batch}" : "");
    }
  }
  return rows;
}

std::string verify_rows(const BenchReport& report) {
  const VerifyResult& v = *report.verify;
  const char* mark = report.is_shared(v.probes) ? "!" : "";
  std::string rows = format("verify         a pass over one token @%zu: %s ms%s\n", v.depth,
                            short_number(1e3 * v.passes[0].seconds.median()).c_str(), mark);
  for (const VerifyResult::Pass& pass : std::span(v.passes).subspan(1))
    if (const std::optional<SpeedRatio> cost = speed_ratio(pass.seconds, v.passes[0].seconds))
      rows += format("%15sover %zu: %s times that\n", "", pass.rows, ratio_text(*cost).c_str());
  return rows;
}

std::string transcript_rows(const BenchReport& report, const TranscriptResult& t) {
  return cat(transcript_label(t), report.is_shared(t.probes) ? "!" : "", "\n  ", transcript_line(t), "\n  ", t.tokens,
             " tokens; guessed ", t.speculation.drafted, ", right ", t.speculation.accepted, "\n");
}

std::string quality_rows(const BenchReport& report) {
  const Quality& q = *report.quality;
  return format("quality        KL from exact %.2e nats/token, 99%% below %.1e\n", q.kl, q.kl_99) +
         format("               perplexity %.5f, exact %.5f (%+.2f%%)\n", q.perplexity, q.perplexity_exact,
                100 * (q.perplexity / q.perplexity_exact - 1)) +
         cat("               ", q.windows, q.windows == 1 ? " window" : " windows", " of ", q.window, " tokens of ",
             report.quality_text, "\n");
}

}  // namespace

Samples of_probes(std::span<const ProbeReading> probes, double ProbeReading::*member) {
  Samples samples;
  for (const ProbeReading& p : probes) samples.values.push_back(p.*member);
  return samples;
}

json::value samples_json(const Samples& samples) {
  if (samples.values.empty()) return nullptr;
  return json::object{{"median", samples.median()},
                      {"min", samples.least()},
                      {"max", samples.most()},
                      {"values", json::array(samples.values.begin(), samples.values.end())}};
}

json::value ratio_json(const Samples& ours, const Samples& theirs) {
  const std::optional<SpeedRatio> ratio = speed_ratio(ours, theirs);
  if (!ratio) return nullptr;
  return json::object{{"of_medians", ratio->of_medians}, {"min", ratio->least}, {"max", ratio->most}};
}

std::string short_number(double x) { return format(x < 10 ? "%.2f" : x < 100 ? "%.1f" : "%.0f", x); }

std::string ratio_text(const SpeedRatio& ratio) {
  return format("%.2f (%.2f..%.2f)", ratio.of_medians, ratio.least, ratio.most);
}

std::optional<SpeedRatio> speed_ratio(const Samples& ours, const Samples& theirs) {
  const size_t pairs = std::min(ours.values.size(), theirs.values.size());
  if (pairs == 0) return std::nullopt;
  Samples ratios;
  for (size_t i = 0; i < pairs; ++i) ratios.values.push_back(ours.values[i] / theirs.values[i]);
  return SpeedRatio{ours.median() / theirs.median(), ratios.least(), ratios.most()};
}

double Samples::median() const {
  if (values.empty()) return 0;
  std::vector<double> sorted = values;
  std::sort(sorted.begin(), sorted.end());
  const size_t half = sorted.size() / 2;
  return sorted.size() % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}
double Samples::least() const { return values.empty() ? 0 : *std::min_element(values.begin(), values.end()); }
double Samples::most() const { return values.empty() ? 0 : *std::max_element(values.begin(), values.end()); }

Samples BenchResult::read_gb_s() const { return of_probes(probes, &ProbeReading::read_gb_s); }
Samples BenchResult::peak_gop_s() const { return of_probes(probes, &ProbeReading::peak_gop_s); }
Samples BenchResult::nops_per_ns() const { return of_probes(probes, &ProbeReading::nops_per_ns); }

double BenchResult::share_of_read() const {
  const double limit = read_gb_s().median();
  return limit > 0 ? bytes_per_token * tokens_per_s.median() / 1e9 / limit : 0;
}

std::optional<double> BenchResult::share_of_peak() const {
  const double limit = peak_gop_s().median();
  if (limit <= 0) return std::nullopt;
  return 2 * macs_per_token * tokens_per_s.median() / 1e9 / limit;
}

double BenchReport::best_nops_per_ns() const {
  double best = 0;
  const auto look = [&](std::span<const ProbeReading> probes) {
    for (const ProbeReading& p : probes) best = std::max(best, p.nops_per_ns);
  };
  for (const BenchResult& r : results) look(r.probes);
  if (verify) look(verify->probes);
  for (const TranscriptResult& t : transcripts) look(t.probes);
  return best;
}

bool BenchReport::is_shared(std::span<const ProbeReading> probes) const {
  return of_probes(probes, &ProbeReading::nops_per_ns).median() < 0.75 * best_nops_per_ns();
}

std::string bench_label(const BenchResult& r) {
  if (r.kind == BenchResult::Kind::kPrefill) return cat("prefill ", r.tokens);
  return r.sequences == 1 ? cat("decode @", r.depth) : cat("decode ", r.sequences, "x @", r.depth);
}

std::string transcript_label(const TranscriptResult& t) { return cat("replay ", t.name); }

std::string transcript_line(const TranscriptResult& t) {
  const std::optional<SpeedRatio> ratio = speed_ratio(t.tokens_per_s, t.tokens_per_s_off);
  return format("%.2f tokens per pass; %s tok/s, %s without", t.tokens_per_pass,
                short_number(t.tokens_per_s.median()).c_str(), short_number(t.tokens_per_s_off.median()).c_str()) +
         (ratio ? ", ratio " + ratio_text(*ratio) : "");
}

json::object bench_json(const BenchReport& report) {
  json::array results;
  for (const BenchResult& r : report.results) results.push_back(result_json(report, r));
  json::array transcripts;
  for (const TranscriptResult& t : report.transcripts) transcripts.push_back(transcript_json(report, t));
  json::value first_token = nullptr;
  if (!report.first_token_s.values.empty())
    first_token = json::object{{"prompt_tokens", report.first_token_prompt},
                               {"load_s", samples_json(report.load_s)},
                               {"first_token_s", samples_json(report.first_token_s)}};
  return {{"format", "fathom.bench"},
          {"version", 1},
          {"model", report.engine.path},
          {"processor", report.processor},
          {"kernels", report.engine.kernels},
          {"threads", report.engine.threads},
          {"profile", name(report.engine.profile)},
          {"cache_type", name(report.engine.cache_type)},
          {"unit", report.unit},
          {"repeat", report.repeat},
          {"probe_bytes", report.probe_bytes},
          {"huge_pages", report.huge_pages},
          {"best_nops_per_ns", report.best_nops_per_ns()},
          {"interrupted", report.interrupted},
          {"results", std::move(results)},
          {"verify", verify_json(report)},
          {"transcripts", std::move(transcripts)},
          {"first_token", std::move(first_token)},
          {"peak_memory_bytes", report.peak_memory_bytes},
          {"quality", quality_json(report)}};
}

std::string bench_table(const BenchReport& report) {
  const EngineInfo& info = report.engine;
  std::string out =
      cat(report.processor, ", kernels ", info.kernels, ", ", info.threads, info.threads == 1 ? " thread" : " threads",
          ", profile ", name(info.profile), ", cache ", name(info.cache_type), "\n");
  out += cat("probe: ", report.probe_bytes >> 20, " MiB read", report.huge_pages ? "" : " without huge pages",
             report.probe_bytes < size_t{1} << 30 ? " (memory is short)" : "", "; medians of ", report.repeat, "\n\n");
  if (!report.results.empty())
    out += "test               tok/s        min..max   MB/tok GM/tok      limit  share nop\n";
  for (const BenchResult& r : report.results) out += row(report, r) + rival_rows(r);
  if (!report.results.empty()) out += "\n";
  if (report.verify) out += verify_rows(report) + "\n";
  for (const TranscriptResult& t : report.transcripts) out += transcript_rows(report, t);
  if (!report.transcripts.empty()) out += "\n";
  if (const Samples& s = report.first_token_s; !s.values.empty())
    out += format("first token    %.2f s (%.2f..%.2f): load %.2f s, then %zu tokens of prompt\n", s.median(), s.least(),
                  s.most(), report.load_s.median(), report.first_token_prompt);
  out += cat("peak memory    ", gib(report.peak_memory_bytes), "\n");
  if (report.quality) out += quality_rows(report);
  if (!report.results.empty())
    for (size_t i = 0; i < report.results[0].rivals.size(); ++i)
      out += sanitized(cat("rival ", i + 1, "        ", report.results[0].rivals[i].command)) + "\n";
  const auto is_shared = [&](const auto& r) { return report.is_shared(r.probes); };
  const bool shared = std::ranges::any_of(report.results, is_shared) || (report.verify && is_shared(*report.verify)) ||
                      std::ranges::any_of(report.transcripts, is_shared);
  if (shared)
    out += format("! somebody shared the cores: nop fell below 3/4 of this run's best, %.1f per ns\n",
                  report.best_nops_per_ns());
  if (report.interrupted) out += "interrupted: what was measured until then\n";
  return out;
}

}  // namespace fathom

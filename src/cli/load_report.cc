#include "cli/load_report.h"

#include <algorithm>
#include <cmath>

namespace fathom {
namespace {

constexpr double kShares[] = {0.5, 0.9, 0.99};

json::value percentiles_json(const std::vector<double>& values) {
  if (values.empty()) return nullptr;
  json::object out;
  for (const double share : kShares) out.emplace(cat("p", std::lround(share * 100)), percentile(values, share));
  out.emplace("max", *std::ranges::max_element(values));
  return out;
}

std::string milliseconds(double seconds) { return short_number(seconds * 1e3); }

/// "p50 12.1, p90 15.0, p99 18.2 ms"
std::string percentiles_text(const std::vector<double>& values) {
  std::string text;
  for (const double share : kShares)
    text += cat(text.empty() ? "" : ", ", "p", std::lround(share * 100), " ", milliseconds(percentile(values, share)));
  return text + " ms";
}

std::string spread(const Samples& s) {
  return cat(short_number(s.median()),
             s.values.size() > 1 ? cat(" (", short_number(s.least()), "..", short_number(s.most()), ")") : "");
}

template <class F>
double mean_of(const std::vector<LoadTrace>& traces, F&& f) {
  double sum = 0, n = 0;
  for (const LoadTrace& t : traces)
    if (t.ok() && t.counted) sum += static_cast<double>(f(t)), ++n;
  return n > 0 ? sum / n : 0;
}

template <class F>
std::vector<double> values_of(const std::vector<LoadTrace>& traces, F&& add) {
  std::vector<double> values;
  for (const LoadTrace& t : traces)
    if (t.counted) add(t, values);
  return values;
}

std::string load_name(const LoadReport& report, const LoadTest& test) {
  std::string name =
      test.in_flight ? cat(test.in_flight, " chats at a time") : cat(short_number(test.rate), " chats/s");
  name += cat(", ", report.requests, " in all, answers of ", report.answer_tokens, " tokens");
  if (test.disturbing_tokens) name += cat(", and a prompt of about ", test.disturbing_tokens, " tokens in between");
  return name;
}

json::object server_json(const ServerUnderLoad& s) {
  return {{"url", s.url},
          {"model", s.model},
          {"tokens_per_s", samples_json(s.tokens_per_s)},
          {"good_per_s", samples_json(s.good_per_s)},
          {"time_to_first_token_s", percentiles_json(s.times_to_first_token())},
          {"time_per_token_s", percentiles_json(s.times_per_token())},
          {"gap_s", percentiles_json(s.gaps())},
          {"refusal_s", percentiles_json(s.refusals())},
          {"answered", s.answered()},
          {"refused", s.refusals().size()},
          {"failed", s.failed()},
          {"problem", s.first_problem()},
          {"prompt_tokens", s.mean_prompt_tokens()},
          {"cached_tokens", s.mean_cached_tokens()}};
}

/// How many times as fast the first server is, and how its slowest tokens compare.
std::string versus_text(const ServerUnderLoad& ours, const ServerUnderLoad& theirs) {
  const std::optional<SpeedRatio> speed = speed_ratio(ours.tokens_per_s, theirs.tokens_per_s);
  if (!speed) return "";
  const double mine = percentile(ours.times_per_token(), 0.99), other = percentile(theirs.times_per_token(), 0.99);
  std::string text = cat("  the first is ", ratio_text(*speed), " times as fast as ", theirs.url);
  if (mine > 0) text += cat("; its p99 time per token ", short_number(mine / other), " times as long");
  return text + "\n";
}

}  // namespace

double percentile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  const auto rank = static_cast<size_t>(std::ceil(share * static_cast<double>(values.size())));
  const auto at = values.begin() + static_cast<ptrdiff_t>(std::clamp<size_t>(rank, 1, values.size()) - 1);
  std::ranges::nth_element(values, at);
  return *at;
}

void ServerUnderLoad::add(std::vector<LoadTrace> more, const LoadLimits& limits) {
  double end = 0, tokens = 0, good = 0;
  for (const LoadTrace& t : more) {
    end = std::max(end, t.last_s);
    if (!t.ok() || !t.counted) continue;
    tokens += static_cast<double>(t.completion_tokens);
    good += t.time_to_first_token() <= limits.first_token_s && t.time_per_token() <= limits.per_token_s;
  }
  if (end > 0) {
    tokens_per_s.values.push_back(tokens / end);
    good_per_s.values.push_back(good / end);
  }
  traces.insert(traces.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
}

std::vector<double> ServerUnderLoad::times_to_first_token() const {
  return values_of(traces, [](const LoadTrace& t, auto& out) {
    if (t.ok()) out.push_back(t.time_to_first_token());
  });
}
std::vector<double> ServerUnderLoad::times_per_token() const {
  return values_of(traces, [](const LoadTrace& t, auto& out) {
    if (t.ok() && t.completion_tokens > 1) out.push_back(t.time_per_token());
  });
}
std::vector<double> ServerUnderLoad::gaps() const {
  return values_of(traces, [](const LoadTrace& t, auto& out) {
    if (t.ok()) out.insert(out.end(), t.gaps_s.begin(), t.gaps_s.end());
  });
}
std::vector<double> ServerUnderLoad::refusals() const {
  return values_of(traces, [](const LoadTrace& t, auto& out) {
    if (t.refused()) out.push_back(t.last_s - t.due_s);
  });
}
size_t ServerUnderLoad::answered() const {
  return static_cast<size_t>(std::ranges::count_if(traces, [](const LoadTrace& t) { return t.counted && t.ok(); }));
}
size_t ServerUnderLoad::failed() const {
  return static_cast<size_t>(std::ranges::count_if(traces, [](const LoadTrace& t) { return !t.ok() && !t.refused(); }));
}
std::string ServerUnderLoad::first_problem() const {
  const auto found = std::ranges::find_if(traces, [](const LoadTrace& t) { return !t.ok() && !t.refused(); });
  return found == traces.end() ? "" : found->problem;
}
double ServerUnderLoad::mean_prompt_tokens() const {
  return mean_of(traces, [](const LoadTrace& t) { return t.prompt_tokens; });
}
double ServerUnderLoad::mean_cached_tokens() const {
  return mean_of(traces, [](const LoadTrace& t) { return t.cached_tokens; });
}

json::object load_json(const LoadReport& report) {
  json::array tests;
  for (const LoadTest& test : report.tests) {
    json::array servers;
    for (const ServerUnderLoad& s : test.servers) servers.push_back(server_json(s));
    json::array ratios;
    for (size_t i = 1; i < test.servers.size(); ++i)
      ratios.push_back(ratio_json(test.servers[0].tokens_per_s, test.servers[i].tokens_per_s));
    tests.push_back(json::object{{"chats_at_a_time", test.in_flight},
                                 {"chats_per_s", test.rate},
                                 {"disturbing_tokens", test.disturbing_tokens},
                                 {"servers", std::move(servers)},
                                 {"ratios", std::move(ratios)}});
  }
  return {{"format", "fathom.bench-serve"},
          {"version", 1},
          {"requests", report.requests},
          {"repeat", report.repeat},
          {"shared_tokens", report.shared_tokens},
          {"ask_tokens", report.ask_tokens},
          {"answer_tokens", report.answer_tokens},
          {"first_token_limit_s", report.limits.first_token_s},
          {"per_token_limit_s", report.limits.per_token_s},
          {"tests", std::move(tests)},
          {"interrupted", report.interrupted}};
}

std::string load_text(const LoadReport& report) {
  std::string text;
  for (const LoadTest& test : report.tests) {
    text += load_name(report, test) + "\n";
    for (const ServerUnderLoad& s : test.servers) {
      text += cat("  ", s.url, ", ", s.model, ": ", s.answered(), " answered, ", s.refusals().size(), " refused, ",
                  s.failed(), " failed", s.failed() ? cat(" (", s.first_problem(), ")") : "", "\n");
      if (!s.refusals().empty()) text += cat("    refused after     ", percentiles_text(s.refusals()), "\n");
      if (s.answered() == 0) continue;
      text += cat("    new tokens        ", spread(s.tokens_per_s), " tok/s; prompts of ",
                  std::lround(s.mean_prompt_tokens()), " tokens, ", std::lround(s.mean_cached_tokens()),
                  " of them cached\n");
      text += cat("    first token after ", percentiles_text(s.times_to_first_token()), "\n");
      text += cat("    each token after  ", percentiles_text(s.times_per_token()), "; gaps ",
                  percentiles_text(s.gaps()), "\n");
      text += cat("    goodput           ", spread(s.good_per_s), " answers/s within ",
                  short_number(report.limits.first_token_s), " s to the first token and ",
                  milliseconds(report.limits.per_token_s), " ms for each other\n");
    }
    for (size_t i = 1; i < test.servers.size(); ++i) text += versus_text(test.servers[0], test.servers[i]);
  }
  return text + (report.interrupted ? "interrupted: what was measured until then\n" : "");
}

}  // namespace fathom

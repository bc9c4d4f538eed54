#include "cli/bench_serve.h"

#include <cmath>
#include <cstdlib>

#include "base/philox.h"
#include "base/work.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/progress.h"

namespace fathom {
namespace {

constexpr uint64_t kSeed = 1;
// A token each, with the space before it, in the vocabularies of today's models.
constexpr std::string_view kWords[] = {
    "the",   "of",    "and",   "to",    "in",   "is",    "that", "it",   "for",  "was",   "on",    "are",  "as",
    "with",  "they",  "at",    "be",    "this", "from",  "have", "or",   "by",   "one",   "had",   "not",  "but",
    "what",  "all",   "were",  "when",  "we",   "there", "can",  "an",   "your", "which", "their", "said", "if",
    "do",    "will",  "each",  "about", "how",  "up",    "out",  "them", "then", "she",   "many",  "some", "so",
    "these", "would", "other", "into",  "has",  "more",  "her",  "two",  "like", "him",   "see",   "time"};

double uniform(uint32_t stream, uint32_t a, uint32_t b) { return philox_uniform(kSeed, {stream, a, b, 0}); }

std::string words(size_t n, uint32_t stream, uint32_t a) {
  std::string text;
  for (size_t i = 0; i < n; ++i) {
    const double u = uniform(stream, a, static_cast<uint32_t>(i));
    text += cat(i ? " " : "", kWords[static_cast<size_t>(u * std::size(kWords))]);
  }
  return text;
}

enum Stream : uint32_t { kShared, kAsk, kArrival, kDisturbing };

json::object chat(const BenchServeCommand& command, const std::string& model, json::array messages) {
  return {{"model", model},
          {"messages", std::move(messages)},
          {"max_tokens", command.answer_tokens},
          {"temperature", 0},
          {"ignore_eos", true},
          {"stream", true},
          {"stream_options", json::object{{"include_usage", true}}}};
}

std::string without_slash(std::string url) {
  while (url.ends_with('/')) url.pop_back();
  return url;
}

std::string api_key() {
  const char* key = std::getenv("OPENAI_API_KEY");
  return key ? key : "";
}

/// The model of server i: as told, or the first that it lists.
std::string model_of(const BenchServeCommand& command, size_t i) {
  if (!command.models.empty()) return command.models[std::min(i, command.models.size() - 1)];
  const std::string url = without_slash(command.urls[i]) + "/models";
  const json::value listed = parse_json(fetch_document(url, api_key()), url);
  const json::object* object = listed.if_object();
  const json::value* data = object ? object->if_contains("data") : nullptr;
  if (data && data->is_array() && !data->get_array().empty())
    if (const json::object* first = data->get_array()[0].if_object())
      if (const json::value* id = first->if_contains("id"); id && id->is_string()) return std::string(id->get_string());
  throw Error(cat(url, ": expected a list of models, found none; --serve-model names it"));
}

std::vector<LoadTest> tests_of(const BenchServeCommand& command) {
  std::vector<ServerUnderLoad> servers;
  for (size_t i = 0; i < command.urls.size(); ++i)
    servers.push_back({.url = without_slash(command.urls[i]), .model = model_of(command, i)});
  std::vector<LoadTest> tests;
  for (const size_t n : command.in_flight) tests.push_back({.in_flight = n, .servers = servers});
  for (const double rate : command.rates) tests.push_back({.rate = rate, .servers = servers});
  if (tests.empty()) tests.push_back({.in_flight = 8, .servers = servers});
  for (LoadTest& test : tests) test.disturbing_tokens = command.disturbing_tokens;
  return tests;
}

}  // namespace

std::vector<LoadRequest> load_requests(const BenchServeCommand& command, const std::string& model, double rate,
                                       size_t repetition) {
  const json::object shared{{"role", "system"}, {"content", words(command.shared_tokens, kShared, 0)}};
  const auto asking = [&](const std::string& text) {
    json::array messages;
    if (command.shared_tokens) messages.push_back(shared);
    messages.push_back(json::object{{"role", "user"}, {"content", text}});
    return to_json(chat(command, model, std::move(messages)));
  };
  std::vector<LoadRequest> requests;
  double at = 0;
  for (size_t i = 0; i < command.requests; ++i) {
    const auto number = static_cast<uint32_t>(repetition * command.requests + i);
    if (rate > 0) at -= std::log1p(-uniform(kArrival, number, 0)) / rate;
    requests.push_back({.body = asking(words(command.ask_tokens, kAsk, number)), .start_s = at});
    if (command.disturbing_tokens && i == command.requests / 2) {
      const std::string text = words(command.disturbing_tokens, kDisturbing, number);
      json::array messages{json::object{{"role", "user"}, {"content", text}}};
      requests.push_back({.body = to_json(chat(command, model, std::move(messages))), .start_s = at, .counted = false});
    }
  }
  return requests;
}

namespace {

/// One chat, so that a model that is loaded when it is asked for is there. Throws Error where the server gives none.
void warm_up(const BenchServeCommand& command, const ServerUnderLoad& server) {
  const LoadPlan plan{server.url + "/chat/completions", api_key(), 1};
  const std::vector<LoadRequest> requests = load_requests(command, server.model, 0, command.repeat);
  for (const LoadTrace& t : run_load(plan, std::span(requests).first(1), interrupted()))
    if (!t.ok()) throw Error(cat(server.url, ": expected a streamed chat with usage, found: ", t.problem));
}

}  // namespace

int bench_serve(const BenchServeCommand& command) {
  catch_interrupts(/*impatient=*/true);
  LoadReport report{.requests = command.requests,
                    .repeat = command.repeat,
                    .shared_tokens = command.shared_tokens,
                    .ask_tokens = command.ask_tokens,
                    .answer_tokens = command.answer_tokens,
                    .limits = command.limits,
                    .tests = tests_of(command)};
  const uint64_t steps = command.repeat * report.tests.size() * command.urls.size();
  ProgressBar progress("loading servers", terminal_of(2));
  uint64_t done = 0;
  for (const ServerUnderLoad& server : report.tests[0].servers) warm_up(command, server);
  for (size_t r = 0; r < command.repeat; ++r)
    for (LoadTest& test : report.tests)
      for (ServerUnderLoad& server : test.servers) {
        if (interrupted()) break;
        const std::vector<LoadRequest> requests = load_requests(command, server.model, test.rate, r);
        const LoadPlan plan{server.url + "/chat/completions", api_key(), test.in_flight};
        server.add(run_load(plan, requests, interrupted()), command.limits);
        progress.show(++done, steps);
      }
  progress.clear();
  report.interrupted = interrupted();
  print_out(command.json ? to_json(load_json(report)) + "\n" : load_text(report));
  return report.interrupted ? Interrupted().exit_code() : 0;
}

}  // namespace fathom

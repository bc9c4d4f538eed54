#include "server/metrics.h"

#include <algorithm>
#include <functional>
#include <iterator>
#include <utility>

#include "base/json.h"
#include "server/keys/key_access.h"

namespace fathom {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr std::string_view kOutcomeNames[kOutcomes] = {"stop", "length", "abort", "error"};

std::string number(double x) { return to_json(json::value(x)); }

std::string label(std::string_view key, std::string_view value) {
  std::string out = cat(key, "=\"");
  for (const char c : value) {
    if (c == '\\' || c == '"') out += '\\';
    if (c == '\n')
      out += "\\n";
    else
      out += c;
  }
  return out + '"';
}

/// A page under construction: families one after the other, each with its samples.
class Page {
 public:
  void family(std::string_view family, std::string_view type, std::string_view help) {
    name_ = family;
    text += cat("# HELP ", family, " ", help, "\n# TYPE ", family, " ", type, "\n");
  }
  template <class T>
  void sample(const std::string& labels, T value) {
    text += labels.empty() ? cat(name_, " ", value, "\n") : cat(name_, "{", labels, "} ", value, "\n");
  }
  void sample(const Histogram& histogram, const std::string& labels) { histogram.write(text, name_, labels); }
  std::string text;

 private:
  std::string_view name_;
};

Outcome outcome_of(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
    case FinishReason::kToolCalls: return Outcome::kStop;
    case FinishReason::kLength:
    case FinishReason::kContextFull: return Outcome::kLength;
    case FinishReason::kCancelled: return Outcome::kAbort;
  }
  return Outcome::kError;
}

void write_http(Page& page, const HttpCounters& http) {
  const auto one = [&](std::string_view name, std::string_view type, std::string_view help, uint64_t value) {
    page.family(name, type, help);
    page.sample("", value);
  };
  one("fathom_http_connections_open", "gauge", "Connections that are open.", http.open);
  one("fathom_http_connections_total", "counter", "Connections accepted.", http.accepted);
  one("fathom_http_connections_turned_away_total", "counter", "Connections beyond the limit.", http.turned_away);
  one("fathom_http_requests_total", "counter", "Requests that were understood.", http.requests);
  one("fathom_http_requests_refused_total", "counter", "Requests refused before they had a meaning.", http.refused);
  one("fathom_http_streams_cut_total", "counter", "Streams cut off because the client read too slowly.", http.cut);
  one("fathom_http_received_bytes_total", "counter", "Bytes that came in.", http.bytes_in);
  one("fathom_http_sent_bytes_total", "counter", "Bytes that went out.", http.bytes_out);
}

void write_keys(Page& page, const KeyCounters& keys) {
  constexpr std::string_view kReasons[kKeyFailures] = {"missing", "wrong", "limited", "session"};
  page.family("fathom_auth_failures_total", "counter", "Requests without a key that was right, by what was wrong.");
  for (size_t i = 0; i < kKeyFailures; ++i) page.sample(label("reason", kReasons[i]), keys.failures[i]);
  page.family("fathom_logins_total", "counter", "Sessions of pages that began.");
  page.sample("", keys.logins);
  page.family("fathom_sessions", "gauge", "Sessions of pages that have not ended.");
  page.sample("", keys.sessions);
}

}  // namespace

std::string_view name(Operation operation) {
  constexpr std::string_view kNames[kOperations] = {"chat", "text_completion", "embeddings", "rerank"};
  return kNames[static_cast<size_t>(operation)];
}

void Histogram::add(double value) {
  size_t i = 0;
  for (double bound = first_; i < kBuckets && value > bound; ++i) bound *= factor_;
  counts_[i].fetch_add(1, kRelaxed);
  sum_.fetch_add(value, kRelaxed);
}

void Histogram::write(std::string& out, std::string_view name, const std::string& labels) const {
  uint64_t below = 0;
  double bound = first_;
  for (size_t i = 0; i <= kBuckets; ++i, bound *= factor_) {
    below += counts_[i].load(kRelaxed);
    out += cat(name, "_bucket{", labels, ",le=\"", i < kBuckets ? number(bound) : "+Inf", "\"} ", below, "\n");
  }
  out += cat(name, "_sum{", labels, "} ", number(sum_.load(kRelaxed)), "\n");
  out += cat(name, "_count{", labels, "} ", below, "\n");
}

ModelMetrics& Metrics::of(const std::string& model) {
  const std::lock_guard lock(mutex_);
  std::unique_ptr<ModelMetrics>& found = models_[model];
  if (!found) found = std::make_unique<ModelMetrics>();
  return *found;
}

void Metrics::responded(int status) {
  if (status >= 100 && status < 600) statuses_[static_cast<size_t>(status)].fetch_add(1, kRelaxed);
}

namespace {

struct Shown {
  std::shared_ptr<const HostedModel> hosted;
  const ModelMetrics& metrics;
  std::shared_ptr<LoadedModel> loaded;  // null: not in memory
  std::string labels;
};

/// What the models hold and do now.
void write_state(Page& page, const std::vector<Shown>& all) {
  std::vector<Shown> models;  // adapters share the engine of theirs
  std::ranges::copy_if(all, std::back_inserter(models), [](const Shown& m) { return m.hosted->base.empty(); });
  const auto of_stats = [&](std::string_view name, std::string_view type, std::string_view help,
                            const std::function<double(const LoadedModel&)>& value) {
    page.family(name, type, help);
    for (const Shown& m : models) page.sample(m.labels, number(m.loaded ? value(*m.loaded) : 0));
  };
  const auto max_pages = [](const LoadedModel& m) {
    return m.engine().pool_bytes() / std::max<uint64_t>(m.engine().kv_layout().page_bytes, 1);
  };
  of_stats("vllm:num_requests_running", "gauge", "Answers that are being computed.",
           [](const LoadedModel& m) { return m.stats().running.load(); });
  of_stats("vllm:num_requests_waiting", "gauge", "Answers that wait for room in the cache.",
           [](const LoadedModel& m) { return m.stats().waiting.load(); });
  of_stats("vllm:kv_cache_usage_perc", "gauge", "Part of the KV cache that running answers hold, 0 to 1.",
           [&](const LoadedModel& m) {
             return static_cast<double>(m.stats().held_pages) / std::max(1.0, static_cast<double>(max_pages(m)));
           });
  of_stats("fathom_kv_cached_pages", "gauge", "Pages that are kept for texts that begin alike.",
           [](const LoadedModel& m) { return m.stats().cached_pages.load(); });
  of_stats("fathom_model_loaded", "gauge", "1: the model is in memory.", [](const LoadedModel&) { return 1; });
  of_stats("vllm:num_preemptions_total", "counter", "Answers that gave their pages back and were computed again.",
           [](const LoadedModel& m) { return m.stats().preemptions.load(); });
  page.family("vllm:cache_config_info", "gauge", "The KV cache: pages, and positions of each.");
  for (const Shown& m : models)
    if (m.loaded)
      page.sample(cat(m.labels, ",block_size=\"", kPagePositions, "\",num_gpu_blocks=\"", max_pages(*m.loaded), "\""),
                  1);
  page.family("vllm:lora_requests_info", "gauge", "Adapters of running and waiting answers.");
  for (const Shown& m : models) {
    std::string running, waiting;
    size_t n = 0;
    for (const Shown& a : all) {
      if (a.hosted->base != m.hosted->name) continue;
      ++n;
      if (a.loaded && a.loaded->begun() != 0) running += (running.empty() ? "" : ",") + a.hosted->name;
      if (a.loaded && a.loaded->waiting() != 0) waiting += (waiting.empty() ? "" : ",") + a.hosted->name;
    }
    page.sample(cat(m.labels, ",", label("running_lora_adapters", running), ",",
                    label("waiting_lora_adapters", waiting), ",max_lora=\"", n, "\""),
                1);
  }
}

void write_answers(Page& page, const std::vector<Shown>& models) {
  const auto counter = [&](std::string_view name, std::string_view help, auto member) {
    page.family(name, "counter", help);
    for (const Shown& m : models) page.sample(m.labels, (m.metrics.*member).load(kRelaxed));
  };
  counter("vllm:prompt_tokens_total", "Tokens of prompts.", &ModelMetrics::prompt_tokens);
  counter("vllm:generation_tokens_total", "New tokens.", &ModelMetrics::new_tokens);
  counter("fathom_thinking_tokens_total", "New tokens that are thinking.", &ModelMetrics::thinking_tokens);
  counter("vllm:prefix_cache_queries_total", "Tokens that were looked for in the prefix cache.",
          &ModelMetrics::prompt_tokens);
  counter("vllm:prefix_cache_hits_total", "Tokens that were found there.", &ModelMetrics::cached_tokens);
  page.family("vllm:request_success_total", "counter", "Answers that ended, by the reason.");
  for (const Shown& m : models)
    for (size_t i = 0; i < kOutcomes; ++i)
      page.sample(cat(m.labels, ",", label("finished_reason", kOutcomeNames[i])), m.metrics.outcomes[i].load(kRelaxed));
  const auto histogram = [&](std::string_view name, std::string_view help, auto member) {
    page.family(name, "histogram", help);
    for (const Shown& m : models) page.sample(m.metrics.*member, m.labels);
  };
  histogram("vllm:time_to_first_token_seconds", "From the request to the first token.", &ModelMetrics::first_token);
  histogram("vllm:inter_token_latency_seconds", "From one token to the next.", &ModelMetrics::between_tokens);
  histogram("vllm:e2e_request_latency_seconds", "From the request to the end of the answer.", &ModelMetrics::whole);
  histogram("vllm:request_queue_time_seconds", "From the request to its first forward.", &ModelMetrics::queue);
}

void write_gen_ai(Page& page, const std::vector<Shown>& models) {
  using Of = ModelMetrics::OfOperation;
  const auto each = [&](auto&& f) {
    for (const Shown& m : models)
      for (size_t i = 0; i < kOperations; ++i)
        if (const Of& o = m.metrics.operations[i]; o.answers.load(kRelaxed) != 0)
          f(o, cat(label("gen_ai_operation_name", name(static_cast<Operation>(i))), ",",
                   label("gen_ai_request_model", m.hosted->name), ",", label("gen_ai_response_model", m.hosted->name)));
  };
  const auto histogram = [&](std::string_view name, std::string_view help, auto member) {
    page.family(name, "histogram", help);
    each([&](const Of& o, const std::string& labels) { page.sample(o.*member, labels); });
  };
  histogram("gen_ai_server_request_duration_seconds", "From the request to the end of the answer.", &Of::duration);
  histogram("gen_ai_server_time_to_first_token_seconds", "From the request to the first token.", &Of::first_token);
  histogram("gen_ai_server_time_per_output_token_seconds", "Mean time of a token after the first, of each answer.",
            &Of::per_token);
  page.family("gen_ai_client_token_usage", "histogram", "Tokens of each answer.");
  each([&](const Of& o, const std::string& labels) {
    page.sample(o.input_tokens, labels + R"(,gen_ai_token_type="input")");
    page.sample(o.output_tokens, labels + R"(,gen_ai_token_type="output")");
  });
}

}  // namespace

std::string Metrics::page(const ModelHost& host, const HttpCounters* http, const KeyCounters* keys) const {
  Page page;
  static const ModelMetrics kNone{};  // of a model that nobody has asked
  std::vector<Shown> models;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& m : host.models()) {
      const auto found = models_.find(m->name);
      models.push_back(
          {m, found == models_.end() ? kNone : *found->second, host.loaded(m->name), label("model_name", m->name)});
    }
  }
  write_state(page, models);
  write_answers(page, models);
  write_gen_ai(page, models);
  page.family("fathom_requests_in_flight", "gauge", "Answers of all models that run or wait.");
  page.sample("", host.requests());
  page.family("fathom_http_responses_total", "counter", "Answers to requests, by status; 499: the client went away.");
  for (size_t i = 0; i < statuses_.size(); ++i)
    if (const uint64_t n = statuses_[i].load(kRelaxed)) page.sample(cat("code=\"", i, "\""), n);
  if (http) write_http(page, *http);
  if (keys) write_keys(page, *keys);
  return std::move(page.text);
}

uint64_t Metrics::computed_tokens() const {
  const std::lock_guard lock(mutex_);
  uint64_t sum = 0;
  for (const auto& [name, model] : models_) sum += model->computed_tokens.load(kRelaxed);
  return sum;
}

void AnswerMeter::computed(size_t tokens) {
  computed_ += tokens;
  metrics_.computed_tokens.fetch_add(tokens, kRelaxed);
}

void AnswerMeter::prompt(size_t done) {
  if (done <= prompt_done_) return;
  computed(done - std::exchange(prompt_done_, done));
}

void AnswerMeter::token() {
  computed(1);
  if (std::exchange(any_token_, true)) {
    metrics_.between_tokens.add(since(last_));
  } else {
    metrics_.first_token.add(since(start_));
    metrics_.operations[static_cast<size_t>(operation_)].first_token.add(since(start_));
  }
  last_ = Clock::now();
}

void AnswerMeter::done(const Answer& answer) {
  const AnswerStats& s = answer.stats;
  metrics_.whole.add(since(start_));
  metrics_.queue.add(s.queue_s);
  metrics_.prompt_tokens.fetch_add(s.prompt_tokens, kRelaxed);
  metrics_.new_tokens.fetch_add(s.new_tokens, kRelaxed);
  metrics_.thinking_tokens.fetch_add(s.thinking_tokens, kRelaxed);
  metrics_.cached_tokens.fetch_add(s.cached_tokens, kRelaxed);
  const size_t all = s.prompt_tokens - s.cached_tokens + s.new_tokens;
  computed(all - std::min(all, computed_));
  metrics_.outcomes[static_cast<size_t>(outcome_of(answer.finish_reason))].fetch_add(1, kRelaxed);
  ModelMetrics::OfOperation& o = metrics_.operations[static_cast<size_t>(operation_)];
  o.answers.fetch_add(1, kRelaxed);
  o.duration.add(since(start_));
  o.input_tokens.add(static_cast<double>(s.prompt_tokens));
  if (s.new_tokens != 0) o.output_tokens.add(static_cast<double>(s.new_tokens));
  if (s.new_tokens > 1) o.per_token.add(s.decode_s / static_cast<double>(s.new_tokens - 1));
}

void AnswerMeter::failed() { metrics_.outcomes[static_cast<size_t>(Outcome::kError)].fetch_add(1, kRelaxed); }

}  // namespace fathom

#include "cli/load_client.h"

#include <curl/curl.h>

#include <algorithm>
#include <chrono>
#include <memory>

#include "base/json.h"

namespace fathom {
namespace {

constexpr size_t kMostLine = size_t{1} << 20, kMostDocument = size_t{4} << 20;
constexpr long kSilenceSeconds = 600;

struct FreeHeaders {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};
using Headers = std::unique_ptr<curl_slist, FreeHeaders>;

Headers request_headers(const std::string& api_key) {
  curl_slist* list = curl_slist_append(nullptr, "Content-Type: application/json");
  list = curl_slist_append(list, "Expect:");
  if (!api_key.empty()) list = curl_slist_append(list, ("Authorization: Bearer " + api_key).c_str());
  return Headers(list);
}

class Clock {
 public:
  double now() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count(); }

 private:
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

size_t count_of(const json::object& usage, const char* name) {
  const json::value* v = usage.if_contains(name);
  return v && v->is_int64() && v->get_int64() > 0 ? static_cast<size_t>(v->get_int64()) : 0;
}

/// A delta has something to show: text, thinking under any of its names, or a call.
bool shows_something(const json::object& chunk) {
  const json::value* choices = chunk.if_contains("choices");
  if (!choices || !choices->is_array()) return false;
  for (const json::value& choice : choices->get_array()) {
    const json::value* delta = choice.is_object() ? choice.get_object().if_contains("delta") : nullptr;
    if (!delta || !delta->is_object()) continue;
    for (const char* name : {"content", "reasoning_content", "reasoning", "tool_calls"}) {
      const json::value* v = delta->get_object().if_contains(name);
      if (v && ((v->is_string() && !v->get_string().empty()) || (v->is_array() && !v->get_array().empty())))
        return true;
    }
  }
  return false;
}

/// One request on its way.
class Transfer {
 public:
  Transfer(const LoadPlan& plan, const LoadRequest& request, const Clock& clock, double due_s, curl_slist* headers)
      : clock_(clock), easy_(curl_easy_init()) {
    if (!easy_) throw ResourceError("libcurl: could not make a transfer");
    trace.counted = request.counted;
    trace.due_s = due_s;
    curl_easy_setopt(easy_, CURLOPT_URL, plan.url.c_str());
    curl_easy_setopt(easy_, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(easy_, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
    curl_easy_setopt(easy_, CURLOPT_POSTFIELDS, request.body.c_str());
    curl_easy_setopt(easy_, CURLOPT_NOPROXY, "localhost,127.0.0.1,::1");
    curl_easy_setopt(easy_, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(easy_, CURLOPT_LOW_SPEED_TIME, kSilenceSeconds);
    curl_easy_setopt(easy_, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy_, CURLOPT_PRIVATE, this);
    curl_easy_setopt(easy_, CURLOPT_WRITEDATA, this);
    curl_easy_setopt(easy_, CURLOPT_WRITEFUNCTION, &Transfer::on_bytes);
  }
  ~Transfer() { curl_easy_cleanup(easy_); }
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;

  CURL* easy() const { return easy_; }
  LoadTrace end(CURLcode result) {
    long status = 0;
    curl_easy_getinfo(easy_, CURLINFO_RESPONSE_CODE, &status);
    trace.status = static_cast<int>(status);
    if (trace.problem.empty() && result != CURLE_OK) trace.problem = curl_easy_strerror(result);
    if (trace.problem.empty() && status != 200) trace.problem = cat("status ", status, ": ", line_.substr(0, 200));
    if (trace.problem.empty() && !done_) trace.problem = "the stream ended without [DONE]";
    if (trace.problem.empty() && trace.completion_tokens == 0) trace.problem = "no usage.completion_tokens came";
    if (!trace.ok()) trace.last_s = clock_.now();
    return std::move(trace);
  }

  LoadTrace trace;

 private:
  static size_t on_bytes(char* data, size_t, size_t size, void* self) {
    return static_cast<Transfer*>(self)->take({data, size}) ? size : 0;
  }
  bool take(std::string_view bytes) {
    const double now = clock_.now();
    for (const char c : bytes) {
      if (c != '\n') {
        line_ += c;
        continue;
      }
      if (!line_.empty() && line_.back() == '\r') line_.pop_back();
      if (!event(now)) return false;
      line_.clear();
    }
    if (line_.size() <= kMostLine) return true;
    trace.problem = cat("a line of more than ", kMostLine, " bytes");
    return false;
  }
  bool event(double now) {
    constexpr std::string_view kData = "data: ";
    if (!line_.starts_with(kData)) return true;
    const std::string_view data = std::string_view(line_).substr(kData.size());
    if (data == "[DONE]") return done_ = true;
    try {
      const json::value parsed = parse_json(data, "event");
      const json::object& chunk = parsed.as_object();
      if (const json::value* error = chunk.if_contains("error"); error && !error->is_null()) {
        trace.problem = to_json(*error).substr(0, 300);
        return false;
      }
      if (shows_something(chunk)) piece(now);
      if (const json::value* usage = chunk.if_contains("usage"); usage && usage->is_object()) read(usage->get_object());
      return true;
    } catch (const std::exception& e) {
      trace.problem = e.what();
      return false;
    }
  }
  void piece(double now) {
    if (seen_)
      trace.gaps_s.push_back(static_cast<float>(now - trace.last_s));
    else
      trace.first_s = now;
    seen_ = true;
    trace.last_s = now;
  }
  void read(const json::object& usage) {
    trace.prompt_tokens = count_of(usage, "prompt_tokens");
    trace.completion_tokens = count_of(usage, "completion_tokens");
    const json::value* details = usage.if_contains("prompt_tokens_details");
    if (details && details->is_object()) trace.cached_tokens = count_of(details->get_object(), "cached_tokens");
  }

  const Clock& clock_;
  CURL* easy_;
  std::string line_;
  bool seen_ = false, done_ = false;
};

}  // namespace

std::vector<LoadTrace> run_load(const LoadPlan& plan, std::span<const LoadRequest> requests,
                                const std::atomic<bool>& stop) {
  const std::unique_ptr<CURLM, decltype(&curl_multi_cleanup)> multi(curl_multi_init(), curl_multi_cleanup);
  if (!multi) throw ResourceError("libcurl: could not make a client");
  const Headers headers = request_headers(plan.api_key);
  const Clock clock;
  std::vector<LoadTrace> traces;
  std::vector<std::unique_ptr<Transfer>> running;
  size_t next = 0;
  while (!stop && (next < requests.size() || !running.empty())) {
    while (next < requests.size() &&
           (plan.in_flight ? running.size() < plan.in_flight : requests[next].start_s <= clock.now())) {
      const double due = plan.in_flight ? clock.now() : requests[next].start_s;
      running.push_back(std::make_unique<Transfer>(plan, requests[next++], clock, due, headers.get()));
      curl_multi_add_handle(multi.get(), running.back()->easy());
    }
    int active = 0, left = 0;
    curl_multi_perform(multi.get(), &active);
    while (const CURLMsg* message = curl_multi_info_read(multi.get(), &left)) {
      if (message->msg != CURLMSG_DONE) continue;
      const CURLcode result = message->data.result;
      const auto found =
          std::ranges::find(running, message->easy_handle, [](const auto& transfer) { return transfer->easy(); });
      curl_multi_remove_handle(multi.get(), (*found)->easy());
      traces.push_back((*found)->end(result));
      running.erase(found);
    }
    double wait_s = 0.1;
    if (plan.in_flight == 0 && next < requests.size()) wait_s = std::min(wait_s, requests[next].start_s - clock.now());
    if (plan.in_flight && running.size() < plan.in_flight && next < requests.size()) wait_s = 0;
    if (wait_s > 0) curl_multi_poll(multi.get(), nullptr, 0, static_cast<int>(wait_s * 1000), nullptr);
  }
  for (const std::unique_ptr<Transfer>& transfer : running) curl_multi_remove_handle(multi.get(), transfer->easy());
  return traces;
}

std::string fetch_document(const std::string& url, const std::string& api_key) {
  const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> easy(curl_easy_init(), curl_easy_cleanup);
  if (!easy) throw ResourceError("libcurl: could not make a transfer");
  const Headers headers = request_headers(api_key);
  std::string text;
  curl_easy_setopt(easy.get(), CURLOPT_URL, url.c_str());
  curl_easy_setopt(easy.get(), CURLOPT_HTTPHEADER, headers.get());
  curl_easy_setopt(easy.get(), CURLOPT_NOPROXY, "localhost,127.0.0.1,::1");
  curl_easy_setopt(easy.get(), CURLOPT_TIMEOUT, 30L);
  curl_easy_setopt(easy.get(), CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy.get(), CURLOPT_WRITEDATA, &text);
  curl_easy_setopt(
      easy.get(), CURLOPT_WRITEFUNCTION, +[](char* data, size_t, size_t size, void* into) {
        auto& out = *static_cast<std::string*>(into);
        if (out.size() + size > kMostDocument) return size_t{0};
        out.append(data, size);
        return size;
      });
  const CURLcode result = curl_easy_perform(easy.get());
  long status = 0;
  curl_easy_getinfo(easy.get(), CURLINFO_RESPONSE_CODE, &status);
  if (result != CURLE_OK) throw Error(cat(url, ": expected an OpenAI server, found: ", curl_easy_strerror(result)));
  if (status != 200) throw Error(cat(url, ": expected status 200, found ", status));
  return text;
}

}  // namespace fathom

#include "server/api/batch_runner.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <deque>
#include <unordered_set>

#include "server/api/error.h"
#include "server/api/fields.h"

namespace fathom {
namespace {

constexpr auto kIdle = std::chrono::seconds(5), kBusy = std::chrono::seconds(1);
constexpr auto kLook = std::chrono::milliseconds(200);  // whether places have become free, a cancel has come
constexpr int kTries = 5;                               // of a line for which the server has no room

constexpr std::string_view kNoText = "/v1/embeddings";  // nothing is drawn there

json::value parsed_or_text(const std::string& body) {
  json::error_code error;
  json::value value = json::parse(body, error);
  return error ? json::value(body) : value;
}

json::object error_list(json::object error) { return {{"object", "list"}, {"data", json::array{std::move(error)}}}; }

std::string text(const json::object& object, const char* key) { return std::string(object.at(key).as_string()); }

}  // namespace

uint64_t batch_seed(std::string_view batch, size_t line) {
  uint64_t x = 0xcbf29ce484222325;  // FNV-1a over the id, then splitmix64's mixing with the line
  for (const unsigned char c : batch) x = (x ^ c) * 0x100000001b3;
  x += (line + 1) * 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return (x ^ (x >> 31)) >> 11;  // 53 bits, which every JSON reader keeps
}

std::vector<BatchLine> read_batch_lines(std::string_view text, std::string_view endpoint) {
  std::vector<BatchLine> out;
  std::unordered_set<std::string> names;
  for (size_t number = 1; !text.empty(); ++number) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.find_first_not_of(" \t") == std::string_view::npos) continue;
    if (out.size() == BatchRunner::kMostLines)
      throw ApiError(400, cat("expected at most ", BatchRunner::kMostLines, " requests"));
    try {
      const json::value value = parse_json(line, "the request");
      Fields f(value);
      const std::string name = f.string("custom_id").value_or("");
      if (name.empty() || name.size() > 512) throw wrong_field("custom_id", "custom_id: expected 1 to 512 bytes");
      if (!names.insert(name).second) throw wrong_field("custom_id", cat("custom_id: expected '", name, "' once"));
      if (f.string("method").value_or("POST") != "POST") throw wrong_field("method", "method: expected POST");
      if (const std::string url = f.string("url").value_or(""); url != endpoint)
        throw wrong_field("url", cat("url: expected ", endpoint, " as for the batch, found '", url.substr(0, 80), "'"));
      const json::object* body = f.object("body");
      if (!body) throw wrong_field("body", "body: expected an object, found none");
      for (const char* key : {"stream", "background", "keep"})
        if (const json::value* v = body->if_contains(key); v && v->is_bool() && v->get_bool())
          throw wrong_field(cat("body.", key), cat("body.", key, ": expected none in a batch"));
      const json::value* seed = body->if_contains("seed");
      out.push_back({name, to_json(*body), seed && !seed->is_null()});
    } catch (const ApiError& e) {
      throw ApiError(400, cat("line ", number, ": ", e.what()), e.type, e.param, std::to_string(number));
    } catch (const Error& e) {
      throw ApiError(400, cat("line ", number, ": ", e.what()), "invalid_request_error", {}, std::to_string(number));
    }
  }
  if (out.empty()) throw ApiError(400, "expected at least one request, found none");
  return out;
}

/// Where answers to lines meet the runner.
class BatchRunner::Results {
 public:
  struct One {
    size_t line;
    int status;
    std::string body, request_id;
  };
  void push(One one) {
    {
      const std::lock_guard lock(mutex_);
      queue_.push_back(std::move(one));
    }
    wake_.notify_one();
  }
  /// nullopt: none came within `time`.
  std::optional<One> pop(std::chrono::milliseconds time) {
    std::unique_lock lock(mutex_);
    if (!wake_.wait_for(lock, time, [this] { return !queue_.empty(); })) return std::nullopt;
    One one = std::move(queue_.front());
    queue_.pop_front();
    return one;
  }

 private:
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<One> queue_;
};

/// The client of one line.
class BatchRunner::LineResponder final : public Responder {
 public:
  LineResponder(std::shared_ptr<Results> results, size_t line, std::string request_id)
      : results_(std::move(results)), line_(line), request_id_(std::move(request_id)) {}
  ~LineResponder() override {
    if (!over_) results_->push({line_, 500, "{}", request_id_});
  }
  void send(int status, std::string_view, std::string body, HttpHeaders) override {
    {
      const std::lock_guard lock(mutex_);
      if (over_) return;
      over_ = true;
    }
    results_->push({line_, status, std::move(body), request_id_});
  }
  void begin(int, std::string_view, HttpHeaders) override {}
  void write(std::string) override {}
  void end() override {}
  void heartbeat(std::chrono::milliseconds, std::string) override {}
  void on_close(std::function<void()> gone) override {
    {
      const std::lock_guard lock(mutex_);
      if (!closed_) {
        gone_.push_back(std::move(gone));
        return;
      }
    }
    gone();
  }
  bool begun() const override { return false; }
  bool closed() const override {
    const std::lock_guard lock(mutex_);
    return closed_;
  }
  size_t queued_bytes() const override { return 0; }
  /// As a client that goes away.
  void close() {
    std::vector<std::function<void()>> gone;
    {
      const std::lock_guard lock(mutex_);
      closed_ = true;
      gone = std::exchange(gone_, {});
    }
    for (const auto& f : gone) f();
  }

 private:
  const std::shared_ptr<Results> results_;
  const size_t line_;
  const std::string request_id_;
  mutable std::mutex mutex_;
  bool over_ = false, closed_ = false;
  std::vector<std::function<void()>> gone_;
};

BatchRunner::BatchRunner(std::shared_ptr<BatchStore> batches, std::shared_ptr<FileStore> files, std::string lock_file,
                         Calls calls)
    : batches_(std::move(batches)),
      files_(std::move(files)),
      lock_file_(std::move(lock_file)),
      calls_(std::move(calls)),
      thread_([this](const std::stop_token& stop) { work(stop); }) {}

BatchRunner::~BatchRunner() {
  thread_.request_stop();
  if (thread_.joinable()) thread_.join();
  if (lock_fd_ >= 0) ::close(lock_fd_);
}

void BatchRunner::wake() {
  {
    const std::lock_guard lock(mutex_);
    woken_ = true;
  }
  wake_.notify_all();
}

void BatchRunner::rest(const std::stop_token& stop, std::chrono::milliseconds time) {
  std::unique_lock lock(mutex_);
  wake_.wait_for(lock, stop, time, [this] { return woken_; });
  woken_ = false;
}

/// Waits for the other server that works with this store. False: stopped.
bool BatchRunner::take_lock(const std::stop_token& stop) {
  if (lock_file_.empty()) return true;
  lock_fd_ = ::open(lock_file_.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
  while (!stop.stop_requested()) {
    if (lock_fd_ >= 0 && ::flock(lock_fd_, LOCK_EX | LOCK_NB) == 0) return true;
    rest(stop, kBusy);
  }
  return false;
}

void BatchRunner::work(const std::stop_token& stop) {
  if (!take_lock(stop)) return;
  while (!stop.stop_requested()) {
    try {
      files_->expire(std::time(nullptr));
      std::optional<json::object> batch = paused_ ? std::nullopt : batches_->next();
      if (batch)
        one_batch(std::move(*batch), stop);
      else
        rest(stop, kIdle);
    } catch (const std::exception&) {
      rest(stop, kIdle);  // the disk is full, or another program holds the store: later
    }
  }
}

void BatchRunner::one_batch(json::object batch, const std::stop_token& stop) {
  if (text(batch, "status") == "finalizing") return finalize(std::move(batch));
  std::vector<BatchLine> lines;
  if (!validate(batch, lines)) return;
  if (text(batch, "status") != "cancelling" && !run_lines(batch, lines, stop)) return;
  const std::string id = text(batch, "id");
  const std::optional<json::object> now = batches_->find(id);
  if (!now) return;
  finalize(*now);
}

/// False: it has failed, and its client can see why.
bool BatchRunner::validate(json::object& batch, std::vector<BatchLine>& lines) {
  const std::optional<std::string> input = files_->content(text(batch, "input_file_id"));
  try {
    if (!input) throw ApiError(400, "the input file is not there any more");
    lines = read_batch_lines(*input, text(batch, "endpoint"));
  } catch (const ApiError& e) {
    batch["status"] = "failed";
    batch["failed_at"] = std::time(nullptr);
    json::object error{{"code", "invalid_request"}, {"message", e.what()}, {"param", nullptr}, {"line", nullptr}};
    if (e.param) error["param"] = *e.param;
    if (e.code) error["line"] = std::stoll(*e.code);
    batch["errors"] = error_list(std::move(error));
    batches_->finish(batch);
    return false;
  }
  if (text(batch, "status") == "validating") {
    batch["status"] = "in_progress";
    batch["in_progress_at"] = std::time(nullptr);
    batch["request_counts"] = json::object{{"total", lines.size()}, {"completed", 0}, {"failed", 0}};
    if (!batches_->begin(batch)) batch["status"] = "cancelling";
  }
  return true;
}

std::shared_ptr<BatchRunner::LineResponder> BatchRunner::ask(const std::string& batch, const std::string& endpoint,
                                                             const BatchLine& line, size_t number,
                                                             const std::shared_ptr<Results>& results) {
  json::object body = std::move(parse_json(line.body, "the request").as_object());
  if (endpoint != kNoText) {
    body["priority"] = 1000;
    if (!line.has_seed) body["seed"] = batch_seed(batch, number);
  }
  const std::string id = "batch_req_" + calls_.random_id();
  auto responder = std::make_shared<LineResponder>(results, number, id);
  calls_.answer({"POST", endpoint, "", {{"Content-Type", "application/json"}}, to_json(body), id, "batch"}, responder);
  return responder;
}

/// False: stopped before the end.
bool BatchRunner::run_lines(const json::object& batch, const std::vector<BatchLine>& lines,
                            const std::stop_token& stop) {
  const std::string id = text(batch, "id"), endpoint = text(batch, "endpoint");
  const std::set<size_t> done = batches_->lines(id);
  uint64_t bytes = batches_->line_bytes(id);
  std::deque<size_t> waiting;
  for (size_t i = 0; i < lines.size(); ++i)
    if (!done.contains(i)) waiting.push_back(i);
  const auto results = std::make_shared<Results>();
  std::map<size_t, std::shared_ptr<LineResponder>> running;
  std::map<size_t, int> tries;
  const auto write = [&](size_t line, int status, const std::string& body, const std::string& request_id) {
    json::object out{{"id", request_id}, {"custom_id", lines[line].custom_id}};
    out["response"] = json::object{{"status_code", status}, {"request_id", request_id}, {"body", parsed_or_text(body)}};
    out["error"] = nullptr;
    if (!lines[line].has_seed && endpoint != kNoText) out["seed"] = batch_seed(id, line);
    const std::string written = to_json(out);
    bytes += written.size();
    batches_->put_line(id, line, status != 200, written);
  };
  const auto leave = [&] {
    for (const auto& [line, responder] : running) responder->close();
  };
  try {
    while (!waiting.empty() || !running.empty()) {
      if (stop.stop_requested()) return leave(), false;
      if (paused_ && running.empty()) return false;
      if (batches_->status(id) != "in_progress") return leave(), true;
      while (!paused_ && !waiting.empty() && running.size() < kWindow && calls_.room(running.size())) {
        const size_t line = waiting.front();
        waiting.pop_front();
        if (bytes > kMostResultBytes) {
          const ApiError error(400, cat("the batch's results have more than ", kMostResultBytes, " bytes already"));
          write(line, error.status, to_json(json::object{{"error", {{"message", error.what()}}}}), "");
          continue;
        }
        running[line] = ask(id, endpoint, lines[line], line, results);
      }
      const std::optional<Results::One> result = results->pop(kLook);
      if (!result) continue;
      running.erase(result->line);
      // What finds no room comes again later; it never stands for an answer.
      if (result->status == 429 || (result->status == 503 && ++tries[result->line] < kTries)) {
        waiting.push_front(result->line);
        rest(stop, kBusy);
        continue;
      }
      write(result->line, result->status, result->body, result->request_id);
    }
  } catch (...) {
    leave();
    throw;
  }
  return true;
}

/// Writes the output files and the batch's end. Where they find no room the client is told so, and they are written
/// later: the results are kept, and other batches have their turn. Throws ResourceError then.
void BatchRunner::finalize(json::object batch) {
  const std::string id = text(batch, "id");
  const int64_t now = std::time(nullptr);
  if (batch.at("finalizing_at").is_null()) batch["finalizing_at"] = now;
  try {
    for (const auto& [key, failed] : {std::pair("output_file_id", false), std::pair("error_file_id", true)}) {
      // A name of the batch's own: a server that ended just here does not leave two of them.
      const std::string file = cat("file-", id.substr(id.find('_') + 1), failed ? "-error" : "-output");
      std::string content = batches_->joined(id, failed);
      if (content.empty()) continue;
      if (!files_->find(file))
        files_->add({file, cat(id, failed ? "_error.jsonl" : "_output.jsonl"), "batch_output", now, 0, std::nullopt},
                    std::move(content));
      batch[key] = file;
    }
  } catch (const ResourceError& e) {
    batch["status"] = "finalizing";
    batch["errors"] = error_list({{"code", "no_room"}, {"message", e.what()}, {"param", nullptr}, {"line", nullptr}});
    batches_->put(batch);
    throw;
  }
  const bool cancelled = !batch.at("cancelling_at").is_null();
  batch["errors"] = nullptr;
  batch["status"] = cancelled ? "cancelled" : "completed";
  batch[cancelled ? "cancelled_at" : "completed_at"] = std::time(nullptr);
  batches_->finish(batch);
}

}  // namespace fathom

#include "cli/run_batch.h"

#include <deque>
#include <memory>

#include "base/error.h"
#include "cli/answer_json.h"
#include "cli/interrupt.h"
#include "cli/output.h"

namespace fathom {
namespace {

constexpr size_t kWindow = 16;  // lines per parallel answer that may wait behind an unfinished one

/// One line: an answer in the making, or what is to be printed.
struct Job {
  std::unique_ptr<AnswerListener> listener;
  std::unique_ptr<Session> session;
  std::unique_ptr<AnswerRun> run;  // null: done, `out` is what is to be printed
  uint64_t seed = 0;
  json::value id;  // the request's own, given back
  json::object out;
};

class BatchRunner {
 public:
  BatchRunner(Engine& engine, std::istream& in, size_t parallel, const RequestReader& read)
      : engine_(engine), in_(in), parallel_(parallel), read_(read), scheduler_(engine) {}

  int run() {
    while (true) {
      while (!at_end_ && !interrupted() && active_ < parallel_ && jobs_.size() < kWindow * parallel_) take_line();
      if (active_ > 0) scheduler_.step();
      collect();
      if (active_ == 0 && (at_end_ || interrupted())) break;
    }
    return interrupted() ? 130 : status_;
  }

 private:
  void take_line() {
    const std::string what = cat("line ", ++number_);
    auto job = std::make_unique<Job>();
    try {
      const std::optional<std::string> line = read_line(in_, what);
      if (!line) {
        at_end_ = true;
        return;
      }
      start(*job, parse_json(*line, what));
    } catch (const Error& e) {
      fail(*job, e.what());
    }
    jobs_.push_back(std::move(job));
  }

  void start(Job& job, const json::value& line) {
    if (const json::object* request = line.if_object(); request && request->contains("id")) job.id = request->at("id");
    RunRequest request = read_(line);
    job.seed = request.options.sampling.seed;
    job.listener = std::make_unique<AnswerListener>();
    job.session = std::make_unique<Session>(engine_.pool());
    job.run = std::make_unique<AnswerRun>(engine_, *job.session, request.prompt, request.options, *job.listener,
                                          &interrupted());
    scheduler_.add(*job.run);
    ++active_;
  }

  void fail(Job& job, const std::string& why) {
    job.out = {{"error", why}};
    status_ = 1;
  }

  /// Takes what is done, and prints what is next in order.
  void collect() {
    for (const auto& job : jobs_) {
      if (!job->run || !job->run->done()) continue;
      try {
        job->out = answer_json(job->run->take(), engine_.tokenizer(), job->seed);
      } catch (const Error& e) {
        fail(*job, e.what());
      }
      job->run.reset();
      job->session.reset();  // its pages go back to the pool now
      --active_;
    }
    for (; !jobs_.empty() && !jobs_.front()->run; jobs_.pop_front()) {
      Job& job = *jobs_.front();
      if (!job.id.is_null()) job.out["id"] = job.id;
      print_out(to_json(job.out) + "\n");
    }
  }

  Engine& engine_;
  std::istream& in_;
  size_t parallel_;
  const RequestReader& read_;
  Scheduler scheduler_;
  std::deque<std::unique_ptr<Job>> jobs_;  // in the order of the lines
  size_t active_ = 0, number_ = 0;
  bool at_end_ = false;
  int status_ = 0;
};

}  // namespace

int run_batch(Engine& engine, std::istream& in, size_t parallel, const RequestReader& read) {
  return BatchRunner(engine, in, parallel, read).run();
}

}  // namespace fathom

#include "server/api/reading.h"

#include <map>
#include <mutex>

#include "server/request_record.h"

namespace fathom {
namespace {

constexpr size_t kWindow = 64;

class Reading : public std::enable_shared_from_this<Reading> {
 public:
  Reading(ModelHost& host, std::shared_ptr<LoadedModel> model, Prompts prompts, AnswerOptions options,
          std::shared_ptr<Responder> responder, ReadingCalls calls, ModelMetrics& metrics, Operation operation,
          std::shared_ptr<Workers> workers)
      : host_(host),
        model_(std::move(model)),
        prompts_(std::move(prompts)),
        options_(std::move(options)),
        responder_(std::move(responder)),
        calls_(std::move(calls)),
        metrics_(metrics),
        operation_(operation),
        workers_(std::move(workers)),
        places_(host.reserve(1)) {}

  void start() {
    try {
      submit_more();
    } catch (...) {
      const std::lock_guard lock(mutex_);
      end();
      throw;
    }
  }
  void cancel() {
    const std::lock_guard lock(mutex_);
    end();
  }

 private:
  /// One prompt's ear.
  class Ear final : public GenerationListener {
   public:
    Ear(std::shared_ptr<Reading> reading, size_t index)
        : reading_(std::move(reading)), index_(index), meter_(reading_->metrics_, reading_->operation_) {}
    void on_done(Answer answer) override {
      meter_.done(answer);
      reading_->done(index_, answer);
    }
    void on_failed(std::exception_ptr error) override {
      meter_.failed();
      reading_->failed(std::move(error));
    }

   private:
    std::shared_ptr<Reading> reading_;
    size_t index_;
    AnswerMeter meter_;
  };

  /// One is always in line with the reading's own place; others only where nobody else wants theirs. Prompts are made
  /// without the lock, for that takes time.
  void submit_more() {
    std::unique_lock lock(mutex_);
    while (!over_ && running_.size() < kWindow && next_ < prompts_.count) {
      Places places = running_.empty() ? places_ : host_.try_reserve(1);
      if (!places) break;
      const size_t index = next_;
      lock.unlock();
      Prompt prompt = prompts_.make(index);
      lock.lock();
      if (over_) break;
      running_[index] = host_.submit(model_, std::move(prompt), options_,
                                     std::make_shared<Ear>(shared_from_this(), index), {}, std::move(places));
      ++next_;
    }
    making_ = false;
    finish_if_all_is_read();
  }
  /// Under the lock. Only one makes prompts at a time.
  void have_more_submitted() {
    if (making_ || next_ == prompts_.count) return;
    making_ = true;
    workers_->post([self = shared_from_this()] {
      try {
        self->submit_more();
      } catch (...) {
        self->failed(std::current_exception());
      }
    });
  }
  void finish_if_all_is_read() {
    if (over_ || making_ || !running_.empty() || next_ != prompts_.count) return;
    end();
    calls_.done();
  }
  void done(size_t index, const Answer& answer) {
    const std::lock_guard lock(mutex_);
    running_.erase(index);
    record_answer(*responder_, model_->name(), answer);
    if (over_) return;
    try {
      if (answer.embedding.empty() && answer.scores.empty())
        throw ResourceError("the cache has no room for a text of this length; serve with a larger --ctx");
      calls_.each(index, answer);
      have_more_submitted();
      finish_if_all_is_read();
    } catch (...) {
      fail(std::current_exception());
    }
  }
  void failed(std::exception_ptr error) {
    const std::lock_guard lock(mutex_);
    if (!over_) fail(std::move(error));
  }
  void fail(std::exception_ptr error) {
    end();
    calls_.failed(api_error(std::move(error)));
  }
  void end() {
    over_ = true;
    places_.reset();
    for (const auto& [index, generation] : running_) generation->cancel();
  }

  ModelHost& host_;
  const std::shared_ptr<LoadedModel> model_;
  const Prompts prompts_;
  const AnswerOptions options_;
  const std::shared_ptr<Responder> responder_;
  const ReadingCalls calls_;
  ModelMetrics& metrics_;
  const Operation operation_;
  const std::shared_ptr<Workers> workers_;
  std::mutex mutex_;  // of what follows
  std::map<size_t, std::shared_ptr<Generation>> running_;
  size_t next_ = 0;
  bool making_ = true;  // somebody is in submit_more; start() is the first
  bool over_ = false;
  Places places_;
};

}  // namespace

void read_prompts(ModelHost& host, std::shared_ptr<LoadedModel> model, Prompts prompts, AnswerOptions options,
                  Operation operation, const GenerateDefaults& defaults, const std::shared_ptr<Responder>& responder,
                  ReadingCalls calls) {
  ModelMetrics& metrics = defaults.metrics->of(model->name());
  const auto reading = std::make_shared<Reading>(host, std::move(model), std::move(prompts), std::move(options),
                                                 responder, std::move(calls), metrics, operation, defaults.workers);
  reading->start();
  responder->heartbeat(defaults.heartbeat, "\n");
  responder->on_close([weak = std::weak_ptr<Reading>(reading)] {
    if (const auto gone = weak.lock()) gone->cancel();
  });
}

}  // namespace fathom

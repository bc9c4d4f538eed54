#include "server/app/model_pulls.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "server/api/error.h"
#include "server/api/generate.h"

namespace fathom {

void TransferSpeed::add(uint64_t done, Clock::time_point now) {
  if (!samples_.empty() && (done < samples_.back().done || now - samples_.back().at < kEach)) {
    if (done < samples_.back().done) samples_.clear();  // a file is begun anew
    return;
  }
  samples_.push_back({now, done});
  if (samples_.size() > kMost) samples_.pop_front();
}

double TransferSpeed::bytes_per_second() const {
  if (samples_.size() < 2) return 0;
  const std::chrono::duration<double> span = samples_.back().at - samples_.front().at;
  return static_cast<double>(samples_.back().done - samples_.front().done) / span.count();
}

json::object ModelPulls::shown(const Pull& pull) {
  constexpr std::array<const char*, 5> kStates = {"running", "choose", "done", "failed", "cancelled"};
  const bool runs = pull.state == State::kRunning;
  const double speed = runs ? pull.speed.bytes_per_second() : 0;
  json::array files;
  for (const GgufGroup& group : pull.files)
    files.push_back(json::object{{"file", group.name},
                                 {"name", short_name(group, pull.files)},
                                 {"size_bytes", group.size},
                                 {"parts", group.paths.size()}});
  json::object out{{"id", pull.id},
                   {"repository", pull.name.repository()},
                   {"file", pull.name.file},
                   {"state", kStates[static_cast<size_t>(pull.state)]},
                   {"done_bytes", pull.done},
                   {"total_bytes", pull.total},
                   {"bytes_per_second", static_cast<uint64_t>(std::llround(speed))},
                   {"seconds_left", nullptr},
                   {"notices", json::array(pull.notices.begin(), pull.notices.end())},
                   {"error", pull.error.empty() ? json::value(nullptr) : json::value(pull.error)},
                   {"files", std::move(files)},
                   {"model", pull.model.empty() ? json::value(nullptr) : json::value(pull.model)}};
  if (speed >= 1 && pull.total > pull.done)
    out["seconds_left"] = static_cast<uint64_t>(std::ceil(static_cast<double>(pull.total - pull.done) / speed));
  return out;
}

ModelPulls::Begun ModelPulls::begin(const HubName& name) {
  std::list<std::unique_ptr<Pull>> old;  // joined without the lock
  json::object begun;
  {
    const std::lock_guard lock(mutex_);
    if (ends_) throw ApiError(503, "the server ends", "server_error", {}, "overloaded");
    size_t running = 0;
    for (const auto& pull : pulls_) {
      if (pull->state != State::kRunning) continue;
      ++running;
      if (pull->name.repository() == name.repository() && pull->name.file == name.file && !pull->cancel)
        return {shown(*pull), false};
    }
    if (running >= kMostRunning)
      throw ApiError(429,
                     cat("pulls: expected at most ", kMostRunning, " at a time; wait for one to end, or cancel one"),
                     "rate_limit_error", {}, "too_many_pulls");
    // One more of the same takes the place of those that are over.
    for (auto at = pulls_.begin(); at != pulls_.end();) {
      const auto here = at++;
      const Pull& p = **here;
      const bool same = p.name.repository() == name.repository() && (p.name.file.empty() || p.name.file == name.file);
      if (p.state != State::kRunning && same) old.splice(old.end(), pulls_, here);
    }
    for (auto at = pulls_.end(); pulls_.size() - running >= kMostKept && at != pulls_.begin();) {
      --at;
      if ((*at)->state == State::kRunning) continue;
      const auto here = at++;
      old.splice(old.end(), pulls_, here);
    }
    pulls_.push_front(std::make_unique<Pull>());
    Pull& pull = *pulls_.front();
    pull.id = random_id(), pull.name = name;
    begun = shown(pull);
    pull.thread = std::jthread([this, &pull] { run(pull); });
  }
  options_.on_change();
  return {std::move(begun), true};
}

json::array ModelPulls::list() const {
  json::array out;
  const std::lock_guard lock(mutex_);
  for (const auto& pull : pulls_) out.push_back(shown(*pull));
  return out;
}

void ModelPulls::remove(const std::string& id) {
  std::list<std::unique_ptr<Pull>> old;  // joined without the lock
  {
    const std::lock_guard lock(mutex_);
    const auto found = std::ranges::find(pulls_, id, [](const auto& pull) { return pull->id; });
    if (found == pulls_.end()) throw not_found(cat("no pull has the id '", id.substr(0, 100), "'"), "pull_not_found");
    (*found)->cancel = true;
    if ((*found)->state == State::kRunning) return;  // it ends by itself, and says so
    old.splice(old.end(), pulls_, found);
  }
  old.clear();
  options_.on_change();
}

bool ModelPulls::runs(const std::string& repository) const {
  const std::lock_guard lock(mutex_);
  return std::ranges::any_of(pulls_, [&](const auto& pull) {
    return pull->state == State::kRunning && pull->name.repository() == repository;
  });
}

void ModelPulls::stop() {
  std::list<std::unique_ptr<Pull>> all;
  {
    const std::lock_guard lock(mutex_);
    ends_ = true;
    for (const auto& pull : pulls_) pull->cancel = true;
    all.swap(pulls_);
  }
}

/// The thread of one.
void ModelPulls::run(Pull& pull) {
  try {
    PullOptions options = options_.pull();
    options.download.notice = [&](const std::string& text) {
      const std::lock_guard lock(mutex_);
      if (pull.notices.size() == kMostNotices) pull.notices.erase(pull.notices.begin());
      pull.notices.push_back(text);
    };
    options.download.progress = [&](uint64_t done, uint64_t total) {
      if (pull.cancel) throw Interrupted();
      note(pull, done, total);
    };
    const PullResult result = fathom::pull(options_.models_folder, pull.name, options);
    std::string model = options_.on_pulled(result);
    {
      const std::lock_guard lock(mutex_);
      pull.model = std::move(model);
      pull.done = pull.total = result.chosen_bytes;
    }
    end(pull, State::kDone, "");
  } catch (const Interrupted&) {
    end(pull, State::kCancelled, "");
  } catch (const ChoiceNeeded& e) {
    {
      const std::lock_guard lock(mutex_);
      pull.files = e.groups;
    }
    end(pull, State::kChoose, "");
  } catch (const std::exception& e) {
    end(pull, State::kFailed, e.what());
  }
}

void ModelPulls::note(Pull& pull, uint64_t done, uint64_t total) {
  if (!total) return;  // it asks, or waits
  const std::lock_guard lock(mutex_);
  pull.done = done, pull.total = total;
  pull.speed.add(done, TransferSpeed::Clock::now());
}

void ModelPulls::end(Pull& pull, State state, const std::string& error) {
  {
    const std::lock_guard lock(mutex_);
    pull.state = state;
    pull.error = error;
  }
  options_.on_change();
}

}  // namespace fathom

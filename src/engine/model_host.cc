#include "engine/model_host.h"

#include <algorithm>
#include <set>

namespace fathom {

ModelHost::ModelHost(std::vector<HostedModel> models, Options options)
    : models_(std::move(models)), options_(std::move(options)), slots_(models_.size()) {
  std::set<std::string_view> names;
  for (const HostedModel& m : models_)
    if (!names.insert(m.name).second)
      throw UsageError(cat("models: expected different names, found '", m.name, "' twice"));
  thread_ = std::jthread([this] { compute(); });
}

ModelHost::~ModelHost() {
  {
    const std::lock_guard lock(inbox_mutex_);
    ends_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

size_t ModelHost::index_of(std::string_view name) const {
  const auto found = std::ranges::find(models_, name, &HostedModel::name);
  if (found == models_.end()) throw Error(cat("model: expected one of those served, found '", name, "'"));
  return static_cast<size_t>(found - models_.begin());
}

std::shared_ptr<LoadedModel> ModelHost::loaded(std::string_view name) const {
  const size_t index = index_of(name);
  const std::lock_guard lock(mutex_);
  return slots_[index].model;
}

std::shared_ptr<LoadedModel> ModelHost::acquire(std::string_view name) {
  const size_t index = index_of(name);
  const auto in_memory = [&] {
    const std::lock_guard lock(mutex_);
    slots_[index].last_used = ++clock_;
    return slots_[index].model;
  };
  if (auto model = in_memory()) return model;
  const std::lock_guard one(loading_);
  if (auto model = in_memory()) return model;  // somebody else has loaded it meanwhile
  std::shared_ptr<LoadedModel> model = load(index);
  const std::lock_guard lock(mutex_);
  slots_[index].model = model;
  return model;
}

std::shared_ptr<LoadedModel> ModelHost::reload(std::string_view name) {
  const size_t index = index_of(name);
  const std::unique_lock one(loading_, std::try_to_lock);
  if (!one) return nullptr;
  std::shared_ptr<LoadedModel> model = load(index);
  std::shared_ptr<LoadedModel> old = model;  // freed without the lock
  const std::lock_guard lock(mutex_);
  slots_[index].last_used = ++clock_;
  old.swap(slots_[index].model);
  return model;
}

/// Options to load a model with beside those that are there.
EngineOptions ModelHost::options_now(size_t index) {
  EngineOptions options = models_[index].options;
  std::vector<std::shared_ptr<LoadedModel>> living;  // freed without the lock
  const std::lock_guard lock(mutex_);
  std::erase_if(living_, [&](const std::weak_ptr<LoadedModel>& weak) {
    std::shared_ptr<LoadedModel> model = weak.lock();
    if (model) living.push_back(std::move(model));
    return weak.expired();
  });
  for (const auto& model : living)  // what their pools may still take
    options.promised_bytes +=
        model->engine().pool_bytes() - model->stats_.used_pages * model->engine().kv_layout().page_bytes;
  return options;
}

std::shared_ptr<LoadedModel> ModelHost::load(size_t index) {
  const HostedModel& m = models_[index];
  while (true) {
    try {
      std::unique_ptr<Engine> engine = Engine::load(m.path, options_now(index));
      if (!m.chat_template.empty()) engine->set_chat_template(m.chat_template);
      auto model = std::make_shared<LoadedModel>(m.name, std::move(engine));
      if (options_.on_loaded) options_.on_loaded(*model);
      const std::lock_guard lock(mutex_);
      living_.push_back(model);
      return model;
    } catch (const ResourceError&) {
      if (!unload_one(index)) throw;
    }
  }
}

/// The least recently used of those that nobody holds, `rather_not` only where it is the last. False: there is none.
bool ModelHost::unload_one(size_t rather_not) {
  std::shared_ptr<LoadedModel> gone;  // freed without the lock
  const std::lock_guard lock(mutex_);
  const auto rank = [&](const Slot& s) { return std::pair(&s == &slots_[rather_not], s.last_used); };
  Slot* first = nullptr;
  for (Slot& s : slots_)
    if (s.model && s.model.use_count() == 1 && (!first || rank(s) < rank(*first))) first = &s;
  if (!first) return false;
  gone = std::move(first->model);
  if (options_.on_unloaded) options_.on_unloaded(gone->name());
  return true;
}

bool ModelHost::unload(std::string_view name) {
  const size_t index = index_of(name);
  std::shared_ptr<LoadedModel> gone;  // freed without the lock
  const std::lock_guard lock(mutex_);
  gone = std::move(slots_[index].model);
  if (gone && options_.on_unloaded) options_.on_unloaded(gone->name());
  return gone != nullptr;
}

Places ModelHost::try_reserve(size_t count) {
  size_t taken = places_taken_;
  do {
    if (count > options_.max_requests || taken > options_.max_requests - count) return nullptr;
  } while (!places_taken_.compare_exchange_weak(taken, taken + count));
  return Places(this, [this, count](const void*) { places_taken_ -= count; });
}

Places ModelHost::reserve(size_t count) {
  if (Places places = try_reserve(count)) return places;
  throw OverloadedError(cat("the server is busy: expected at most ", options_.max_requests, " requests, found ",
                            places_taken_.load(), " and ", count, " more"));
}

std::shared_ptr<Generation> ModelHost::submit(std::shared_ptr<LoadedModel> model, Prompt prompt, AnswerOptions options,
                                              std::shared_ptr<GenerationListener> listener, std::string salt,
                                              Places places) {
  if (!places) places = reserve(1);  // before anything is made for it
  // Every page that is kept holds it, and every page's key hashes it.
  constexpr size_t kMostSalt = 256;
  if (salt.size() > kMostSalt)
    throw Error(cat("cache_salt: expected at most ", kMostSalt, " bytes, found ", salt.size()));
  options.sampling.validate();
  auto generation = std::make_shared<Generation>();
  generation->model_ = std::move(model);
  generation->prompt_ = std::move(prompt);
  generation->options_ = std::move(options);
  generation->listener_ = std::move(listener);
  generation->salt_ = std::move(salt);
  generation->places_ = std::move(places);
  // Made here, for what is wrong with the options is the caller's to hear; pages come into it on the compute thread.
  Generation& g = *generation;
  g.session_.emplace(g.model_->engine_->pool(), g.salt_);
  g.run_.emplace(*g.model_->engine_, *g.session_, g.prompt_, g.options_, *g.listener_, &g.cancel_);
  {
    const std::lock_guard lock(inbox_mutex_);
    if (ends_) throw ResourceError("the server ends");
    inbox_.push_back(generation);
    ++unfinished_;
  }
  wake_.notify_one();
  return generation;
}

void ModelHost::wait_until_idle() {
  std::unique_lock lock(inbox_mutex_);
  idle_.wait(lock, [this] { return unfinished_ == 0; });
}

/// Pages and places go back before anybody hears of the end.
void ModelHost::let_go(Generation& generation) {
  generation.run_.reset(), generation.session_.reset();
  generation.places_.reset();
}

/// Whoever still holds the generation, to cancel it, does not keep the model for it.
void ModelHost::finished(Generation& generation) {
  generation.model_.reset();
  generation.listener_.reset();
  const std::lock_guard lock(inbox_mutex_);
  if (--unfinished_ == 0) idle_.notify_all();
}

void ModelHost::compute() {
  while (true) {
    std::deque<std::shared_ptr<Generation>> arrived;
    {
      std::unique_lock lock(inbox_mutex_);
      if (busy_.empty()) wake_.wait(lock, [this] { return ends_ || !inbox_.empty(); });
      if (ends_) break;
      arrived.swap(inbox_);
    }
    for (const std::shared_ptr<Generation>& g : arrived) begin(g);
    for (const std::shared_ptr<LoadedModel>& model : busy_) step(*model);
    std::erase_if(busy_, [](const std::shared_ptr<LoadedModel>& model) { return model->active_.empty(); });
  }
  const auto ended = std::make_exception_ptr(ResourceError("the server ends"));
  for (const std::shared_ptr<LoadedModel>& model : busy_) fail_all(*model, ended);
  for (const std::shared_ptr<Generation>& g : inbox_) fail(*g, ended);
  busy_.clear();
}

void ModelHost::begin(const std::shared_ptr<Generation>& generation) {
  LoadedModel& model = *generation->model_;
  model.active_.push_back(generation);
  model.scheduler_.add(*generation->run_);
  if (std::ranges::find(busy_, generation->model_) == busy_.end()) busy_.push_back(generation->model_);
}

void ModelHost::step(LoadedModel& model) {
  for (const std::shared_ptr<Generation>& g : model.active_)
    if (g->hurry_.exchange(false)) g->run_->answer_now();
  try {
    model.scheduler_.step();
  } catch (...) {  // of the forward itself, such as memory: it belongs to nobody alone
    fail_all(model, std::current_exception());
  }
  collect(model);
  HostedModelStats& s = model.stats_;
  const SchedulerStats& done = model.scheduler_.stats();
  s.waiting = model.scheduler_.waiting();
  s.running = model.scheduler_.size() - s.waiting;
  s.used_pages = model.engine_->pool().used_pages();
  s.cached_pages = model.engine_->prefixes().pages();
  // Counting goes through all pages of the prefix cache.
  if (done.forwards % 8 == 0 || model.scheduler_.idle())
    s.held_pages = s.used_pages - std::min<size_t>(s.used_pages, model.engine_->prefixes().evictable());
  s.preemptions = done.preemptions;
  s.shared_positions = done.shared_positions;
}

void ModelHost::collect(LoadedModel& model) {
  for (auto at = model.active_.begin(); at != model.active_.end();) {
    Generation& g = **at;
    if (!g.run_->done()) {
      ++at;
      continue;
    }
    try {
      Answer answer = g.run_->take();
      let_go(g);
      g.listener_->on_done(std::move(answer));
      finished(g);
    } catch (...) {
      fail(g, std::current_exception());
    }
    at = model.active_.erase(at);
  }
}

void ModelHost::fail(Generation& generation, std::exception_ptr error) {
  let_go(generation);
  try {
    generation.listener_->on_failed(std::move(error));
  } catch (...) {  // nobody is left to be told
  }
  finished(generation);
}

void ModelHost::fail_all(LoadedModel& model, const std::exception_ptr& error) {
  model.scheduler_.clear();
  std::list<std::shared_ptr<Generation>> active;
  active.swap(model.active_);
  for (const std::shared_ptr<Generation>& g : active) fail(*g, error);
}

}  // namespace fathom

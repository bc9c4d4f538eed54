#include "engine/model_host.h"

#include <algorithm>

namespace fathom {

ModelHost::ModelHost(std::vector<HostedModel> models, Options options) : options_(std::move(options)) {
  check(!models.empty(), "a host without a model");
  for (HostedModel& m : models) {
    if (index_of(m.name)) throw UsageError(cat("models: expected different names, found '", m.name, "' twice"));
    slots_.push_back({std::make_shared<const HostedModel>(std::move(m))});
  }
  first_slots_ = slots_.size();
  for (const Slot& slot : slots_) {
    const HostedModel& m = *slot.hosted;
    const std::optional<size_t> base = index_of(m.base);
    if (!m.base.empty() && (!base || !slots_[*base].hosted->base.empty()))
      throw UsageError(cat("adapter ", m.name, ": expected a model to put it on, found '", m.base, "'"));
  }
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

/// Under mutex_.
std::optional<size_t> ModelHost::index_of(std::string_view name) const {
  for (size_t i = 0; i < slots_.size(); ++i)
    if (slots_[i].hosted && slots_[i].hosted->name == name) return i;
  return std::nullopt;
}

std::pair<size_t, std::shared_ptr<const HostedModel>> ModelHost::known(std::string_view name) const {
  const std::lock_guard lock(mutex_);
  if (const std::optional<size_t> index = index_of(name)) return {*index, slots_[*index].hosted};
  throw Error(cat("model: expected one of those served, found '", name, "'"));
}

/// Throws Error where it was removed meanwhile.
std::shared_ptr<const HostedModel> ModelHost::hosted(size_t index) const {
  const std::lock_guard lock(mutex_);
  if (slots_[index].hosted) return slots_[index].hosted;
  throw Error("model: expected one of those served, found one that was just removed");
}

std::vector<std::shared_ptr<const HostedModel>> ModelHost::models() const {
  std::vector<std::shared_ptr<const HostedModel>> out;
  const std::lock_guard lock(mutex_);
  for (const Slot& slot : slots_)
    if (slot.hosted) out.push_back(slot.hosted);
  return out;
}

std::shared_ptr<const HostedModel> ModelHost::find(std::string_view name) const {
  const std::lock_guard lock(mutex_);
  const std::optional<size_t> index = index_of(name);
  return index ? slots_[*index].hosted : nullptr;
}

bool ModelHost::is_fixed(std::string_view name) const {
  const std::lock_guard lock(mutex_);
  const std::optional<size_t> index = index_of(name);
  return index && *index < first_slots_;
}

bool ModelHost::add(HostedModel model) {
  check(model.base.empty(), "adapters are there from the beginning");
  {
    const std::lock_guard lock(mutex_);
    if (index_of(model.name)) return false;
    slots_.push_back({std::make_shared<const HostedModel>(std::move(model))});
  }
  tell();
  return true;
}

void ModelHost::remove(std::string_view name) {
  const auto [index, model] = known(name);
  if (index < first_slots_) throw Error(cat("model ", name, ": it was named when the server was started, and stays"));
  {
    const std::unique_lock one(loading_, std::try_to_lock);
    if (!one) throw ModelInUseError(cat("model ", name, ": a model is being loaded; try again when that is over"));
    const std::lock_guard lock(mutex_);
    if (slots_[index].model) throw ModelInUseError(cat("model ", name, ": it is in memory; unload it first"));
    slots_[index].hosted = nullptr;
  }
  tell();
}

void ModelHost::watch(std::function<void()> on_change) {
  const std::lock_guard lock(watch_mutex_);
  on_change_ = std::move(on_change);
}

/// Not under mutex_: who hears may ask.
void ModelHost::tell() {
  const std::lock_guard lock(watch_mutex_);
  if (on_change_) on_change_();
}

std::shared_ptr<LoadedModel> ModelHost::loaded(std::string_view name) const {
  const std::lock_guard lock(mutex_);
  const std::optional<size_t> index = index_of(name);
  return index ? slots_[*index].model : nullptr;
}

/// What is in memory of it, and that it was used; null: nothing.
std::shared_ptr<LoadedModel> ModelHost::found(size_t index) {
  const std::lock_guard lock(mutex_);
  slots_[index].last_used = ++clock_;
  return slots_[index].model;
}

std::shared_ptr<LoadedModel> ModelHost::acquire(std::string_view name) {
  const auto [index, wanted] = known(name);
  if (!wanted->base.empty()) return acquire_over(index);
  if (auto model = found(index)) return model;
  std::shared_ptr<LoadedModel> model;
  {
    const std::lock_guard one(loading_);
    if (auto there = found(index)) return there;  // somebody else has loaded it meanwhile
    model = load(index);
    const std::lock_guard lock(mutex_);
    slots_[index].model = model;
  }
  tell();
  return model;
}

std::shared_ptr<LoadedModel> ModelHost::acquire_over(size_t index) {
  const std::shared_ptr<LoadedModel> base = acquire(hosted(index)->base);
  const auto over_it = [&](const std::shared_ptr<LoadedModel>& model) {
    return model && model->shared_ == base->shared_;
  };
  if (auto model = found(index); over_it(model)) return model;
  std::shared_ptr<LoadedModel> model;
  {
    const std::lock_guard one(loading_);
    if (auto there = found(index); over_it(there)) return there;
    model = load_over(index, *base);
  }
  tell();
  return model;
}

/// The adapter; it is found from now on, unless its base was replaced meanwhile.
std::shared_ptr<LoadedModel> ModelHost::load_over(size_t index, const LoadedModel& base) {
  const std::shared_ptr<const HostedModel> m = hosted(index);
  auto model = std::make_shared<LoadedModel>(m->name, base.shared_, load_adapter(base.engine(), m->path, m->scale));
  if (options_.on_loaded) options_.on_loaded(*model);
  std::shared_ptr<LoadedModel> gone;  // freed without the lock
  const std::lock_guard lock(mutex_);
  const std::shared_ptr<LoadedModel>& now = slots_[*index_of(m->base)].model;  // one of the beginning
  if (now && now->shared_ == base.shared_) gone = std::exchange(slots_[index].model, model);
  return model;
}

std::shared_ptr<LoadedModel> ModelHost::reload(std::string_view name) {
  const auto [index, wanted] = known(name);
  const bool over = !wanted->base.empty();
  const std::shared_ptr<LoadedModel> base = over ? acquire(wanted->base) : nullptr;
  std::shared_ptr<LoadedModel> model;
  std::vector<std::shared_ptr<LoadedModel>> old;  // freed without the lock
  {
    const std::unique_lock one(loading_, std::try_to_lock);
    if (!one) return nullptr;
    model = over ? load_over(index, *base) : load(index);
    const std::lock_guard lock(mutex_);
    if (!over) old = take_out(index), slots_[index].model = model;
    slots_[index].last_used = ++clock_;
  }
  tell();
  return model;
}

/// Whether the slot holds that model, or an adapter over it. Under mutex_.
bool ModelHost::depends(size_t index, size_t on) const {
  return index == on ||
         (slots_[index].hosted && slots_[on].hosted && slots_[index].hosted->base == slots_[on].hosted->name);
}

/// Empties the slot of a model, and those of the adapters over it. Under mutex_.
std::vector<std::shared_ptr<LoadedModel>> ModelHost::take_out(size_t index) {
  std::vector<std::shared_ptr<LoadedModel>> out;
  for (size_t i = 0; i < slots_.size(); ++i)
    if (slots_[i].model && depends(i, index)) out.push_back(std::exchange(slots_[i].model, nullptr));
  return out;
}

/// Whether nobody holds the model in this slot, or an adapter over it. Under mutex_.
bool ModelHost::is_idle(size_t index) const {
  for (size_t i = 0; i < slots_.size(); ++i)
    if (slots_[i].model && depends(i, index) && slots_[i].model.use_count() != 1) return false;
  return slots_[index].model != nullptr;
}

/// Options to load a model with beside those that are there.
EngineOptions ModelHost::options_now(size_t index, EngineOptions options) {
  std::vector<std::shared_ptr<SharedEngine>> living;  // freed without the lock
  const std::lock_guard lock(mutex_);
  for (const std::weak_ptr<SharedEngine>& weak : living_)
    if (std::shared_ptr<SharedEngine> shared = weak.lock()) living.push_back(std::move(shared));
  living_.assign(living.begin(), living.end());
  for (const auto& shared : living)  // what their pools may still take
    options.promised_bytes +=
        shared->engine->pool_bytes() - shared->stats.used_pages * shared->engine->kv_layout().page_bytes;
  if (const auto& old = slots_[index].model) options.least_ctx = std::max(options.least_ctx, old->engine().info().ctx);
  return options;
}

std::shared_ptr<LoadedModel> ModelHost::load(size_t index) {
  const std::shared_ptr<const HostedModel> m = hosted(index);
  while (true) {
    try {
      std::unique_ptr<Engine> engine = Engine::load(m->path, options_now(index, m->options));
      if (!m->chat_template.empty()) engine->set_chat_template(m->chat_template);
      auto model = std::make_shared<LoadedModel>(m->name, std::make_shared<SharedEngine>(std::move(engine)));
      if (options_.on_loaded) options_.on_loaded(*model);
      const std::lock_guard lock(mutex_);
      living_.push_back(model->shared_);
      return model;
    } catch (const ResourceError&) {
      if (!unload_one(index)) throw;
    }
  }
}

/// The least recently used of those that nobody holds, with its adapters; `rather_not` only where it is the last.
/// False: there is none.
bool ModelHost::unload_one(size_t rather_not) {
  std::vector<std::shared_ptr<LoadedModel>> gone;  // freed without the lock
  {
    const std::lock_guard lock(mutex_);
    const auto rank = [&](size_t i) { return std::pair(i == rather_not, slots_[i].last_used); };
    std::optional<size_t> first;
    for (size_t i = 0; i < slots_.size(); ++i)
      if (slots_[i].hosted && slots_[i].hosted->base.empty() && is_idle(i) && (!first || rank(i) < rank(*first)))
        first = i;
    if (!first) return false;
    gone = take_out(*first);
    if (options_.on_unloaded) options_.on_unloaded(slots_[*first].hosted->name);
  }
  tell();
  return true;
}

bool ModelHost::unload(std::string_view name) {
  const size_t index = known(name).first;
  std::vector<std::shared_ptr<LoadedModel>> gone;  // freed without the lock
  {
    const std::lock_guard lock(mutex_);
    if (!slots_[index].model) return false;
    gone = take_out(index);
    if (options_.on_unloaded) options_.on_unloaded(std::string(name));
  }
  tell();
  return true;
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
  Engine& engine = *g.model_->shared_->engine;
  g.session_.emplace(engine.pool(), g.salt_, g.model_->adapter_.adapter);
  g.run_.emplace(engine, *g.session_, g.prompt_, g.options_, *g.listener_, &g.cancel_);
  {
    const std::lock_guard lock(inbox_mutex_);
    if (ends_) throw ResourceError("the server ends");
    inbox_.push_back(generation);
    ++unfinished_;
    ++g.model_->waiting_;
  }
  wake_.notify_one();
  return generation;
}

void ModelHost::wait_until_idle() {
  std::unique_lock lock(inbox_mutex_);
  idle_.wait(lock, [this] { return unfinished_ == 0; });
}

/// Of the end of one that is done; its place is free before. Its pages may be in use until the step is over, and go
/// back before the next.
void ModelHost::tell(Generation& generation) {
  generation.told_ = true;
  generation.places_.reset();
  try {
    generation.listener_->on_done(generation.run_->take());
  } catch (...) {
    try {
      generation.listener_->on_failed(std::current_exception());
    } catch (...) {  // nobody is left to be told
    }
  }
}

/// Whoever still holds the generation, to cancel it, does not keep the model for it.
void ModelHost::finished(Generation& generation) {
  generation.run_.reset(), generation.session_.reset();
  --(generation.begun_ ? generation.model_->begun_ : generation.model_->waiting_);
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
    for (const std::shared_ptr<SharedEngine>& shared : busy_) step(*shared);
    std::erase_if(busy_, [](const std::shared_ptr<SharedEngine>& shared) { return shared->active.empty(); });
  }
  const auto ended = std::make_exception_ptr(ResourceError("the server ends"));
  for (const std::shared_ptr<SharedEngine>& shared : busy_) fail_all(*shared, ended);
  for (const std::shared_ptr<Generation>& g : inbox_) fail(*g, ended);
  busy_.clear();
}

void ModelHost::begin(const std::shared_ptr<Generation>& generation) {
  LoadedModel& model = *generation->model_;
  --model.waiting_, ++model.begun_;
  generation->begun_ = true;
  model.shared_->active.push_back(generation);
  model.shared_->scheduler.add(*generation->run_);
  if (std::ranges::find(busy_, model.shared_) == busy_.end()) busy_.push_back(model.shared_);
}

void ModelHost::step(SharedEngine& shared) {
  for (const std::shared_ptr<Generation>& g : shared.active)
    if (g->hurry_.exchange(false)) g->run_->answer_now();
  try {
    shared.scheduler.step([&] {
      for (const std::shared_ptr<Generation>& g : shared.active)
        if (g->run_->done() && !g->told_) tell(*g);
    });
  } catch (...) {  // of the forward itself, such as memory: it belongs to nobody alone
    fail_all(shared, std::current_exception());
  }
  collect(shared);
  HostedModelStats& s = shared.stats;
  const SchedulerStats& done = shared.scheduler.stats();
  s.waiting = shared.scheduler.waiting();
  s.running = shared.scheduler.size() - s.waiting;
  s.used_pages = shared.engine->pool().used_pages();
  s.cached_pages = shared.engine->prefixes().pages();
  // Counting goes through all pages of the prefix cache.
  if (done.forwards % 8 == 0 || shared.scheduler.idle())
    s.held_pages = s.used_pages - std::min<size_t>(s.used_pages, shared.engine->prefixes().evictable());
  s.preemptions = done.preemptions;
  s.shared_positions = done.shared_positions;
}

void ModelHost::collect(SharedEngine& shared) {
  for (auto at = shared.active.begin(); at != shared.active.end();) {
    Generation& g = **at;
    if (!g.run_->done()) {
      ++at;
      continue;
    }
    if (!g.told_) tell(g);
    finished(g);
    at = shared.active.erase(at);
  }
}

void ModelHost::fail(Generation& generation, std::exception_ptr error) {
  generation.places_.reset();
  try {
    if (!generation.told_) generation.listener_->on_failed(std::move(error));
  } catch (...) {  // nobody is left to be told
  }
  finished(generation);
}

void ModelHost::fail_all(SharedEngine& shared, const std::exception_ptr& error) {
  shared.scheduler.clear();
  std::list<std::shared_ptr<Generation>> active;
  active.swap(shared.active);
  for (const std::shared_ptr<Generation>& g : active) fail(*g, error);
}

}  // namespace fathom

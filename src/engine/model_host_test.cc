// Many threads and one compute thread: what each asks for comes as if it were alone, whoever cancels, fails or is
// turned away beside it; and models that come and go under it.
#include "engine/model_host.h"

#include <future>

#include "engine/adapter_testing.h"
#include "engine/memory.h"
#include "tests/testing.h"

namespace fathom {
namespace {

HostedModel tiny(const std::string& name, size_t sequences = 2) {
  return {name,
          testing::golden_dir() / "gguf" / "qwen2.gguf",
          {.profile = Profile::kExact, .threads = 1, .ctx = 200, .sequences = sequences, .prefill_chunk = 32},
          ""};
}

AnswerOptions options(uint64_t seed, size_t max_tokens) {
  AnswerOptions o;
  o.sampling.temperature = 1, o.sampling.top_p = 1, o.sampling.seed = seed;
  o.max_tokens = max_tokens, o.ignore_eos = true, o.plain = true;
  return o;
}

class Ear final : public GenerationListener {
 public:
  explicit Ear(std::function<void(Ear&)> on_text = {}) : on_text_(std::move(on_text)) {}
  void on_answer(std::string_view text) override {
    text_ += text;
    if (on_text_) on_text_(*this);
  }
  void on_done(Answer answer) override { result_.set_value(std::move(answer)); }
  void on_failed(std::exception_ptr error) override { result_.set_exception(std::move(error)); }

  Answer wait() { return result_.get_future().get(); }

 private:
  std::string text_;
  std::function<void(Ear&)> on_text_;
  std::promise<Answer> result_;
};

std::vector<TokenId> prompt_ids(uint64_t seed, size_t n) {
  std::mt19937_64 random(seed);
  std::vector<TokenId> ids(n);
  for (TokenId& id : ids) id = static_cast<TokenId>(random() % 300);
  return ids;
}

class ModelHosts : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(tiny("").path)) GTEST_SKIP() << "needs golden/gguf/qwen2.gguf";
  }
  static Answer ask(ModelHost& host, const std::string& model, uint64_t seed, size_t length, size_t max_tokens) {
    const auto ear = std::make_shared<Ear>();
    const std::shared_ptr<LoadedModel> loaded = host.acquire(model);
    host.submit(loaded, prepare_prompt(loaded->engine(), prompt_ids(seed % 3, length)), options(seed, max_tokens), ear);
    return ear->wait();
  }
};

TEST_F(ModelHosts, ThreadsGetWhatTheyGetAlone) {
  constexpr size_t kThreads = 6, kEach = 4;
  std::vector<std::vector<TokenId>> alone;
  {
    ModelHost host({tiny("a")}, {});
    for (size_t i = 0; i < kThreads * kEach; ++i) alone.push_back(ask(host, "a", i, 20 + i * 5, 8).ids);
  }
  ModelHost host({tiny("a")}, {});
  std::vector<std::vector<TokenId>> got(alone.size());
  {
    std::vector<std::jthread> threads;
    for (size_t t = 0; t < kThreads; ++t)
      threads.emplace_back([&, t] {
        for (size_t i = t * kEach; i < (t + 1) * kEach; ++i) got[i] = ask(host, "a", i, 20 + i * 5, 8).ids;
      });
  }
  EXPECT_EQ(got, alone);
  host.wait_until_idle();
  EXPECT_EQ(host.requests(), 0u);
  EXPECT_GT(host.acquire("a")->stats().shared_positions, 0u) << "some began alike";
}

TEST_F(ModelHosts, ACancelledAnswerEndsAndTheOtherDoesNot) {
  ModelHost host({tiny("a")}, {});
  const std::shared_ptr<LoadedModel> model = host.acquire("a");
  const std::vector<TokenId> alone = ask(host, "a", 7, 30, 60).ids;
  std::promise<std::shared_ptr<Generation>> to_cancel;
  const auto shared = to_cancel.get_future().share();
  bool cancelled = false;
  const auto first = std::make_shared<Ear>([&](Ear&) {
    if (!std::exchange(cancelled, true)) shared.get()->cancel();
  });
  to_cancel.set_value(host.submit(model, prepare_prompt(model->engine(), prompt_ids(1, 10)), options(1, 150), first));
  const auto second = std::make_shared<Ear>();
  host.submit(model, prepare_prompt(model->engine(), prompt_ids(7 % 3, 30)), options(7, 60), second);
  const Answer stopped = first->wait();
  EXPECT_EQ(stopped.finish_reason, FinishReason::kCancelled);
  EXPECT_LT(stopped.ids.size(), 150u);
  EXPECT_EQ(second->wait().ids, alone);
}

TEST_F(ModelHosts, AnErrorInOneReachesNoOther) {
  ModelHost host({tiny("a")}, {});
  const std::shared_ptr<LoadedModel> model = host.acquire("a");
  const std::vector<TokenId> alone = ask(host, "a", 5, 40, 30).ids;
  const auto bad = std::make_shared<Ear>([](Ear&) { throw Error("a listener that fails"); });
  const auto good = std::make_shared<Ear>();
  host.submit(model, prepare_prompt(model->engine(), prompt_ids(0, 10)), options(1, 40), bad);
  host.submit(model, prepare_prompt(model->engine(), prompt_ids(5 % 3, 40)), options(5, 30), good);
  EXPECT_THROW(bad->wait(), Error);
  EXPECT_EQ(good->wait().ids, alone);
  AnswerOptions wrong = options(1, 5);
  wrong.sampling.temperature = -1;
  EXPECT_THROW(host.submit(model, prepare_prompt(model->engine(), prompt_ids(0, 10)), wrong, good), Error);
  EXPECT_THROW(prepare_prompt(model->engine(), {5, 100000}), Error);
  EXPECT_THROW(prepare_prompt(model->engine(), std::vector<TokenId>(200, 1)), Error);
}

TEST_F(ModelHosts, TooManyAreTurnedAway) {
  ModelHost host({tiny("a")}, {.max_requests = 2});
  const std::shared_ptr<LoadedModel> model = host.acquire("a");
  std::promise<void> go;
  const auto wait = [&, until = go.get_future().share()](Ear&) { until.wait(); };
  const auto first = std::make_shared<Ear>(wait), second = std::make_shared<Ear>();
  const auto submit = [&](const std::shared_ptr<Ear>& ear) {
    return host.submit(model, prepare_prompt(model->engine(), prompt_ids(0, 10)), options(1, 5), ear);
  };
  EXPECT_THROW(host.reserve(3), OverloadedError);
  EXPECT_THROW(host.reserve(SIZE_MAX), OverloadedError);
  EXPECT_EQ(host.requests(), 0u) << "all or none";
  submit(first), submit(second);
  EXPECT_THROW(submit(std::make_shared<Ear>()), OverloadedError);
  EXPECT_EQ(host.try_reserve(1), nullptr);
  go.set_value();
  first->wait(), second->wait();
  host.wait_until_idle();
  const auto third = std::make_shared<Ear>();
  submit(third);
  EXPECT_EQ(third->wait().ids.size(), 5u);
}

TEST_F(ModelHosts, WhoHasHeardTheEndCanAskAgain) {
  ModelHost host({tiny("a")}, {.max_requests = 1});
  for (size_t i = 0; i < 200; ++i) ASSERT_EQ(ask(host, "a", i, 5, 1).ids.size(), 1u);
  const std::shared_ptr<LoadedModel> model = host.acquire("a");
  for (size_t i = 0; i < 20; ++i) {  // after a failure too
    const auto bad = std::make_shared<Ear>([](Ear&) { throw Error("a listener that fails"); });
    host.submit(model, prepare_prompt(model->engine(), prompt_ids(i, 5)), options(i, 40), bad);
    ASSERT_THROW(bad->wait(), Error);
  }
}

TEST_F(ModelHosts, AnAnswerKeepsItsModelThoughItIsUnloaded) {
  ModelHost host({tiny("a"), tiny("b")}, {});
  EXPECT_EQ(host.loaded("a"), nullptr);
  EXPECT_FALSE(host.unload("a")) << "not in memory";
  EXPECT_THROW(host.acquire("c"), Error);
  const std::vector<TokenId> alone = ask(host, "a", 1, 10, 5).ids;
  std::promise<void> go;
  const auto ear = std::make_shared<Ear>([&, until = go.get_future().share()](Ear&) { until.wait(); });
  std::weak_ptr<LoadedModel> watched;
  {
    const std::shared_ptr<LoadedModel> a = host.acquire("a");
    EXPECT_EQ(host.acquire("a"), a) << "loaded once";
    host.submit(a, prepare_prompt(a->engine(), prompt_ids(1, 10)), options(1, 5), ear);
    watched = a;
  }
  EXPECT_TRUE(host.unload("a"));
  EXPECT_EQ(host.loaded("a"), nullptr);
  EXPECT_FALSE(watched.expired()) << "an answer needs it";
  go.set_value();
  EXPECT_EQ(ear->wait().ids, alone);
  while (!watched.expired()) std::this_thread::yield();  // the compute thread lets go of it
  EXPECT_EQ(ask(host, "a", 1, 10, 5).ids, alone) << "loaded again";
  EXPECT_EQ(ask(host, "b", 1, 10, 5).ids, alone) << "the same file";
}

/// A model whose file is one of two, put in place by a rename as `pull` does.
class Reloads : public ModelHosts {
 protected:
  void SetUp() override {
    ModelHosts::SetUp();
    for (const char* name : kNames)
      if (!std::filesystem::exists(testing::golden_dir() / "gguf" / name)) GTEST_SKIP() << "needs golden/gguf/" << name;
    model_.path = folder_.path() / "model.gguf";
  }
  void put(bool second) const {
    const auto aside = folder_.path() / "aside";
    std::filesystem::copy_file(testing::golden_dir() / "gguf" / kNames[second], aside);
    std::filesystem::permissions(aside, std::filesystem::perms::owner_all);
    std::filesystem::rename(aside, model_.path);
  }

  static constexpr const char* kNames[] = {"qwen2-wide.Q8_0.gguf", "qwen2-wide.Q4_K_M.gguf"};
  testing::TempDir folder_;
  HostedModel model_ = tiny("a");
};

TEST_F(Reloads, UnderAnswersThatComeAndGo) {
  constexpr size_t kThreads = 4, kEach = 12, kLength = 100;
  std::vector<std::vector<TokenId>> alone[2];
  for (const bool second : {false, true}) {
    put(second);
    ModelHost host({model_}, {});
    for (size_t i = 0; i < kEach; ++i) alone[second].push_back(ask(host, "a", i, kLength, 8).ids);
    ASSERT_TRUE(!second || alone[0] != alone[1]);
  }
  ModelHost host({model_}, {});
  host.acquire("a");
  std::atomic<size_t> answers = 0;
  size_t reloads = 0;
  {
    std::vector<std::jthread> threads;
    for (size_t t = 0; t < kThreads; ++t)
      threads.emplace_back([&, t] {
        for (size_t i = 0; i < kEach; ++i, ++answers) {
          if (t == 0 && i % 2) {  // one that is cancelled in between
            const std::shared_ptr<LoadedModel> model = host.acquire("a");
            host.submit(model, prepare_prompt(model->engine(), prompt_ids(9, 90)), options(i, 100),
                        std::make_shared<Ear>())
                ->cancel();
          }
          const std::vector<TokenId> ids = ask(host, "a", i, kLength, 8).ids;
          EXPECT_TRUE(ids == alone[0][i] || ids == alone[1][i]) << "answer " << i << " is neither of the two models'";
        }
      });
    for (; answers < kThreads * kEach; ++reloads) {
      put(reloads % 2 != 0);
      ASSERT_NE(host.reload("a"), nullptr);
    }
  }
  EXPECT_GT(reloads, 3u);
  host.wait_until_idle();
  for (const bool second : {true, false}) {
    put(second);
    host.reload("a");
    const Answer first = ask(host, "a", 3, kLength, 8), again = ask(host, "a", 3, kLength, 8);
    EXPECT_EQ(first.ids, alone[second][3]);
    EXPECT_EQ(first.stats.cached_tokens, 0u) << "no page of the old weights";
    EXPECT_EQ(again.ids, alone[second][3]);
    EXPECT_GT(again.stats.cached_tokens, 0u);
  }
}

TEST_F(Reloads, AFileThatCannotBeReadLeavesWhatIsThere) {
  put(false);
  ModelHost host({model_}, {});
  const std::shared_ptr<LoadedModel> before = host.acquire("a");
  std::filesystem::resize_file(model_.path, 1000);
  EXPECT_THROW(host.reload("a"), Error);
  EXPECT_EQ(host.loaded("a"), before);
  EXPECT_EQ(ask(host, "a", 1, 10, 5).ids.size(), 5u);
  put(true);
  EXPECT_NE(host.reload("a"), before);
}

TEST_F(Reloads, WhatDoesNotFitBesideTheOldIsRefusedWhileThatIsNeeded) {
  put(false);
  const uint64_t one = ModelHost({model_}, {}).acquire("a")->engine().pool_bytes() / model_.options.sequences;
  // Each promises most of the memory to its pool, and takes none of it.
  model_.options.sequences =
      static_cast<size_t>(0.7 * static_cast<double>(available_memory_bytes()) / static_cast<double>(one));
  ModelHost host({model_}, {});
  std::shared_ptr<LoadedModel> before = host.acquire("a");
  EXPECT_THROW(host.reload("a"), ResourceError);
  EXPECT_EQ(host.loaded("a"), before);
  // Who was put aside counts as long as it is there.
  host.unload("a");
  EXPECT_THROW(host.acquire("a"), ResourceError);
  before.reset();
  before = host.acquire("a");
  const std::weak_ptr<LoadedModel> watched = before;
  before.reset();
  EXPECT_NE(host.reload("a"), nullptr) << "nobody needed the old one";
  EXPECT_TRUE(watched.expired());
}

/// Two adapters over one model: "a", "a1" and "a2".
class Adapters : public ModelHosts {
 protected:
  void SetUp() override {
    ModelHosts::SetUp();
    if (IsSkipped()) return;
    const std::unique_ptr<Engine> engine = Engine::load(tiny("a").path, tiny("a").options);
    for (size_t i = 1; i < 3; ++i) testing::write_random_adapter(folder(i), engine->model(), i);
  }
  std::filesystem::path folder(size_t i) const { return folder_.path() / std::to_string(i); }
  std::vector<HostedModel> models() const {
    return {tiny("a"), {"a1", folder(1), {}, "", "a"}, {"a2", folder(2), {}, "", "a"}};
  }
  /// What the model says with the adapter as its only one; 0: without.
  std::vector<std::vector<TokenId>> alone(size_t adapter, size_t n) const {
    HostedModel model = tiny("alone");
    if (adapter) model.options.adapter = folder(adapter);
    ModelHost host({model}, {});
    std::vector<std::vector<TokenId>> out;
    for (size_t i = 0; i < n; ++i) out.push_back(ask(host, "alone", i, 100, 8).ids);
    return out;
  }
  testing::TempDir folder_;
};

TEST_F(Adapters, SayBesideEachOtherWhatEachSaysAlone) {
  constexpr size_t kEach = 6;
  const std::string names[] = {"a", "a1", "a2"};
  std::vector<std::vector<TokenId>> want[] = {alone(0, kEach), alone(1, kEach), alone(2, kEach)};
  EXPECT_NE(want[0], want[1]);
  EXPECT_NE(want[1], want[2]);
  ModelHost host(models(), {});
  for (const bool again : {false, true}) {
    std::vector<std::jthread> threads;
    for (size_t m = 0; m < 3; ++m)
      threads.emplace_back([&, m] {
        for (size_t i = 0; i < kEach; ++i)
          EXPECT_EQ(ask(host, names[m], i, 100, 8).ids, want[m][i]) << names[m] << again;
      });
    threads.clear();
    EXPECT_NE(host.reload("a"), nullptr);
  }
  EXPECT_EQ(&host.acquire("a")->engine(), &host.acquire("a2")->engine()) << "one engine";
  EXPECT_NE(host.acquire("a1")->numerics_id(), host.acquire("a2")->numerics_id());
}

TEST_F(Adapters, ShareNoPages) {
  ModelHost host(models(), {});
  for (const char* name : {"a", "a1", "a2"}) {
    EXPECT_EQ(ask(host, name, 1, 150, 4).stats.cached_tokens, 0u) << name;
    EXPECT_GT(ask(host, name, 1, 150, 4).stats.cached_tokens, 100u) << name << " shares its own";
  }
}

TEST_F(Adapters, ComeAndGoWithTheirModel) {
  ModelHost host(models(), {});
  const std::shared_ptr<LoadedModel> one = host.acquire("a1");
  EXPECT_NE(host.loaded("a"), nullptr);
  EXPECT_EQ(host.acquire("a1"), one) << "loaded once";
  EXPECT_NE(host.reload("a1"), one);
  EXPECT_EQ(&host.acquire("a1")->engine(), &one->engine()) << "of the same model";
  EXPECT_TRUE(host.unload("a1"));
  EXPECT_NE(host.loaded("a"), nullptr);
  host.acquire("a2");
  EXPECT_TRUE(host.unload("a"));
  EXPECT_EQ(host.loaded("a2"), nullptr);
  EXPECT_NE(&host.acquire("a1")->engine(), &one->engine());
  EXPECT_THROW(ModelHost({tiny("a"), {"b", folder(1), {}, "", "c"}}, {}), UsageError);
  ModelHost broken({tiny("a"), {"b", folder_.path(), {}, "", "a"}}, {});
  EXPECT_THROW(broken.acquire("b"), Error);
  EXPECT_EQ(ask(broken, "a", 1, 10, 5).ids.size(), 5u);
}

TEST_F(Adapters, ScaleWhatTheyAdd) {
  std::vector<HostedModel> list = models();
  list[1].scale = 0, list[2].scale = 0.5;
  ModelHost host(list, {});
  const auto none = alone(0, 3), whole = alone(2, 3);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(ask(host, "a1", i, 100, 8).ids, none[i]);
    EXPECT_NE(ask(host, "a2", i, 100, 8).ids, whole[i]);
  }
}

TEST_F(ModelHosts, ModelsComeAndGoWhileItRuns) {
  ModelHost host({tiny("a")}, {});
  std::atomic<int> told = 0;
  host.watch([&] { ++told; });
  const auto names = [&] {
    std::string out;
    for (const auto& m : host.models()) out += m->name;
    return out;
  };
  EXPECT_TRUE(host.add(tiny("b")));
  EXPECT_FALSE(host.add(tiny("b"))) << "the name is taken";
  EXPECT_FALSE(host.add(tiny("a")));
  EXPECT_EQ(names(), "ab");
  EXPECT_EQ(told, 1);
  EXPECT_TRUE(host.is_fixed("a"));
  EXPECT_FALSE(host.is_fixed("b"));
  const std::vector<TokenId> said = ask(host, "b", 1, 20, 8).ids;
  EXPECT_EQ(said, ask(host, "a", 1, 20, 8).ids);
  EXPECT_EQ(told, 3);
  EXPECT_THROW(host.remove("b"), ModelInUseError);
  EXPECT_THROW(host.remove("a"), Error) << "one of the beginning";
  EXPECT_THROW(host.remove("c"), Error);
  EXPECT_TRUE(host.unload("b"));
  host.remove("b");
  EXPECT_EQ(told, 5);
  EXPECT_EQ(names(), "a");
  EXPECT_EQ(host.find("b"), nullptr);
  EXPECT_EQ(host.loaded("b"), nullptr);
  EXPECT_THROW(host.acquire("b"), Error);
  EXPECT_TRUE(host.add(tiny("b"))) << "it may come back";
  EXPECT_EQ(ask(host, "b", 1, 20, 8).ids, said);
  host.watch(nullptr);
  EXPECT_TRUE(host.unload("b"));
  EXPECT_EQ(told, 7);
}

TEST_F(ModelHosts, AHostThatEndsTellsThoseThatWait) {
  const auto ear = std::make_shared<Ear>();
  {
    ModelHost host({tiny("a")}, {});
    const std::shared_ptr<LoadedModel> model = host.acquire("a");
    host.submit(model, prepare_prompt(model->engine(), prompt_ids(0, 10)), options(1, 180), ear);
  }
  try {
    const Answer a = ear->wait();
    EXPECT_EQ(a.ids.size(), 180u) << "it was quicker than the end";
  } catch (const ResourceError&) {
  }
}

}  // namespace
}  // namespace fathom

// An engine around a model in memory, beside one that was loaded from the same file.
#include "engine/engine.h"

#include "engine/scheduler.h"
#include "models/model.h"
#include "tests/testing.h"

namespace fathom {
namespace {

/// Keeps the first logits of a prompt.
class First final : public Running {
 public:
  First(Engine& engine, const std::vector<TokenId>& prompt) : session_(engine.pool()) { session_.set_tokens(prompt); }
  Session& session() override { return session_; }
  bool done() const override { return !logits.empty(); }
  void on_logits(std::span<const float> row) override { logits.assign(row.begin(), row.end()); }
  void on_pool_full() override { FAIL(); }

  std::vector<float> logits;

 private:
  Session session_;
};

std::vector<float> first_logits(Engine& engine) {
  First first(engine, {5, 17, 300, 2, 5});
  Scheduler scheduler(engine);
  scheduler.add(first);
  while (scheduler.step()) continue;
  return first.logits;
}

TEST(Engine, AroundAModelInMemoryComputesAsFromTheFile) {
  const std::filesystem::path models = testing::golden_dir() / "models";
  for (const char* name : {"qwen2", "v3"}) {
    if (!exists(models / name)) GTEST_SKIP() << "needs golden model " << name;
    const std::unique_ptr<Checkpoint> checkpoint = open_checkpoint(models / name);
    std::unique_ptr<const Model> model = load_model(*checkpoint);
    const Model* const address = model.get();
    const std::unique_ptr<Engine> around = Engine::from_model(std::move(model), nullptr, {.threads = 1, .ctx = 130});
    EXPECT_EQ(&around->model(), address) << "no copy is made";
    EXPECT_FALSE(around->has_tokenizer());
    EXPECT_EQ(around->info().ctx, 130u);
    EXPECT_EQ(around->pool().max_pages(), 3u);
    EXPECT_EQ(around->info().profile, Profile::kExact);
    EXPECT_EQ(around->info().cache_type, CacheType::kF32);
    const std::unique_ptr<Engine> loaded =
        Engine::load(models / name, {.profile = Profile::kExact, .threads = 1, .ctx = 130});
    const std::vector<float> want = first_logits(*loaded);
    EXPECT_EQ(first_logits(*around), want);
    around->publish(load_model(*checkpoint));
    EXPECT_NE(&around->model(), address);
    EXPECT_EQ(first_logits(*around), want);
  }
}

TEST(Engine, APublishedAdapterComputesAsFromItsFile) {
  const std::filesystem::path golden = testing::golden_dir(), adapter = golden / "lora" / "llama-tied";
  if (!exists(adapter)) GTEST_SKIP() << "needs golden adapter llama-tied";
  const std::unique_ptr<Checkpoint> checkpoint = open_checkpoint(golden / "models" / "llama-tied");
  const EngineOptions options{.profile = Profile::kExact, .threads = 1, .ctx = 130};
  EngineOptions adapted = options;
  adapted.adapter = adapter;
  const std::vector<float> plain = first_logits(*Engine::load(golden / "models" / "llama-tied", options)),
                           want = first_logits(*Engine::load(golden / "models" / "llama-tied", adapted));
  EXPECT_NE(want, plain);
  const std::shared_ptr<const Model> model = load_model(*checkpoint);
  const std::unique_ptr<Engine> engine = Engine::from_model(model, nullptr, options);
  EXPECT_EQ(first_logits(*engine), plain);
  engine->publish(model, std::make_shared<const Adapter>(make_adapter(read_peft_adapter(adapter), *model)));
  EXPECT_EQ(first_logits(*engine), want);
  engine->publish(model);
  EXPECT_EQ(first_logits(*engine), plain);
}

}  // namespace
}  // namespace fathom

// A load from the file of repacked weights computes what the first load computed; whatever is wrong with the file or
// its folder, the model loads, and a note says what happened.
#include "engine/load_weights.h"

#include <sys/resource.h>

#include <csignal>

#include "engine/identity.h"
#include "engine/scheduler.h"
#include "models/repack_file.h"
#include "tests/testing.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

/// The logits after a prompt.
class Prompt final : public Running {
 public:
  explicit Prompt(Engine& engine) : session_(engine.pool()) {
    session_.set_tokens(std::vector<TokenId>{5, 9, 1, 300, 7, 44, 2, 80});
    Scheduler scheduler(engine);
    scheduler.add(*this);
    while (!scheduler.idle()) scheduler.step();
  }
  Session& session() override { return session_; }
  bool done() const override { return !logits_.empty(); }
  void on_logits(std::span<const float> logits) override { logits_.assign(logits.begin(), logits.end()); }
  void on_pool_full() override { logits_.assign(1, 0); }
  const std::vector<float>& logits() const { return logits_; }

 private:
  Session session_;
  std::vector<float> logits_;
};

class LoadWeights : public ::testing::Test {
 protected:
  void SetUp() override {
    const fs::path golden = testing::golden_dir() / "gguf" / "v3.Q4_K_M.gguf";
    if (!fs::exists(golden)) GTEST_SKIP() << "needs golden/gguf";
    copy("v3.Q4_K_M.gguf");
    want_ = Prompt(*Engine::load(model_, {.threads = 1, .ctx = 64})).logits();
  }
  void copy(const char* golden) {
    fs::copy(testing::golden_dir() / "gguf" / golden, model_, fs::copy_options::overwrite_existing);
    fs::permissions(model_, fs::perms::owner_write, fs::perm_options::add);
  }
  /// Loads, expects the same bits, and returns what the engine says.
  EngineInfo load(const Kernels* kernels = nullptr) {
    EngineOptions options{.threads = 2, .ctx = 64, .kernels = kernels};
    options.identity_memory = dir_.path() / "ids.json";
    options.repack_folder = folder_;
    options.least_repacked_bytes = 1;
    const std::unique_ptr<Engine> engine = Engine::load(model_, options);
    const std::vector<float> got = Prompt(*engine).logits();
    EXPECT_EQ(got.size(), want_.size());
    EXPECT_EQ(0, std::memcmp(got.data(), want_.data(), want_.size() * sizeof(float)));
    EXPECT_EQ(engine->info().weights_id, weights_id(*open_checkpoint(model_)));
    return engine->info();
  }
  static bool says(const EngineInfo& info, const std::string& text) {
    return std::any_of(info.notes.begin(), info.notes.end(),
                       [&](const std::string& note) { return note.find(text) != std::string::npos; });
  }
  size_t files() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()));
  }

  testing::TempDir dir_;
  fs::path model_ = dir_.path() / "m.gguf", folder_ = dir_.path() / "cache" / "repack";
  std::vector<float> want_;
};

TEST_F(LoadWeights, TheSecondLoadReadsWhatTheFirstWrote) {
  const EngineInfo first = load();
  EXPECT_EQ(first.repacked, "");
  EXPECT_TRUE(says(first, "were written to"));
  const EngineInfo second = load();
  EXPECT_EQ(second.repacked, (folder_ / cat(first.weights_id, ".", first.kernels, ".v2")).string());
  EXPECT_TRUE(second.notes.empty());
  EXPECT_EQ(second.numerics_id, first.numerics_id);
  EXPECT_EQ(load(&ref_kernels()).repacked.empty(), &best_kernels() != &ref_kernels()) << "each table has its own";
}

TEST_F(LoadWeights, ADamagedFileIsMadeAnew) {
  const fs::path file = repack_path(folder_, {load().weights_id, best_kernels().name});
  const std::string whole = testing::read_file(file);
  const auto expect_made_anew = [&](const std::string& text) {
    std::ofstream(file, std::ios::binary) << text;
    const EngineInfo info = load();
    EXPECT_EQ(info.repacked, "");
    EXPECT_TRUE(says(info, "are not used, and made anew: "));
    EXPECT_EQ(testing::read_file(file), whole);
  };
  expect_made_anew(whole.substr(0, whole.size() / 2));
  expect_made_anew("");
  std::string flipped = whole;
  flipped[whole.size() - 5] = static_cast<char>(flipped[whole.size() - 5] ^ 4);
  expect_made_anew(flipped);
  EXPECT_EQ(load().repacked, file.string());
}

TEST_F(LoadWeights, AnotherModelUnderTheSameNameHasItsOwn) {
  load();
  load();
  copy("v3.Q8_0.gguf");
  fs::last_write_time(model_, fs::last_write_time(model_) + std::chrono::seconds(5));
  want_ = Prompt(*Engine::load(model_, {.threads = 1, .ctx = 64})).logits();
  EXPECT_EQ(load().repacked, "");
  EXPECT_NE(load().repacked, "");
  EXPECT_EQ(files(), 1u) << "the old one belongs to no model now";
}

TEST_F(LoadWeights, AFolderThatCannotBeWrittenIsANote) {
  std::ofstream(dir_.path() / "cache") << "a file where the folder should be";
  EXPECT_TRUE(says(load(), "were not written: "));
  EXPECT_TRUE(says(load(), "were not written: "));
}

/// Every write to a file beyond this limit fails as on a full disk.
TEST_F(LoadWeights, AFullDiskIsANote) {
  rlimit old{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &old), 0);
  const rlimit small{100'000, old.rlim_max};
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const EngineInfo info = load();
  setrlimit(RLIMIT_FSIZE, &old);
  std::signal(SIGXFSZ, handler);
  EXPECT_TRUE(says(info, "were not written: "));
  EXPECT_EQ(files(), 0u) << "nothing half written is left";
}

TEST_F(LoadWeights, AForgottenModelLeavesNothing) {
  load();
  EXPECT_EQ(forget_model(dir_.path() / "other.gguf", dir_.path() / "ids.json", folder_), 0u);
  EXPECT_EQ(files(), 1u);
  EXPECT_GT(forget_model(model_, dir_.path() / "ids.json", folder_), 0u);
  EXPECT_EQ(files(), 0u);
}

TEST(LoadedModels, NeedTheirFilesNoMore) {
  for (const char* name : {"gguf/v3.Q8_0.gguf", "gguf/qwen2.F16.gguf", "models/v3-fp8"}) {
    SCOPED_TRACE(name);
    const testing::TempDir dir;
    const fs::path model = dir.path() / fs::path(name).filename();
    if (!fs::exists(testing::golden_dir() / name)) GTEST_SKIP() << "needs golden/" << name;
    fs::copy(testing::golden_dir() / name, model, fs::copy_options::recursive);
    const std::unique_ptr<Engine> engine = Engine::load(model, {.threads = 1, .ctx = 64});
    const std::vector<float> want = Prompt(*engine).logits();
    const auto cut = [](const fs::path& file) {
      fs::permissions(file, fs::perms::owner_write, fs::perm_options::add);
      fs::resize_file(file, 0);
    };
    if (fs::is_directory(model)) {
      fs::permissions(model, fs::perms::owner_all);
      for (const auto& entry : fs::directory_iterator(model)) cut(entry.path());
    } else {
      cut(model);
    }
    EXPECT_EQ(Prompt(*engine).logits(), want);
  }
}

}  // namespace
}  // namespace fathom

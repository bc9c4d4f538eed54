#include "engine/imatrix.h"

#include <gtest/gtest.h>

#include <cmath>

#include "formats/gguf.h"
#include "tensor/dequantize.h"
#include "tests/testing.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;
using testing::golden_dir;

constexpr size_t kCtx = 48;

/// Arbitrary tokens of a golden model's vocabulary (384), never a BOS in front.
std::vector<TokenId> some_ids(size_t n) {
  std::vector<TokenId> ids;
  for (size_t i = 0; i < n; ++i) ids.push_back(static_cast<TokenId>(20 + i * i * 7 % 300));
  return ids;
}

ImportanceMatrix collect(const fs::path& model, size_t chunks, size_t prefill_chunk = 512, size_t threads = 2) {
  const std::unique_ptr<Engine> engine = Engine::load(
      model, {.profile = Profile::kExact, .threads = threads, .ctx = kCtx, .prefill_chunk = prefill_chunk});
  ImatrixRun run(*engine, some_ids(chunks * kCtx + 5), {.ctx = kCtx});
  EXPECT_EQ(run.chunks(), chunks);
  EXPECT_EQ(run.tokens_left_out(), 5u);
  run.run({});
  return run.matrix();
}

/// Every weight of the GGUF twin that quantisers look at has an entry of its size, and nothing else has one.
TEST(Imatrix, NamesAndSizesAreThoseOfTheGgufTwin) {
  for (const char* name : {"llama3", "llama-tied", "qwen2", "v2-lite", "v3"}) {
    SCOPED_TRACE(name);
    const ImportanceMatrix from_folder = collect(golden_dir() / "models" / name, 1);
    const fs::path twin = golden_dir() / "gguf" / cat(name, ".gguf");
    const ImportanceMatrix from_gguf = collect(twin, 1);
    const GgufFile file(twin);
    size_t expected = 0;
    for (const TensorInfo& t : file.tensors()) {
      const bool norm = t.name.find("_norm") != std::string::npos;
      if (!t.name.starts_with("blk.") || t.shape.rank() < 2 || norm) continue;
      ++expected;
      const size_t stack = t.shape.rank() == 3 ? t.shape[0] : 1;
      for (const ImportanceMatrix* m : {&from_folder, &from_gguf}) {
        ASSERT_TRUE(m->entries.count(t.name)) << t.name;
        EXPECT_EQ(m->entries.at(t.name).in_sum2.size(), t.shape.back() * stack) << t.name;
        EXPECT_EQ(m->entries.at(t.name).counts.size(), t.name.find("_exps") != std::string::npos ? stack : 1) << t.name;
      }
    }
    EXPECT_EQ(from_folder.entries.size(), expected);
    EXPECT_EQ(from_gguf.entries.size(), expected);
    // The same numbers from either file, also where the folder has kv_b in one piece.
    for (const auto& [tensor, entry] : from_gguf.entries) {
      const ImportanceEntry& other = from_folder.entries.at(tensor);
      EXPECT_EQ(entry.counts, other.counts) << tensor;
      for (size_t k = 0; k < entry.in_sum2.size(); ++k)
        ASSERT_NEAR(entry.in_sum2[k], other.in_sum2[k], 1e-4 * (other.in_sum2[k] + 1)) << tensor << " " << k;
    }
  }
}

/// The first layer's queries see the normalised embeddings: the formula, from the file's own tensors.
TEST(Imatrix, SumsAreThoseOfTheFormula) {
  const fs::path path = golden_dir() / "gguf" / "qwen2.gguf";
  const GgufFile file(path);
  const Tensor table = dequantize(file.tensor("token_embd.weight")), norm = file.tensor("blk.0.attn_norm.weight");
  const double eps = *file.metadata().number("qwen2.attention.layer_norm_rms_epsilon");
  const size_t D = norm.count();
  std::vector<double> want(D);
  for (const TokenId id : some_ids(2 * kCtx)) {
    const float* x = table.data<float>() + static_cast<size_t>(id) * D;
    double square = 0;
    for (size_t k = 0; k < D; ++k) square += static_cast<double>(x[k]) * x[k];
    for (size_t k = 0; k < D; ++k) {
      const double y = norm.data<float>()[k] * x[k] / std::sqrt(square / static_cast<double>(D) + eps);
      want[k] += y * y;
    }
  }
  const ImportanceMatrix m = collect(path, 2);
  for (const char* name : {"attn_q", "attn_k", "attn_v"}) {
    const ImportanceEntry& entry = m.entries.at(cat("blk.0.", name, ".weight"));
    EXPECT_EQ(entry.counts, std::vector<float>{2 * kCtx});
    for (size_t k = 0; k < D; ++k) ASSERT_NEAR(entry.in_sum2[k], want[k], 1e-5 * want[k] + 1e-9) << name << " " << k;
  }
  EXPECT_EQ(m.chunk_count, 2u);
  EXPECT_EQ(m.chunk_size, kCtx);
}

TEST(Imatrix, ExpertsAreCountedOneByOne) {
  const fs::path path = golden_dir() / "gguf" / "v3.gguf";
  const GgufFile file(path);
  const uint64_t used = *file.metadata().integer("deepseek2.expert_used_count");
  const ImportanceMatrix m = collect(path, 2);
  size_t stacks = 0;
  for (const auto& [name, entry] : m.entries) {
    double sum = 0;
    for (const float count : entry.counts) sum += count;
    const bool experts = name.find("_exps") != std::string::npos;
    EXPECT_EQ(sum, 2.0 * kCtx * static_cast<double>(experts ? used : 1)) << name;
    stacks += experts;
    const size_t columns = entry.in_sum2.size() / entry.counts.size();
    for (size_t e = 0; experts && e < entry.counts.size(); ++e)
      for (size_t k = 0; entry.counts[e] == 0 && k < columns; ++k) EXPECT_EQ(entry.in_sum2[e * columns + k], 0) << name;
  }
  EXPECT_GT(stacks, 0u);
  for (const auto& [name, entry] : m.entries)
    if (const size_t at = name.find("ffn_gate_exps"); at != std::string::npos) {
      std::string up = name;
      up.replace(at, 8, "ffn_up");
      EXPECT_EQ(entry.in_sum2, m.entries.at(up).in_sum2) << "gate and up see the same rows";
    }
}

TEST(Imatrix, ThreadsAndPrefillChunksChangeNothing) {
  const fs::path path = golden_dir() / "gguf" / "v3.gguf";
  const ImportanceMatrix one = collect(path, 1, 512, 1), three = collect(path, 1, 512, 3), pieces = collect(path, 1, 7);
  for (const auto& [name, entry] : one.entries) {
    EXPECT_EQ(entry.in_sum2, three.entries.at(name).in_sum2) << name;
    EXPECT_EQ(entry.counts, pieces.entries.at(name).counts) << name;
    for (size_t k = 0; k < entry.in_sum2.size(); ++k)  // the order of a sum in double is all that differs
      ASSERT_NEAR(entry.in_sum2[k], pieces.entries.at(name).in_sum2[k], 1e-6 * entry.in_sum2[k]) << name;
  }
}

TEST(Imatrix, TheOutputIsCollectedOnRequest) {
  const std::unique_ptr<Engine> engine =
      Engine::load(golden_dir() / "gguf" / "qwen2.gguf", {.profile = Profile::kExact, .threads = 1, .ctx = kCtx});
  const bool tied = !GgufFile(golden_dir() / "gguf" / "qwen2.gguf").has("output.weight");
  ImatrixRun run(*engine, some_ids(kCtx), {.ctx = kCtx, .output = true});
  run.run({});
  EXPECT_EQ(run.matrix().entries.count("output.weight"), tied ? 0u : 1u);
}

TEST(Imatrix, AStoppedRunHasItsWholeChunks) {
  const std::unique_ptr<Engine> engine =
      Engine::load(golden_dir() / "gguf" / "qwen2.gguf", {.profile = Profile::kExact, .threads = 1, .ctx = kCtx});
  ImatrixRun run(*engine, some_ids(4 * kCtx), {.ctx = kCtx, .chunks = 3});
  EXPECT_EQ(run.chunks(), 3u);
  EXPECT_THROW(run.run([](uint64_t done, uint64_t total) {
    EXPECT_EQ(total, 3 * kCtx);
    if (done == 2 * kCtx) throw Interrupted();
  }),
               Interrupted);
  const ImportanceMatrix m = run.matrix();
  EXPECT_EQ(m.chunk_count, 2u);
  EXPECT_EQ(m.entries.at("blk.0.attn_q.weight").counts, std::vector<float>{2 * kCtx});
  EXPECT_THROW(ImatrixRun(*engine, some_ids(kCtx - 1), {.ctx = kCtx}), Error);
}

}  // namespace
}  // namespace fathom

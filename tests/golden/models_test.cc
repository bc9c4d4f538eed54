// Parity (law 3) and batch invariance (law 2) of every model in $FATHOM_GOLDEN: folders of models/ and files of gguf/
// against the reference implementations' numbers. Another set of files of the same form is checked by the same tests.
#include <set>

#include "base/hash.h"
#include "base/json.h"
#include "engine/forced.h"
#include "formats/safetensors.h"
#include "tests/testing.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;
using Ids = std::vector<TokenId>;

constexpr double kTolerance = 1e-4;  // of the largest value: law 3's demand of profile exact

struct Case {
  std::string name;       // "models/v3", "gguf/v3.Q8_0.gguf"
  fs::path path;          // what to open
  fs::path golden;        // golden.safetensors of its model: input_ids and, for lossless files, everything else
  std::string reference;  // key in gguf/reference.safetensors, or empty: golden has the logits
};

std::vector<fs::path> sorted(const fs::path& dir) {
  std::vector<fs::path> out;
  if (fs::is_directory(dir))
    for (const auto& entry : fs::directory_iterator(dir)) out.push_back(entry.path());
  std::sort(out.begin(), out.end());
  return out;
}

/// models/<name> for "<name>.Q8_0", "<name>-mtp", "<name>-legacy.Q8_0".
std::optional<fs::path> model_of(const std::string& file) {
  std::string name = file.substr(0, file.find('.'));
  while (!name.empty()) {
    const fs::path golden = testing::golden_dir() / "models" / name / "golden.safetensors";
    if (fs::exists(golden)) return golden;
    const size_t dash = name.rfind('-');
    name = dash == std::string::npos ? "" : name.substr(0, dash);
  }
  return std::nullopt;
}

void add_gguf(std::vector<Case>& cases, const fs::path& path, const std::string& key) {
  const std::optional<fs::path> golden = model_of(key);
  if (!golden) {
    std::printf("%s: no model of that name in models/, left out\n", path.c_str());
    return;
  }
  const fs::path reference = testing::golden_dir() / "gguf" / "reference.safetensors";
  const bool own = fs::exists(reference) && SafetensorsFile(reference).has(key + ".logits");
  cases.push_back({"gguf/" + path.filename().string(), path, *golden, own ? key : ""});
}

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const fs::path& dir : sorted(testing::golden_dir() / "models"))
    if (fs::exists(dir / "golden.safetensors"))
      cases.push_back({"models/" + dir.filename().string(), dir, dir / "golden.safetensors", ""});
  for (const fs::path& file : sorted(testing::golden_dir() / "gguf"))
    if (file.extension() == ".gguf") add_gguf(cases, file, file.stem().string());
  for (const fs::path& file : sorted(testing::golden_dir() / "gguf" / "split"))
    if (const std::string name = file.filename().string(); name.find("-00001-of-") != std::string::npos)
      add_gguf(cases, file, name.substr(0, name.find("-00001-of-")));
  return cases;
}

std::vector<Ids> ids_of(const Tensor& t) {
  std::vector<Ids> out(t.dim(0));
  for (size_t b = 0; b < t.dim(0); ++b)
    for (size_t i = 0; i < t.dim(1); ++i) out[b].push_back(static_cast<TokenId>(t.data<int64_t>()[b * t.dim(1) + i]));
  return out;
}

std::unique_ptr<Engine> open(const Case& c, Profile profile, const Kernels* kernels = nullptr, size_t threads = 2,
                             std::optional<CacheType> cache = std::nullopt) {
  return Engine::load(
      c.path,
      {.profile = profile, .cache_type = cache, .threads = threads, .ctx = 128, .sequences = 12, .kernels = kernels});
}

/// Largest |got - want| / largest |want| of one sequence's rows.
double difference(const Tensor& got, const Tensor& want, size_t sequence) {
  const size_t n = got.count();
  const float *a = got.data<float>(), *b = want.data<float>() + sequence * n;
  double worst = 0, largest = 0;
  for (size_t i = 0; i < n; ++i) {
    worst = std::max(worst, std::abs(static_cast<double>(a[i]) - b[i]));
    largest = std::max(largest, std::abs(static_cast<double>(b[i])));
    if (std::isnan(a[i])) return INFINITY;
  }
  return worst / largest;
}

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && std::memcmp(a.bytes(), b.bytes(), a.size_bytes()) == 0;
}

/// The greedy continuation of `prompt`, one token a forward, end tokens not honoured.
Ids greedy(Engine& engine, const Ids& prompt, size_t n) {
  KvSequence kv(engine.pool());
  Context ctx = engine.context();
  Ids pending = prompt, out;
  while (out.size() < n) {
    check(kv.reserve(pending.size()), "the test's pool is large enough");
    std::vector<int32_t> positions;
    for (size_t i = 0; i < pending.size(); ++i) positions.push_back(static_cast<int32_t>(kv.length() + i));
    const SequenceRows rows{0, pending.size(), kv.length(), kv.pages()};
    const Tensor hidden =
        engine.model().forward(ctx, {from_ids(pending), {}, from_ids(positions), {&rows, 1}}, engine.kv_layout());
    const Tensor logits = engine.model().logits(ctx, hidden.slice(pending.size() - 1, 1));
    kv.advance(pending.size());
    const std::span<const float> row = logits.span<float>();
    out.push_back(static_cast<TokenId>(std::max_element(row.begin(), row.end()) - row.begin()));
    pending = {out.back()};
  }
  return out;
}

class Golden : public ::testing::TestWithParam<Case> {};
/// Folders and their lossless twins: for quantised files the reference has logits alone.
class GoldenLossless : public ::testing::TestWithParam<Case> {};

TEST_P(Golden, AgreesWithTheReference) {
  const Case& c = GetParam();
  const SafetensorsFile golden(c.golden);
  const std::unique_ptr<Engine> engine = open(c, Profile::kExact);
  const std::vector<Ids> ids = ids_of(golden.tensor("input_ids"));
  if (!c.reference.empty()) {
    const SafetensorsFile reference(testing::golden_dir() / "gguf" / "reference.safetensors");
    const double d =
        difference(forced_forward(*engine, {ids[0]})[0].logits, reference.tensor(c.reference + ".logits"), 0);
    std::printf("%-32s logits %.1e\n", c.name.c_str(), d);
    EXPECT_LE(d, kTolerance);
    return;
  }
  const std::vector<ForcedOutputs> got = forced_forward(*engine, ids, {.layers = true});
  std::map<std::string, double> worst;
  for (size_t b = 0; b < ids.size(); ++b) {
    const auto compare = [&](const std::string& name, const Tensor& t) {
      if (golden.has(name))
        worst[name.substr(0, name.find('.'))] =
            std::max(worst[name.substr(0, name.find('.'))], difference(t, golden.tensor(name), b));
    };
    compare("logits", got[b].logits);
    compare("final_norm", got[b].final_norm);
    for (size_t l = 0; l < got[b].layer_out.size(); ++l) compare(cat("layer_out.", l), got[b].layer_out[l]);
    if (got[b].mtp_logits.defined()) compare("mtp_logits", got[b].mtp_logits);
  }
  EXPECT_EQ(worst.count("logits"), 1u);
  EXPECT_EQ(worst.count("mtp_logits"), engine->model().has_mtp() ? 1u : 0u);
  std::printf("%-32s", c.name.c_str());
  for (const auto& [name, d] : worst) {
    std::printf(" %s %.1e", name.c_str(), d);
    EXPECT_LE(d, kTolerance) << name;
  }
  std::printf("\n");
}

TEST_P(GoldenLossless, GreedyContinuation) {
  const Case& c = GetParam();
  const SafetensorsFile golden(c.golden);
  const std::unique_ptr<Engine> engine = open(c, Profile::kExact);
  const std::vector<Ids> ids = ids_of(golden.tensor("input_ids")), want = ids_of(golden.tensor("greedy"));
  for (size_t b = 0; b < ids.size(); ++b)
    EXPECT_EQ(greedy(*engine, Ids(ids[b].begin(), ids[b].begin() + 16), want[b].size()), want[b]) << "sequence " << b;
}

std::vector<Profile> profiles_of(const Kernels& k) {
  std::vector<Profile> out = {Profile::kExact, Profile::kInt8};
  if (k.has_bf16) out.push_back(Profile::kBF16);
  return out;
}

/// Chunks of any size, any company, any number of threads: the same bits, in every profile.
TEST_P(Golden, BatchInvariance) {
  const Case& c = GetParam();
  const SafetensorsFile golden(c.golden);
  Ids first = ids_of(golden.tensor("input_ids"))[0], second = ids_of(golden.tensor("input_ids"))[1];
  const Ids prefix(second.begin(), second.begin() + 5);
  for (const Profile profile : profiles_of(best_kernels())) {
    const std::unique_ptr<Engine> engine = open(c, profile, nullptr, 2);
    const Tensor whole = forced_forward(*engine, {first}, {.chunk = first.size()})[0].logits;
    for (const size_t chunk : {size_t{1}, size_t{7}, size_t{64}})
      EXPECT_TRUE(same_bits(forced_forward(*engine, {first}, {.chunk = chunk})[0].logits, whole))
          << name(profile) << " chunk " << chunk;
    const std::vector<ForcedOutputs> company = forced_forward(*engine, {prefix, first, second, first}, {.chunk = 9});
    EXPECT_TRUE(same_bits(company[1].logits, whole)) << name(profile) << " in a batch";
    EXPECT_TRUE(same_bits(company[3].logits, whole)) << name(profile) << " in a batch";
    for (const size_t threads : {size_t{1}, size_t{3}})
      EXPECT_TRUE(
          same_bits(forced_forward(*open(c, profile, nullptr, threads), {first}, {.chunk = 16})[0].logits, whole))
          << name(profile) << " threads " << threads;
  }
}

/// The same with keys and values in q8.
TEST_P(GoldenLossless, BatchInvarianceOfCacheQ8) {
  const Case& c = GetParam();
  const std::vector<Ids> ids = ids_of(SafetensorsFile(c.golden).tensor("input_ids"));
  const std::unique_ptr<Engine> engine = open(c, Profile::kInt8, nullptr, 2, CacheType::kQ8);
  const Tensor whole = forced_forward(*engine, {ids[0]}, {.chunk = ids[0].size()})[0].logits;
  EXPECT_FALSE(same_bits(forced_forward(*open(c, Profile::kInt8), {ids[0]})[0].logits, whole)) << "q8 changes nothing";
  EXPECT_TRUE(same_bits(forced_forward(*engine, {ids[0]}, {.chunk = 1})[0].logits, whole)) << "chunk 1";
  EXPECT_TRUE(same_bits(forced_forward(*engine, {ids[1], ids[0]}, {.chunk = 7})[1].logits, whole)) << "in a batch";
  const std::unique_ptr<Engine> plain = open(c, Profile::kInt8, &ref_kernels(), 1, CacheType::kQ8);
  EXPECT_TRUE(same_bits(forced_forward(*plain, {ids[0]})[0].logits, whole)) << "ref, one thread";
}

/// Every table gives ref's bits in exact and int8.
TEST_P(Golden, TablesAgree) {
  const Case& c = GetParam();
  const SafetensorsFile golden(c.golden);
  Ids ids = ids_of(golden.tensor("input_ids"))[0];
  ids.resize(40);
  for (const Profile profile : {Profile::kExact, Profile::kInt8}) {
    const Tensor want = forced_forward(*open(c, profile, &ref_kernels()), {ids})[0].logits;
    for (const Kernels* k : usable_kernels())
      EXPECT_TRUE(same_bits(forced_forward(*open(c, profile, k), {ids})[0].logits, want))
          << name(profile) << " " << k->name;
  }
}

std::vector<Case> lossless_cases() {
  std::vector<Case> cases = all_cases();
  std::erase_if(cases, [](const Case& c) { return !c.reference.empty(); });
  return cases;
}

std::string test_name(const ::testing::TestParamInfo<Case>& param) {
  std::string name = param.param.name;
  std::replace_if(
      name.begin(), name.end(), [](char ch) { return !std::isalnum(static_cast<unsigned char>(ch)); }, '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(All, Golden, ::testing::ValuesIn(all_cases()), test_name);
INSTANTIATE_TEST_SUITE_P(All, GoldenLossless, ::testing::ValuesIn(lossless_cases()), test_name);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(GoldenLossless);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Golden);

TEST(GoldenFiles, AreThere) { EXPECT_FALSE(all_cases().empty()) << testing::golden_dir() << " holds no models"; }

/// A change of bits on any processor is noticed: hashes of the logits of each case's first sequence, kept in
/// logit_hashes.json. FATHOM_WRITE_HASHES=1 writes the file anew (after a deliberate change of the contract).
TEST(GoldenHashes, LogitsHaveTheBitsThatWereRecorded) {
  const fs::path path = testing::golden_dir() / "logit_hashes.json";
  json::object now;
  for (const Case& c : all_cases()) {
    const Ids ids = ids_of(SafetensorsFile(c.golden).tensor("input_ids"))[0];
    json::object hashes;
    for (const Profile profile : {Profile::kExact, Profile::kInt8}) {
      const Tensor logits = forced_forward(*open(c, profile), {ids})[0].logits;
      Blake2b256 hash;
      hash.update(std::span(reinterpret_cast<const uint8_t*>(logits.bytes()), logits.size_bytes()));
      hashes[std::string(name(profile))] = hash.hex();
    }
    now[c.name] = hashes;
  }
  if (std::getenv("FATHOM_WRITE_HASHES")) std::ofstream(path) << to_json(now, {.indent = 1}) << "\n";
  if (!fs::exists(path)) GTEST_SKIP() << "no logit_hashes.json in this golden folder";
  const json::value recorded = read_json_file(path);
  for (const auto& [name, hashes] : now) {
    const json::value* want = recorded.as_object().if_contains(name);
    ASSERT_TRUE(want) << name;
    EXPECT_EQ(*want, hashes) << name;
  }
}

}  // namespace
}  // namespace fathom

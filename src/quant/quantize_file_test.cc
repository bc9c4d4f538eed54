#include "quant/quantize_file.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>

#include "formats/gguf_writer.h"
#include "quant/quantize.h"
#include "tensor/dequantize.h"
#include "tests/testing.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;
using testing::golden_dir;
using testing::TempDir;

bool is_legacy(DType type) {
  switch (type) {
    case DType::kF32:
    case DType::kF16:
    case DType::kBF16:
    case DType::kQ4_0:
    case DType::kQ4_1:
    case DType::kQ5_0:
    case DType::kQ5_1:
    case DType::kQ8_0: return true;
    default: return false;
  }
}

void quantize(const fs::path& in, const fs::path& out, const QuantizeOptions& options,
              const WorkProgress& progress = {}) {
  const GgufFile file(in);
  quantize_file(file, plan_quantize(file, options), out, options, progress);
}

QuantizeOptions to(const char* type, size_t threads = 2) {
  return {.mixture = {.mixture = &find_mixture(type)}, .threads = threads};
}

/// Everything before the data: metadata in order and tensor infos.
std::string header_of(const fs::path& path) {
  const GgufFile file(path);
  uint64_t data = 0;
  for (const TensorInfo& t : file.tensors()) data += (t.size_bytes + 31) / 32 * 32;
  const std::string bytes = testing::read_file(path);
  return bytes.substr(0, bytes.size() - data);
}

TEST(QuantizeFile, EqualsTheReferenceQuantiserKeyByKeyAndBlockByBlock) {
  const TempDir dir;
  size_t compared = 0, equal_tensors = 0;
  for (const auto& entry : fs::directory_iterator(golden_dir() / "gguf")) {
    const std::string name = entry.path().filename().string();
    const size_t first = name.find('.'), second = name.find('.', first + 1);
    if (second == std::string::npos || entry.path().extension() != ".gguf") continue;  // <name>.<TYPE>.gguf
    const fs::path source = entry.path().parent_path() / (name.substr(0, first) + ".gguf");
    if (!fs::exists(source) || name == "qwen2.F16.gguf") continue;
    SCOPED_TRACE(name);
    const fs::path out = dir.path() / "out.gguf";
    quantize(source, out, to(name.substr(first + 1, second - first - 1).c_str()));
    EXPECT_EQ(header_of(out), header_of(entry.path())) << "bytes of the header";
    const GgufFile got(out), want(entry.path());
    for (const TensorInfo& t : want.tensors()) {
      if (!is_legacy(t.dtype)) continue;
      EXPECT_EQ(0, std::memcmp(got.tensor(t.name).bytes(), want.tensor(t.name).bytes(), t.size_bytes)) << t.name;
      ++equal_tensors;
    }
    ++compared;
  }
  EXPECT_GE(compared, 16u);
  EXPECT_GE(equal_tensors, 200u);
}

TEST(QuantizeFile, PartsOfASplitFileBecomeOne) {
  const TempDir dir;
  const fs::path out = dir.path() / "out.gguf";
  QuantizeOptions options = to("F32");
  options.allow_requantize = true;
  for (const auto& part : fs::directory_iterator(golden_dir() / "gguf" / "split")) {
    quantize(part.path(), out, options);
    const GgufFile file(out), whole(golden_dir() / "gguf" / "v3.Q4_K_M.gguf");
    EXPECT_EQ(file.parts(), 1u);
    for (const char* key : {"split.no", "split.count", "split.tensors.count"}) EXPECT_FALSE(file.metadata().has(key));
    for (const TensorInfo& t : whole.tensors()) {
      const Tensor got = file.tensor(t.name), want = dequantize(whole.tensor(t.name));
      ASSERT_EQ(got.dtype(), DType::kF32);
      EXPECT_EQ(0, std::memcmp(got.bytes(), want.bytes(), want.size_bytes())) << t.name;
    }
  }
}

TEST(QuantizeFile, ThreadsChangeNoBit) {
  const TempDir dir;
  const fs::path source = golden_dir() / "gguf" / "qwen2-wide.gguf", a = dir.path() / "a", b = dir.path() / "b";
  quantize(source, a, to("Q4_K_M", 1));
  quantize(source, b, to("Q4_K_M", 5));
  EXPECT_EQ(testing::read_file(a), testing::read_file(b));
}

struct Source {
  std::string name;
  Shape shape;
  std::vector<float> values;
};

/// A little llama of F32 tensors.
fs::path write_model(const fs::path& path, const std::vector<Source>& tensors) {
  GgufKeys keys;
  keys.set_string("general.architecture", "llama");
  keys.set_u32("general.alignment", 32);
  keys.set_u32("llama.block_count", 1);
  keys.set_u32("llama.attention.head_count", 4);
  std::vector<TensorInfo> infos;
  for (const Source& t : tensors) infos.push_back({t.name, DType::kF32, t.shape, 0});
  GgufWriter writer(path, keys, infos);
  for (const Source& t : tensors) writer.write(std::as_bytes(std::span(t.values)));
  writer.commit();
  return path;
}

std::string message_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  ADD_FAILURE() << "expected an error";
  return "";
}

size_t files_in(const fs::path& folder) {
  return static_cast<size_t>(std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

/// Rows longer and shorter than a piece, more values than a slab: cut anywhere, the blocks are those of the whole.
TEST(QuantizeFile, PiecesAreTheBlocksOfTheWhole) {
  const TempDir dir;
  const size_t rows = 150, columns = 8192, stack = 4 * 160 * 96;
  const std::vector<float> wide = testing::random_floats(rows * columns, 1), small = testing::random_floats(stack, 2);
  const fs::path in = write_model(dir.path() / "in.gguf", {{"blk.0.attn_q.weight", {rows, columns}, wide},
                                                           {"blk.0.ffn_up_exps.weight", {4, 160, 96}, small}});
  const fs::path out = dir.path() / "out.gguf";
  quantize(in, out, to("Q4_0", 1));
  const GgufFile file(out);
  for (const auto& [name, values] : {std::pair{"blk.0.attn_q.weight", &wide}, {"blk.0.ffn_up_exps.weight", &small}}) {
    std::vector<std::byte> want(values->size() / 32 * 18);
    fathom::quantize(DType::kQ4_0, values->data(), want.data(), values->size());
    EXPECT_EQ(0, std::memcmp(file.tensor(name).bytes(), want.data(), want.size())) << name;
  }
}

/// Each row is quantised with the importances of its own matrix in the stack.
TEST(QuantizeFile, ImportancesReachTheRowsOfTheirMatrix) {
  const TempDir dir;
  const size_t E = 3, O = 300, K = 256;
  const std::vector<float> values = testing::random_floats(E * O * K, 3);
  const fs::path in = write_model(dir.path() / "in.gguf", {{"blk.0.ffn_up_exps.weight", {E, O, K}, values},
                                                           {"blk.0.ffn_gate_exps.weight", {E, O, K}, values}});
  ImportanceMatrix matrix;
  ImportanceEntry& entry = matrix.entries["blk.0.ffn_up_exps.weight"];
  for (const float v : testing::random_floats(E * K, 4)) entry.in_sum2.push_back(v * v * 10);
  entry.counts = {5, 0, 8};
  matrix.datasets = {"text"}, matrix.chunk_count = 7;
  QuantizeOptions options = to("Q4_K_S");
  options.importance = &matrix;
  options.importance_file = "m.gguf";
  const fs::path out = dir.path() / "out.gguf";
  const GgufFile source(in);
  const QuantizePlan plan = plan_quantize(source, options);
  EXPECT_EQ(plan.notes, std::vector<std::string>{"no importances for 1 tensor: blk.0.ffn_gate_exps.weight"});
  quantize_file(source, plan, out, options, {});

  size_t without_data = 0;
  const std::vector<float> means = mean_squares(entry, without_data);
  std::vector<std::byte> want(K / 256 * 144);
  const GgufFile file(out);
  const Tensor got = file.tensor("blk.0.ffn_up_exps.weight");
  for (size_t row = 0; row < E * O; ++row) {
    fathom::quantize(DType::kQ4_K, values.data() + row * K, want.data(), K, means.data() + row / O * K);
    ASSERT_EQ(0, std::memcmp(got.bytes() + row * want.size(), want.data(), want.size())) << row;
  }
  EXPECT_EQ(file.metadata().string("quantize.imatrix.file"), "m.gguf");
  EXPECT_EQ(file.metadata().string("quantize.imatrix.dataset"), "text");
  EXPECT_EQ(file.metadata().integer("quantize.imatrix.entries_count"), 1u);
  EXPECT_EQ(file.metadata().integer("quantize.imatrix.chunks_count"), 7u);

  entry.in_sum2.resize(K), entry.counts = {1};
  EXPECT_EQ(message_of([&] { plan_quantize(source, options); }),
            "importance of blk.0.ffn_up_exps.weight: expected 768 values, found 256");
}

TEST(QuantizeFile, ValuesThatCannotBeTakenAreNamed) {
  const TempDir dir;
  const fs::path out = dir.path() / "out.gguf";
  const auto message = [&](size_t at, float value, const char* type, const char* tensor) {
    std::vector<float> values(3 * 40960, 1.0f), norm(256, 1.0f);
    (tensor == std::string("blk.0.attn_q.weight") ? values : norm)[at] = value;
    const fs::path in = write_model(
        dir.path() / "in.gguf", {{"blk.0.attn_q.weight", {480, 256}, values}, {"blk.0.attn_norm.weight", {256}, norm}});
    const std::string text = message_of([&] { quantize(in, out, to(type)); });
    EXPECT_EQ(files_in(dir.path()), 1u) << "nothing stays behind";
    return text.substr(text.find("tensor"));
  };
  EXPECT_EQ(message(70000, NAN, "Q4_K_M", "blk.0.attn_q.weight"),
            "tensor blk.0.attn_q.weight: value 70000: expected a finite number, found an infinite or undefined one");
  EXPECT_EQ(message(3, -INFINITY, "Q8_0", "blk.0.attn_norm.weight"),
            "tensor blk.0.attn_norm.weight: value 3: expected a finite number, found an infinite or undefined one");
  EXPECT_EQ(message(9, 1e6f, "F16", "blk.0.attn_q.weight"),
            "tensor blk.0.attn_q.weight: value 9: expected one that F16 can hold, found a larger one");
  // With an infinite scale no value of the block can be read: the first one is named.
  EXPECT_EQ(message(9, 1e9f, "Q8_0", "blk.0.attn_q.weight"),
            "tensor blk.0.attn_q.weight: value 0: expected one that Q8_0 can hold, found a larger one");
}

TEST(QuantizeFile, QuantisedTensorsAreTakenOnRequestOnly) {
  const fs::path source = golden_dir() / "gguf" / "v3.Q8_0.gguf";
  const GgufFile file(source);
  QuantizeOptions options = to("Q4_K_M");
  const std::string text = message_of([&] { plan_quantize(file, options); });
  EXPECT_NE(text.find("is quantised already (Q8_0); --allow-requantize makes it Q"), std::string::npos) << text;
  options.allow_requantize = true;
  EXPECT_NO_THROW(plan_quantize(file, options));
  EXPECT_NO_THROW(plan_quantize(file, to("Q8_0"))) << "tensors that have the type stay as they are";
}

TEST(QuantizeFile, FallbacksAreNotes) {
  const GgufFile file(golden_dir() / "gguf" / "v3.gguf");
  const QuantizePlan plan = plan_quantize(file, to("Q4_K_M"));
  size_t fell = 0;
  for (const PlannedTensor& t : plan.tensors) fell += t.wanted.has_value();
  ASSERT_GT(fell, 0u);
  size_t named = 0;
  for (const std::string& note : plan.notes) {
    EXPECT_NE(note.find("fell back from"), std::string::npos) << note;
    named += std::stoul(note);
  }
  EXPECT_EQ(named, fell);
}

TEST(QuantizeFile, Q2KSmallNeedsImportances) {
  const TempDir dir;
  const GgufFile file(golden_dir() / "gguf" / "qwen2-wide.gguf");
  QuantizeOptions options = to("Q2_K_S");
  const std::string text = message_of([&] { plan_quantize(file, options); });
  EXPECT_NE(text.find("Q2_K_S: expected an importance matrix (--imatrix), found none for it"), std::string::npos);
  options.dry_run = true;
  EXPECT_EQ(plan_quantize(file, options).notes.size(), 1u);
}

TEST(QuantizeFile, TheInputIsNeverTheOutput) {
  const TempDir dir;
  const fs::path in = write_model(dir.path() / "in.gguf", {{"blk.0.attn_norm.weight", {4}, {1, 2, 3, 4}}});
  const std::string before = testing::read_file(in);
  fs::create_symlink(in, dir.path() / "link.gguf");
  for (const char* name : {"in.gguf", "link.gguf", "./in.gguf"})
    EXPECT_NE(message_of([&] { quantize(in, dir.path() / name, to("F16")); }).find("expected another file"),
              std::string::npos);
  EXPECT_EQ(testing::read_file(in), before);
  for (const auto& part : fs::directory_iterator(golden_dir() / "gguf" / "split"))
    fs::copy_file(part.path(), dir.path() / part.path().filename());
  QuantizeOptions options = to("F16");
  options.allow_requantize = true;
  fs::path one, last;
  for (const auto& part : fs::directory_iterator(dir.path()))
    if (part.path().string().find("-of-") != std::string::npos) {
      if (part.path().string().find("-00001-") != std::string::npos) one = part.path();
      if (part.path().string().find("-00003-") != std::string::npos) last = part.path();
    }
  EXPECT_NE(message_of([&] { quantize(one, last, options); }).find("expected another file"), std::string::npos);
}

TEST(QuantizeFile, AnInterruptLeavesNothingBehind) {
  const TempDir dir;
  const fs::path source = golden_dir() / "gguf" / "qwen2-wide.gguf";
  int calls = 0;
  EXPECT_THROW(quantize(source, dir.path() / "out.gguf", to("Q8_0"),
                        [&](uint64_t, uint64_t) {
                          if (++calls == 5) throw Interrupted();
                        }),
               Interrupted);
  EXPECT_EQ(files_in(dir.path()), 0u);
  uint64_t last = 0, total = 0;
  quantize(source, dir.path() / "out.gguf", to("Q8_0"), [&](uint64_t done, uint64_t all) {
    EXPECT_GE(done, last);
    last = done, total = all;
  });
  EXPECT_EQ(last, total);
}

}  // namespace
}  // namespace fathom

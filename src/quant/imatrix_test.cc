#include "quant/imatrix.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>

#include "base/error.h"
#include "formats/gguf.h"
#include "formats/gguf_writer.h"
#include "tests/testing.h"

namespace fathom {
namespace {

using testing::TempDir;

ImportanceMatrix sample() {
  ImportanceMatrix m;
  m.entries["blk.0.attn_q.weight"] = {{1, 4, 9, 16}, {2}};
  m.entries["blk.0.ffn_up_exps.weight"] = {{2, 4, 0, 0, 9, 3}, {2, 0, 3}};
  m.datasets = {"a text.txt"};
  m.chunk_count = 3, m.chunk_size = 512;
  return m;
}

std::string message_of(const std::filesystem::path& path) {
  try {
    load_imatrix(path);
  } catch (const Error& e) {
    return e.what();
  }
  ADD_FAILURE() << "expected an error";
  return "";
}

TEST(Imatrix, ComesBackAsItWasSaved) {
  const TempDir dir;
  save_imatrix(dir.path() / "m.gguf", sample());
  const ImportanceMatrix back = load_imatrix(dir.path() / "m.gguf"), want = sample();
  ASSERT_EQ(back.entries.size(), 2u);
  for (const auto& [name, entry] : want.entries) {
    EXPECT_EQ(back.entries.at(name).in_sum2, entry.in_sum2);
    EXPECT_EQ(back.entries.at(name).counts, entry.counts);
  }
  EXPECT_EQ(back.datasets, want.datasets);
  EXPECT_EQ(back.chunk_count, 3u);
  EXPECT_EQ(back.chunk_size, 512u);
}

TEST(Imatrix, TheFileHasTheKeysAndShapesOfTheEcosystem) {
  const TempDir dir;
  save_imatrix(dir.path() / "m.gguf", sample());
  const GgufFile file(dir.path() / "m.gguf");
  EXPECT_EQ(file.metadata().string("general.type"), "imatrix");
  EXPECT_EQ(file.metadata().strings("imatrix.datasets"), std::vector<std::string>{"a text.txt"});
  EXPECT_EQ(file.metadata().integer("imatrix.chunk_count"), 3u);
  EXPECT_EQ(file.metadata().integer("imatrix.chunk_size"), 512u);
  std::string tensors;
  for (const TensorInfo& t : file.tensors()) tensors += cat(t.name, " ", t.dtype, " ", t.shape, "\n");
  EXPECT_EQ(tensors, cat("blk.0.attn_q.weight.in_sum2 F32 ", Shape{4}, "\nblk.0.attn_q.weight.counts F32 ", Shape{1},
                         "\nblk.0.ffn_up_exps.weight.in_sum2 F32 ", Shape{3, 2},
                         "\nblk.0.ffn_up_exps.weight.counts F32 ", Shape{3, 1}, "\n"));
}

TEST(Imatrix, MeansDivideByTheCountOfEachMatrix) {
  size_t without_data = 0;
  EXPECT_EQ(mean_squares(sample().entries.at("blk.0.attn_q.weight"), without_data),
            (std::vector<float>{0.5, 2, 4.5, 8}));
  EXPECT_EQ(without_data, 0u);
  EXPECT_EQ(mean_squares(sample().entries.at("blk.0.ffn_up_exps.weight"), without_data),
            (std::vector<float>{1, 2, 1, 1, 3, 1}));
  EXPECT_EQ(without_data, 1u) << "the expert that no token chose";
}

/// A file with these tensors of one row each and the keys of an importance matrix.
std::filesystem::path write(const TempDir& dir, const std::vector<std::pair<std::string, std::vector<float>>>& tensors,
                            bool with_keys = true) {
  GgufKeys keys;
  keys.set_string("general.type", "imatrix");
  if (with_keys) {
    keys.set_strings("imatrix.datasets", std::vector<std::string>{"t"});
    keys.set_u32("imatrix.chunk_count", 1);
    keys.set_u32("imatrix.chunk_size", 512);
  }
  std::vector<TensorInfo> infos;
  for (const auto& [name, values] : tensors) infos.push_back({name, DType::kF32, Shape{values.size()}, 0});
  const std::filesystem::path path = dir.path() / "m.gguf";
  GgufWriter writer(path, keys, infos);
  for (const auto& [name, values] : tensors) writer.write(std::as_bytes(std::span(values)));
  writer.commit();
  return path;
}

TEST(Imatrix, BrokenFilesAreRefusedByName) {
  const TempDir dir;
  const std::string at = (dir.path() / "m.gguf").string() + ": ";
  EXPECT_EQ(message_of(write(dir, {{"a.in_sum2", {1, 2}}})),
            at + "tensor a.in_sum2: expected a.counts with it, found none");
  EXPECT_EQ(message_of(write(dir, {{"a.counts", {1}}})),
            at + "tensor a.counts: expected a.in_sum2 with it, found none");
  EXPECT_EQ(message_of(write(dir, {{"a.in_sum2", {1, 2, 3}}, {"a.counts", {1, 1}}})),
            at + "tensor a: expected a number of sums that the counts divide, found 3 sums and 2 counts");
  EXPECT_EQ(message_of(write(dir, {{"a.in_sum2", {1, -2}}, {"a.counts", {1}}})),
            at + "tensor a.in_sum2: expected finite values of at least 0, found -2");
  EXPECT_EQ(message_of(write(dir, {{"a.in_sum2", {1, NAN}}, {"a.counts", {1}}})),
            at + "tensor a.in_sum2: expected finite values of at least 0, found nan");
  EXPECT_EQ(message_of(write(dir, {{"a.in_sum2", {1, 2}}, {"a.counts", {INFINITY}}})),
            at + "tensor a.counts: expected finite values of at least 0, found inf");
  EXPECT_EQ(message_of(write(dir, {{"blk.0.attn_q.weight", {1, 2}}})),
            at + "expected an importance matrix (tensors *.in_sum2 and *.counts), found none");
  EXPECT_EQ(message_of(write(dir, {{"a.in_sum2", {1, 2}}, {"a.counts", {1}}}, false)),
            at + "key imatrix.datasets: expected the names of texts, found none");
}

template <class T>
void append(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

/// The older form: one entry of two values over `calls` chunks.
std::string legacy(int32_t calls) {
  std::string out;
  append(out, int32_t{1});
  append(out, int32_t{4});
  out += "name";
  append(out, calls);
  append(out, int32_t{2});
  append(out, 6.0f);
  append(out, 3.0f);
  append(out, int32_t{5});
  append(out, int32_t{3});
  out += "txt";
  return out;
}

std::filesystem::path write_bytes(const TempDir& dir, const std::string& bytes) {
  const std::filesystem::path path = dir.path() / "m.dat";
  std::ofstream(path, std::ios::binary) << bytes;
  return path;
}

TEST(Imatrix, TheOlderFormIsRead) {
  const TempDir dir;
  const ImportanceMatrix m = load_imatrix(write_bytes(dir, legacy(3)));
  size_t without_data = 0;
  EXPECT_EQ(mean_squares(m.entries.at("name"), without_data), (std::vector<float>{2, 1}));
  EXPECT_EQ(m.chunk_count, 5u);
  EXPECT_EQ(m.datasets, std::vector<std::string>{"txt"});
}

TEST(Imatrix, EveryTruncationAndEveryHugeLengthOfTheOlderFormIsRefused) {
  const TempDir dir;
  const std::string whole = legacy(3);
  const size_t entries_end = 4 + 4 + 4 + 4 + 4 + 8;  // what follows is optional
  for (size_t n = 0; n < whole.size(); ++n) {
    if (n == entries_end || n == entries_end + 4) continue;
    EXPECT_THROW(load_imatrix(write_bytes(dir, whole.substr(0, n))), Error) << n;
  }
  for (const size_t at : {size_t{0}, size_t{4}, size_t{16}})
    for (const int32_t value : {INT32_MAX, -1}) {
      std::string bytes = whole;
      std::memcpy(bytes.data() + at, &value, sizeof value);
      EXPECT_THROW(load_imatrix(write_bytes(dir, bytes)), Error) << at << " " << value;
    }
}

}  // namespace
}  // namespace fathom

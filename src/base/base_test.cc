#include <sys/wait.h>
#include <unistd.h>

#include <atomic>

#include "base/checked.h"
#include "base/error.h"
#include "base/json.h"
#include "base/mapped_file.h"
#include "base/philox.h"
#include "base/thread_pool.h"
#include "tests/testing.h"

namespace fathom {
namespace {

TEST(Philox, AgreesWithTheAuthorsKnownAnswers) {
  // Known-answer vectors of the Random123 distribution for philox4x32-10.
  EXPECT_EQ((philox4x32(0, {0, 0, 0, 0})), (std::array<uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ((philox4x32(~uint64_t{0}, {~0u, ~0u, ~0u, ~0u})),
            (std::array<uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ((philox4x32(0x299f31d0a4093822, {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344})),
            (std::array<uint32_t, 4>{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(ThreadPool, RunsEveryItemOnce) {
  for (size_t threads : {1, 2, 3, 5}) {
    ThreadPool pool(threads);
    for (size_t n : {0, 1, 2, 7, 1000}) {
      std::vector<std::atomic<int>> hits(n);
      pool.run(n, [&](size_t i) { hits[i]++; });
      for (const auto& h : hits) EXPECT_EQ(h.load(), 1);
    }
  }
}

TEST(ThreadPool, ManyShortLoopsAndSleepsBetweenThem) {
  ThreadPool pool(3);
  std::atomic<size_t> sum{0};
  for (int round = 0; round < 2000; ++round) {
    pool.run(5, [&](size_t i) { sum += i; });
    if (round % 500 == 0) usleep(2000);  // long enough for workers to fall asleep
  }
  EXPECT_EQ(sum.load(), 2000u * 10);
}

TEST(Checked, OverflowIsNoticed) {
  EXPECT_FALSE(checked_mul<uint64_t>(uint64_t{1} << 40, uint64_t{1} << 30));
  EXPECT_FALSE(checked_add<uint64_t>(~uint64_t{0}, 1));
  EXPECT_FALSE(checked_align<uint64_t>(~uint64_t{0}, 32));
  EXPECT_EQ(checked_align<uint64_t>(33, 32), 64u);
  EXPECT_TRUE(range_fits(0, 0, 0));
  EXPECT_FALSE(range_fits(1, ~uint64_t{0}, 10));
}

TEST(Json, ErrorsNameSourceAndPlace) {
  try {
    parse_json("{\"a\":\n 1,,}", "request");
    FAIL();
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), ::testing::HasSubstr("request: expected JSON, found at line 2"));
  }
  const json::value v = parse_json(R"({"n": 3, "x": 4.0, "s": "t", "z": null})", "cfg");
  const JsonObject o(v, "cfg");
  EXPECT_EQ(o.integer("n"), 3);
  EXPECT_EQ(o.integer("x"), 4);
  EXPECT_FALSE(o.has("z"));
  EXPECT_THROW(o.integer("s"), Error);
  EXPECT_THROW(o.string("n"), Error);
  EXPECT_THROW(parse_json(std::string(100, '[') + std::string(100, ']'), "deep"), Error);
  EXPECT_THROW(parse_json("", "empty"), Error);
  EXPECT_THROW(parse_json("{} x", "trailing"), Error);
}

TEST(Json, WritesNumbersPlainly) {
  EXPECT_EQ(to_json(json::value(0.7)), "0.7");
  EXPECT_EQ(to_json(json::value(1e-7)), "1e-07");
  EXPECT_EQ(to_json(json::value(3.0), {.python_floats = true}), "3.0");
  EXPECT_EQ(
      to_json(parse_json(R"({"a":[1,"é😀\n"],"b":{}})", "t"), {.item_sep = ", ", .key_sep = ": ", .ensure_ascii = true}),
      R"({"a": [1, "\u00e9\ud83d\ude00\n"], "b": {}})");
}

TEST(MappedFile, ReadsAndRefuses) {
  const testing::TempDir dir;
  std::ofstream(dir.path() / "f") << "hello";
  const InputFile file(dir.path() / "f");
  EXPECT_EQ(file.size(), 5u);
  char buffer[4] = {};
  file.read(1, buffer, 3);
  EXPECT_STREQ(buffer, "ell");
  EXPECT_THROW(file.read(3, buffer, 3), Error);
  EXPECT_THROW(InputFile(dir.path() / "absent"), Error);
  EXPECT_THROW(InputFile{dir.path()}, Error);
}

TEST(MappedFile, ShrinkingFileEndsTheProcessWithAMessage) {
  const testing::TempDir dir;
  const std::filesystem::path path = dir.path() / "weights";
  std::ofstream(path) << std::string(1 << 16, 'x');
  const InputFile file(path);
  const MappedFile mapped(file);
  EXPECT_EXIT(
      {
        std::filesystem::resize_file(path, 0);
        volatile std::byte b = mapped.bytes()[1 << 15];
        (void)b;
      },
      ::testing::ExitedWithCode(1), "weights: the file became shorter");
}

}  // namespace
}  // namespace fathom

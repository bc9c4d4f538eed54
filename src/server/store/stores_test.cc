// Kept responses, files and batches: what gives way, what is left after a start, what nobody can reach.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

#include "base/error.h"
#include "server/store/batch_store.h"
#include "server/store/file_store.h"
#include "server/store/response_store.h"
#include "server/store/store_lock.h"
#include "tests/testing.h"

namespace fathom {
namespace {

using ::testing::ElementsAre;

StoredResponse turn(const std::string& id, const std::string& previous, int64_t created) {
  return {id,
          previous,
          created,
          {{"id", id}, {"output", json::array{json::object{{"id", "o" + id}}}}},
          {json::object{{"id", "i" + id}}}};
}

TEST(ResponseStore, TheOldestGiveWay) {
  ResponseStore store(std::make_shared<Database>(":memory:"), {.count = 3, .age_s = 100, .bytes = 10'000});
  for (int i = 0; i < 4; ++i) store.put(turn(std::to_string(i), "", 1000 + i));
  EXPECT_FALSE(store.find("0"));
  EXPECT_TRUE(store.find("1"));
  store.put(turn("late", "", 1103));
  EXPECT_FALSE(store.find("2")) << "too old";
  EXPECT_TRUE(store.find("3"));
  StoredResponse large = turn("large", "", 1104);
  large.response["text"] = std::string(9'900, 'x');
  store.put(large);
  EXPECT_FALSE(store.find("late")) << "too many bytes";
  EXPECT_TRUE(store.find("large"));
}

TEST(ResponseStore, AConversationIsAllOfItsTurns) {
  ResponseStore store(std::make_shared<Database>(":memory:"), {});
  store.put(turn("a", "", 1));
  store.put(turn("b", "a", 2));
  store.put(turn("c", "b", 3));
  std::vector<std::string> ids;
  const std::optional<json::array> items = store.conversation("c");
  for (const json::value& item : *items) ids.emplace_back(item.at("id").as_string());
  EXPECT_THAT(ids, ElementsAre("ia", "oa", "ib", "ob", "ic", "oc"));
  EXPECT_TRUE(store.remove("a"));
  EXPECT_FALSE(store.remove("a"));
  EXPECT_FALSE(store.conversation("c"));
}

TEST(FileStore, KeepsBytesBesideTheDatabase) {
  const testing::TempDir dir;
  const std::string bytes("a\0b\xff", 4);
  {
    FileStore store(std::make_shared<Database>(dir.path() / "s"), {});
    store.add({"file-1", "x.jsonl", "batch", 10}, bytes);
    store.add({"file-2", "y", "user_data", 11, 0, 50}, "y");
  }
  FileStore store(std::make_shared<Database>(dir.path() / "s"), {.count = 2});
  EXPECT_EQ(store.content("file-1"), bytes);
  EXPECT_EQ(store.list("").size(), 2u);
  EXPECT_EQ(store.list("").front().id, "file-2");
  EXPECT_EQ(store.list("batch").front().bytes, 4u);
  EXPECT_THROW(store.add({"file-3", "z", "batch", 12}, "z"), ResourceError);
  EXPECT_FALSE(store.content("../s")) << "only ids of files are names";
  store.expire(49);
  EXPECT_TRUE(store.find("file-2"));
  store.expire(50);
  EXPECT_FALSE(store.find("file-2"));
  EXPECT_FALSE(std::filesystem::exists(dir.path() / "s.files" / "file-2"));
  EXPECT_TRUE(store.remove("file-1"));
  EXPECT_FALSE(store.content("file-1"));
}

TEST(FileStore, WhatOthersDidInItsFolderStopsNothing) {
  const testing::TempDir dir;
  FileStore store(std::make_shared<Database>(dir.path() / "s"), {});
  const auto folder = dir.path() / "s.files";
  std::ofstream(folder / "file-1.part") << "half of what a killed server wrote";
  store.add({"file-1", "x", "batch_output", 1}, "whole");
  EXPECT_EQ(store.content("file-1"), "whole");
  std::filesystem::remove(folder / "file-1");
  EXPECT_TRUE(store.find("file-1"));
  EXPECT_FALSE(store.content("file-1"));
}

TEST(FileStore, ClearsAwayWhatWasLeft) {
  const testing::TempDir dir;
  const auto database = std::make_shared<Database>(dir.path() / "s");
  const auto folder = dir.path() / "s.files";
  FileStore(database, {}).add({"file-1", "x", "batch", 10}, "x");
  for (const char* name : {"file-1", "file-2", "file-3.part"}) {
    std::ofstream(folder / name) << "x";
    std::filesystem::last_write_time(folder / name,
                                     std::filesystem::file_time_type::clock::now() - std::chrono::hours(2));
  }
  std::ofstream(folder / "file-4") << "x";  // perhaps being written now
  FileStore store(database, {});
  EXPECT_TRUE(std::filesystem::exists(folder / "file-1"));
  EXPECT_FALSE(std::filesystem::exists(folder / "file-2"));
  EXPECT_FALSE(std::filesystem::exists(folder / "file-3.part"));
  EXPECT_TRUE(std::filesystem::exists(folder / "file-4"));
}

TEST(FileStore, MemoryHasItsBound) {
  FileStore store(std::make_shared<Database>(":memory:"), {.memory_bytes = 10});
  store.add({"file-1", "x", "batch", 1}, "0123456789");
  EXPECT_THROW(store.add({"file-2", "x", "batch", 1}, "0"), ResourceError);
  EXPECT_EQ(store.content("file-1"), "0123456789");
  store.remove("file-1");
  store.add({"file-2", "x", "batch", 1}, "0");
}

json::object batch(const std::string& id, const std::string& status) {
  return {{"id", id}, {"created_at", 5}, {"status", status}, {"request_counts", json::object{{"total", 3}}}};
}

TEST(BatchStore, ACancelOutlivesTheBeginning) {
  BatchStore store(std::make_shared<Database>(":memory:"));
  EXPECT_FALSE(store.begin(batch("none", "in_progress")));
  for (const bool cancelled : {false, true}) {
    store.put(batch("b", "validating"));
    EXPECT_EQ(cancelled && store.cancel("b", 7), cancelled);
    EXPECT_EQ(store.begin(batch("b", "in_progress")), !cancelled);
    EXPECT_EQ(store.status("b"), cancelled ? "cancelling" : "in_progress");
  }
}

TEST(BatchStore, GoesOnWhereItStopped) {
  BatchStore store(std::make_shared<Database>(":memory:"));
  EXPECT_FALSE(store.next());
  store.put(batch("b", "in_progress"));
  store.put(batch("a", "completed"));
  EXPECT_EQ(store.next()->at("id"), "b");
  store.put_line("b", 2, false, "two");
  store.put_line("b", 0, false, "zero");
  store.put_line("b", 1, true, "one");
  store.put_line("b", 0, true, "zero, again");  // the first result stays
  EXPECT_THAT(store.lines("b"), ElementsAre(0, 1, 2));
  EXPECT_EQ(store.joined("b", false), "zero\ntwo\n");
  EXPECT_EQ(store.joined("b", true), "one\n");
  EXPECT_EQ(store.line_bytes("b"), 10u);
  EXPECT_EQ(store.find("b")->at("request_counts").at("completed"), 2);
  EXPECT_TRUE(store.cancel("b", 9));
  EXPECT_FALSE(store.cancel("b", 9));
  EXPECT_FALSE(store.cancel("a", 9));
  EXPECT_EQ(store.next()->at("status"), "cancelling");
  EXPECT_EQ(store.status("b"), "cancelling");
  EXPECT_EQ(store.status("c"), "");
  json::object over = *store.find("b");
  over["status"] = "cancelled";
  store.finish(over);
  EXPECT_FALSE(store.next());
  EXPECT_TRUE(store.lines("b").empty());
  EXPECT_EQ(store.list(false, 10)->size(), 2u);
}

TEST(BatchStore, ListsPageByPage) {
  BatchStore store(std::make_shared<Database>(":memory:"));
  std::vector<std::string> newest_first;
  for (int i = 0; i < 9; ++i) {
    json::object b = batch(cat("b", i), "completed");
    b["created_at"] = i / 3;  // of three, the same second
    store.put(b);
    newest_first.insert(newest_first.begin(), cat("b", i));
  }
  for (const bool oldest_first : {false, true}) {
    std::vector<std::string> want = newest_first, got;
    if (oldest_first) std::reverse(want.begin(), want.end());
    for (std::optional<std::string> after; got.size() < want.size(); after = got.back()) {
      const std::optional<json::array> page = store.list(oldest_first, 2, after);
      ASSERT_TRUE(page && !page->empty());
      for (const json::value& b : *page) got.emplace_back(b.at("id").as_string());
    }
    EXPECT_EQ(got, want);
    EXPECT_TRUE(store.list(oldest_first, 2, got.back())->empty());
  }
  EXPECT_FALSE(store.list(false, 2, "none"));
}

TEST(StoreLock, IsOneServers) {
  const testing::TempDir dir;
  const std::filesystem::path store = dir.path() / "store.sqlite";
  std::string said;
  {
    const StoreLock first(store);
    try {
      StoreLock second(store);
    } catch (const Error& e) {
      said = e.what();
    }
  }
  EXPECT_EQ(said,
            cat(store.string(), ": expected a store that no other server uses, found that of process ", ::getpid()));
  const StoreLock third(store);
}

}  // namespace
}  // namespace fathom

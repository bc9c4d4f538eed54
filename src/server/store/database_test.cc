// The store's file: made for its owner alone, migrated step by step, never harmed by what it does not know.
#include "server/store/database.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <soci/soci.h>
#include <sys/stat.h>

#include <fstream>

#include "base/error.h"
#include "base/json.h"
#include "tests/testing.h"

namespace fathom {
namespace {

using ::testing::HasSubstr;

constexpr std::string_view kFirst[] = {
    "CREATE TABLE note (id INTEGER PRIMARY KEY, text TEXT); INSERT INTO note VALUES "
    "(1, 'a;b');"};
constexpr std::string_view kBoth[] = {
    kFirst[0],
    "ALTER TABLE note ADD COLUMN pages INTEGER NOT NULL DEFAULT 0; CREATE TABLE line (note INTEGER NOT NULL REFERENCES "
    "note (id) ON DELETE CASCADE); CREATE TRIGGER t AFTER INSERT ON line BEGIN UPDATE note SET pages = pages + 1 WHERE "
    "id = new.note; END;"};

std::string refusal(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

int count(Database& db, const std::string& table) {
  return db.read([&](soci::session& sql) {
    int n = -1;
    sql << "SELECT count(*) FROM " + table, soci::into(n);
    return n;
  });
}

TEST(Database, KeepsWhatWasWrittenForItsOwnerAlone) {
  const testing::TempDir dir;
  const auto file = dir.path() / "a = folder" / "store.sqlite";
  {
    Database db(file);
    db.migrate("notes", kFirst);
    db.with([](soci::session& sql) { sql << "INSERT INTO note (text) VALUES ('x')"; });
    EXPECT_EQ(count(db, "note"), 2);
  }
  struct stat info {};
  ASSERT_EQ(::stat(file.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  ASSERT_EQ(::stat(file.parent_path().c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700u);
  Database db(file);
  db.migrate("notes", kBoth);  // from 1 to 2
  db.migrate("notes", kBoth);
  EXPECT_EQ(count(db, "note"), 2);
  db.with([](soci::session& sql) { sql << "INSERT INTO line VALUES (1)"; });
  db.with([](soci::session& sql) { sql << "DELETE FROM note WHERE id = 1"; });
  EXPECT_EQ(count(db, "line"), 0) << "foreign keys are on";
}

TEST(Database, RefusesANewerVersion) {
  const testing::TempDir dir;
  Database(dir.path() / "s").migrate("notes", kBoth);
  Database db(dir.path() / "s");
  EXPECT_THAT(refusal([&] { db.migrate("notes", kFirst); }), HasSubstr("a newer fathom has written it"));
  db.migrate("others", std::span<const std::string_view>());  // versions are each component's own
}

TEST(Database, RollsBackWhatFails) {
  Database db(":memory:");
  db.migrate("notes", kFirst);
  EXPECT_THROW(db.with([](soci::session& sql) {
    sql << "INSERT INTO note (text) VALUES ('x')";
    throw std::runtime_error("no");
  }),
               std::runtime_error);
  EXPECT_EQ(count(db, "note"), 1);
  constexpr std::string_view kBroken[] = {kFirst[0],
                                          "CREATE TABLE other (id INTEGER); CREATE TABLE note (id INTEGER);"};
  EXPECT_THAT(refusal([&] { db.migrate("notes", kBroken); }), HasSubstr("migration 2 of its notes failed"));
  EXPECT_THROW(count(db, "other"), std::exception);
}

TEST(Database, LeavesFilesOfOthersAlone) {
  const testing::TempDir dir;
  const auto file = dir.path() / "file";
  const auto is_left_alone = [&](const std::string& why) {
    const std::string before = read_text_file(file);
    EXPECT_THAT(refusal([&] { const Database db(file); }), HasSubstr(why));
    EXPECT_EQ(read_text_file(file), before);
  };
  std::ofstream(file) << "my diary";
  is_left_alone("found another kind of file");
  std::ofstream(file) << std::string("SQLite format 3\0", 16) << std::string(5000, 'x');
  is_left_alone("the store cannot be used");
  std::filesystem::remove(file);
  {
    soci::session other("sqlite3", file.string());
    other << "CREATE TABLE theirs (id INTEGER)";
  }
  is_left_alone("the database of another program");
  EXPECT_THAT(refusal([&] { const Database db(dir.path()); }), HasSubstr("expected a store"));
}

TEST(Database, ADiskThatIsFullIsSaid) {
  const testing::TempDir dir;
  Database db(dir.path() / "s");
  db.migrate("notes", kFirst);
  EXPECT_THROW(db.with([](soci::session& sql) {
    int pages = 0;
    sql << "PRAGMA max_page_count = 8", soci::into(pages);
    sql << "INSERT INTO note (text) VALUES (zeroblob(100000))";
  }),
               ResourceError);
  EXPECT_EQ(count(db, "note"), 1);
}

TEST(Database, ManyThreadsShareIt) {
  Database db(":memory:");
  db.migrate("notes", kFirst);
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t)
      threads.emplace_back([&db] {
        for (int i = 0; i < 50; ++i) db.with([](soci::session& sql) { sql << "INSERT INTO note (text) VALUES ('x')"; });
      });
  }
  EXPECT_EQ(count(db, "note"), 201);
}

}  // namespace
}  // namespace fathom

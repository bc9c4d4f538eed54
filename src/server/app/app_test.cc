#include <gtest/gtest.h>

#include <filesystem>

#include "server/api/api_testing.h"
#include "server/app/chat_export.h"
#include "server/app/chat_import.h"
#include "server/app/chat_search.h"
#include "server/app/chat_store.h"
#include "server/app/file_text.h"
#include "server/app/import_tree.h"
#include "server/app/live_answer.h"

namespace fathom {
namespace {

AppMessage said(std::string role, std::string content, int64_t created = 0) {
  AppMessage m;
  m.role = std::move(role), m.content = std::move(content), m.created = created;
  return m;
}

TEST(App, TitlesEndWithAWord) {
  EXPECT_EQ(title_of(" a \n\t b "), "a b");
  EXPECT_EQ(title_of(""), "");
  EXPECT_EQ(title_of(" \n"), "");
  EXPECT_EQ(title_of(std::string(60, 'x')), std::string(60, 'x'));
  EXPECT_EQ(title_of(std::string(61, 'x')), std::string(60, 'x')) << "one word that is too long";
  EXPECT_EQ(title_of(std::string(55, 'x') + " yyyyyy"), std::string(55, 'x'));
  EXPECT_EQ(title_of(std::string(55, 'x') + " yyyy z"), std::string(55, 'x') + " yyyy");
  std::string umlauts;
  for (int i = 0; i < 70; ++i) umlauts += "ü";
  EXPECT_EQ(title_of(umlauts).size(), 120u) << "60 characters of two bytes";
}

TEST(App, QueriesAreWords) {
  EXPECT_EQ(fts_query(" a  \"b\" c:*"), "\"a\"* \"\"\"b\"\"\"* \"c:*\"*");
  EXPECT_EQ(fts_query(" \n\t"), "");
  EXPECT_EQ(fts_query(std::string_view("a\0b", 3)), "\"a\"* \"b\"*");
}

TEST(App, StreamsGoOnBehindAnyByte) {
  AppMessage begun = said("assistant", "Für ");
  begun.thinking = "Höm. ", begun.status = "running";
  LiveAnswer answer(begun);
  answer.add_text("süße");
  const std::string all = "Höm. Für süße";
  for (uint64_t from = 0; from <= all.size() + 2; ++from) {
    const auto page = std::make_shared<testing::RecordedAnswer>();
    answer.attach(page, from);
    std::string told;
    for (size_t at = page->body.find("\"text\":\""); at != std::string::npos; at = page->body.find("\"text\":\"", at)) {
      at += 8;
      told += page->body.substr(at, page->body.find('"', at) - at);
    }
    size_t begin = std::min<size_t>(from, all.size());
    while (begin < all.size() && (static_cast<unsigned char>(all[begin]) & 0xC0) == 0x80) ++begin;
    EXPECT_EQ(told, all.substr(begin)) << from;
  }
}

TEST(App, PagesHearTheEndOnce) {
  std::vector<AppMessage> ends;
  LiveAnswer answer(said("assistant", ""), [&](AppMessage m) { ends.push_back(std::move(m)); });
  const auto page = std::make_shared<testing::RecordedAnswer>();
  answer.attach(page, 0);
  answer.add_text("one");
  answer.complete("done", "", {});
  answer.add_text("late");
  answer.complete("failed", "late", {});
  ASSERT_EQ(ends.size(), 1u);
  EXPECT_EQ(page->body.find("done"), std::string::npos) << "it is not kept yet";
  answer.close(ends[0]);
  page->wait();
  EXPECT_NE(page->body.find("\"type\":\"done\""), std::string::npos);
  EXPECT_EQ(page->body.find("late"), std::string::npos);
}

TEST(App, ImportedTreesHaveNoCircles) {
  ImportTree tree;
  tree.add("a", "b", said("user", "a"));
  tree.add("b", "a", said("assistant", "b"));
  tree.add("c", "c", said("user", "c"));
  tree.add("d", "nowhere", std::nullopt, "thought");
  tree.add("e", "d", said("assistant", "e", 5));
  tree.add("f", "e", said("user", "before its parent", 3));
  tree.add("a", "", said("user", "again"));
  std::string leaf = "d";
  const std::vector<AppMessage> messages = tree.take(leaf);
  ASSERT_EQ(messages.size(), 5u);
  std::map<std::string, const AppMessage*> seen;
  for (const AppMessage& m : messages) {
    EXPECT_TRUE(m.parent.empty() || seen.contains(m.parent)) << m.id;
    seen[m.id] = &m;
  }
  EXPECT_EQ(seen["e"]->thinking, "thought");
  EXPECT_EQ(seen["f"]->parent, "e");
  EXPECT_EQ(seen["a"]->content, "a");
  EXPECT_EQ(leaf, messages.back().id) << "above d there is no message";
}

TEST(App, DeepTreesAreNoTrouble) {
  ImportTree tree;
  for (int i = 0; i < 5'000; ++i) tree.add(std::to_string(i), std::to_string(i - 1), said("user", "x"));
  std::string leaf = "4999";
  std::vector<AppMessage> messages = tree.take(leaf);
  ChatStore store(std::make_shared<Database>(":memory:"));
  AppChat imported;
  imported.leaf = leaf;
  const AppChat chat = store.insert(imported, messages);
  EXPECT_EQ(store.branch(chat.leaf).size(), 5'000u);
  messages = store.messages(chat.id);
  EXPECT_EQ(branch_to(messages, chat.leaf).size(), 5'000u);
  EXPECT_EQ(store.remove_message(messages[10].id).size(), 4'990u);
  EXPECT_EQ(store.chat(chat.id).leaf, messages[9].id);
  store.erase(chat.id);
  EXPECT_EQ(store.count(), 0u);
}

TEST(App, FewPdfsAreReadAtATime) {
  const auto status = [](const std::string& bytes) {
    try {
      file_text("a", bytes);
      return 200;
    } catch (const ApiError& e) {
      EXPECT_EQ(e.status == 503, e.retry_after_s.has_value());
      return e.status;
    }
  };
  {
    std::vector<std::unique_ptr<PdfPlace>> places;
    for (int i = 0; i < PdfPlace::kPlaces; ++i) places.push_back(std::make_unique<PdfPlace>("a"));
    EXPECT_EQ(status("%PDF-1.4"), 503);
    EXPECT_EQ(status("%PDF-1.4"), 503) << "who was refused has taken no place";
    EXPECT_EQ(status("text"), 200) << "nothing else waits";
  }
  EXPECT_NE(status("%PDF-1.4"), 503);
}

TEST(App, DeletedChatsGoInTheEnd) {
  ChatStore store(std::make_shared<Database>(":memory:"));
  const AppChat kept = store.create({}), gone = store.create({});
  store.remove(gone.id);
  EXPECT_EQ(store.purge(0), 0u);
  EXPECT_EQ(store.purge(unix_ms() + 1), 1u);
  EXPECT_THROW(store.restore(gone.id), ApiError);
  EXPECT_EQ(store.chat(kept.id).id, kept.id);
}

}  // namespace
}  // namespace fathom

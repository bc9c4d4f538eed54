// Kept responses: what gives way, what belongs together.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "server/store/response_store.h"
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

}  // namespace
}  // namespace fathom

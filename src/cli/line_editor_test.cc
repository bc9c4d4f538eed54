#include "cli/line_editor.h"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "base/error.h"
#include "cli/chat_file.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "tests/testing.h"

namespace fathom {
namespace {

std::vector<std::string> messages_of(std::initializer_list<const char*> lines) {
  MessageLines joined;
  std::vector<std::string> messages;
  for (const char* line : lines)
    if (const auto message = joined.add(line)) messages.push_back(*message);
  return messages;
}

TEST(MessageLines, BackslashGoesOn) {
  EXPECT_EQ(messages_of({"one", "two\\", "three", "four"}), (std::vector<std::string>{"one", "two\nthree", "four"}));
}

TEST(MessageLines, QuotesOpenAndCloseABlock) {
  EXPECT_EQ(messages_of({"\"\"\"", "a\\", "", " b", "\"\"\"", "c"}), (std::vector<std::string>{"a\\\n\n b", "c"}));
  EXPECT_EQ(messages_of({"\"\"\"a", "b\"\"\""}), (std::vector<std::string>{"a\nb"}));
  EXPECT_EQ(messages_of({"\"\"\"one line\"\"\""}), (std::vector<std::string>{"one line"}));
}

TEST(ChatFile, RoundTrip) {
  const testing::TempDir dir;
  const std::vector<Message> messages{
      {.role = "system", .content = "s", .thinking = "", .tool_calls = {}},
      {.role = "user", .content = "ü\n\"q\"", .thinking = "", .tool_calls = {}},
      {.role = "assistant", .content = "a", .thinking = "t", .tool_calls = {{.name = "f", .arguments = "{}"}}}};
  save_chat(dir.path() / "c.json", "m", messages);
  const std::vector<Message> loaded = load_chat(dir.path() / "c.json");
  ASSERT_EQ(loaded.size(), 3u);
  EXPECT_EQ(loaded[1].content, "ü\n\"q\"");
  EXPECT_EQ(loaded[2].thinking, "t");
  ASSERT_EQ(loaded[2].tool_calls.size(), 1u);
  EXPECT_EQ(loaded[2].tool_calls[0].name, "f");
}

TEST(ChatFile, WrongFilesAreNamed) {
  const testing::TempDir dir;
  const auto error = [&](const char* text) -> std::string {
    std::ofstream(dir.path() / "c.json") << text;
    try {
      load_chat(dir.path() / "c.json");
    } catch (const Error& e) {
      return e.what();
    }
    return "none";
  };
  EXPECT_NE(error("{}").find("format"), std::string::npos);
  EXPECT_NE(error(R"({"format":"fathom.chat","version":2,"messages":[]})").find("expected 1, found 2"),
            std::string::npos);
  EXPECT_NE(error(R"({"format":"fathom.chat","version":1,"messages":[{"role":"root","content":""}]})").find("'root'"),
            std::string::npos);
  EXPECT_NE(error(R"({"format":"fathom.chat","version":1,"messages":[{"role":"user"}]})").find("content"),
            std::string::npos);
}

TEST(ChatFile, TheOldestExchangeGoes) {
  std::vector<Message> messages;
  for (const char* role : {"system", "user", "assistant", "tool", "assistant", "user"})
    messages.push_back({.role = role, .content = "", .thinking = "", .tool_calls = {}});
  EXPECT_TRUE(drop_oldest_exchange(messages));
  ASSERT_EQ(messages.size(), 2u);
  EXPECT_EQ(messages[1].role, "user");
  EXPECT_FALSE(drop_oldest_exchange(messages));
}

TEST(Output, LinesAreBounded) {
  std::istringstream in("short\nmuch too long\r\n\nend");
  EXPECT_EQ(read_line(in, "x", 8), "short");
  EXPECT_THROW(read_line(in, "x", 8), Error);
  EXPECT_EQ(read_line(in, "x", 8), "");
  EXPECT_EQ(read_line(in, "x", 8), "end");
  EXPECT_EQ(read_line(in, "x", 8), std::nullopt);
}

TEST(Output, IdsAreChecked) {
  EXPECT_EQ(ids_from_json(parse_json("[1,2]", "x"), "x"), (std::vector<int32_t>{1, 2}));
  for (const char* wrong : {"[-1]", "[2147483648]", "[1.5]", "{}", "[\"1\"]", "3"})
    EXPECT_THROW(ids_from_json(parse_json(wrong, "x"), "x"), Error) << wrong;
}

TEST(Progress, TheLineFitsAndTellsTheTimeLeft) {
  EXPECT_EQ(progress_line("loading", 0.5, 3, 80), "loading [###############               ] 50%, 3 s left");
  EXPECT_EQ(progress_line("loading", 0.5, 3, 10).size(), 9u);
  EXPECT_EQ(progress_line("x", 0.5, 1800, 80), "x [###############               ] 50%, 30 min left");
  EXPECT_EQ(progress_line("x", 0.5, 9000, 80), "x [###############               ] 50%, 2 h 30 min left");
}

}  // namespace
}  // namespace fathom

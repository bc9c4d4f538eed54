// Anthropic's protocol: what is read, and what is answered, by a tiny model whose words mean nothing.
#include "server/api/anthropic_reply.h"
#include "server/api/anthropic_request.h"
#include "server/api/api_testing.h"

namespace fathom {
namespace {

using testing::RecordedAnswer;
using AnthropicTest = testing::ApiTest;

GenerateRequest read(const std::string& body, const ThinkingSignature& signature = {}) {
  return read_anthropic_request(parse_json(body, "test"), signature);
}
json::array messages(const std::string& list, const ThinkingSignature& signature = {}) {
  return std::get<ChatPrompt>(read(R"({"max_tokens": 9, "messages": )" + list + "}", signature).prompt).messages;
}
/// What a bad request is told; "" for one that is taken.
std::string refusal(const std::string& body, const ThinkingSignature& signature = {}) {
  return testing::refusal([&] { read(body, signature); });
}
/// The events of a stream.
std::vector<json::object> events(const std::string& body) {
  std::vector<json::object> out;
  for (size_t at = 0; at < body.size();) {
    const size_t end = body.find("\n\n", at), data = body.find("\ndata: ", at);
    EXPECT_EQ(body.substr(at, 7), "event: ");
    if (end == std::string::npos || data > end) break;
    out.push_back(parse_json(body.substr(data + 7, end - data - 7), "event").as_object());
    EXPECT_EQ(body.substr(at + 7, data - at - 7), std::string(out.back().at("type").as_string()));
    at = end + 2;
  }
  return out;
}
std::string types(const std::vector<json::object>& events) {
  std::string out, last;
  for (const json::object& e : events) {
    std::string type(e.at("type").as_string());
    if (const json::value* delta = e.if_contains("delta"); delta && delta->get_object().contains("type"))
      type = std::string(delta->at("type").as_string());
    if (type != last) out += (out.empty() ? "" : " ") + type;
    last = type;
  }
  return out;
}

TEST(AnthropicRequest, BlocksBecomeMessages) {
  const ThinkingSignature key;
  const json::array list = messages(
      R"([{"role": "user", "content": "old"},
          {"role": "assistant", "content": [{"type": "thinking", "thinking": "gone", "signature": "any"},
                                            {"type": "text", "text": "A"}, {"type": "text", "text": "B"}]},
          {"role": "user", "content": [{"type": "text", "text": "q", "cache_control": {"type": "ephemeral"}}]},
          {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": ")" +
          key.sign("hm") + R"("}, {"type": "tool_use", "id": "t1", "name": "add", "input": {"a": 1}},
                                  {"type": "tool_use", "id": "t2", "name": "sub", "input": {}}]},
          {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t2", "content": [{"type": "text", "text": "two"}]},
                                       {"type": "tool_result", "tool_use_id": "t1", "content": "no", "is_error": true}]}])",
      key);
  EXPECT_EQ(to_json(list),
            R"([{"role":"user","content":"old"},{"role":"assistant","content":"A\nB"},{"role":"user","content":"q"},)"
            R"({"role":"assistant","content":"","reasoning_content":"hm","tool_calls":[)"
            R"({"id":"t1","type":"function","function":{"name":"add","arguments":"{\"a\":1}"}},)"
            R"({"id":"t2","type":"function","function":{"name":"sub","arguments":"{}"}}]},)"
            R"({"role":"tool","content":"two","tool_call_id":"t2","name":"sub"},)"
            R"({"role":"tool","content":"Error: no","tool_call_id":"t1","name":"add"}])");
}

TEST(AnthropicRequest, TurnsOfOneRoleAreOne) {
  const GenerateRequest r = read(
      R"({"max_tokens": 5, "system": [{"type": "text", "text": "be"}, {"type": "text", "text": "kind"}],
          "messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"},
                       {"role": "assistant", "content": "The answer is ("}]})");
  const ChatPrompt& chat = std::get<ChatPrompt>(r.prompt);
  EXPECT_EQ(to_json(chat.messages), R"([{"role":"system","content":"be\nkind"},{"role":"user","content":"a\nb"},)"
                                    R"({"role":"assistant","content":"The answer is ("}])");
  EXPECT_TRUE(chat.continue_last);
  EXPECT_EQ(chat.thinking, std::nullopt);
}

TEST(AnthropicRequest, ThinkingMustBearItsSignature) {
  const ThinkingSignature key, other;
  const auto body = [](const std::string& thinking, const std::string& signature) {
    return R"({"max_tokens": 5, "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": [
      {"type": "thinking", "thinking": ")" +
           thinking + R"(", "signature": ")" + signature +
           R"("}, {"type": "tool_use", "id": "t", "name": "f", "input": {}}]},
      {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "r"}]}]})";
  };
  EXPECT_EQ(refusal(body("hm", key.sign("hm")), key), "");
  EXPECT_NE(refusal(body("hM", key.sign("hm")), key), "");
  EXPECT_NE(refusal(body("hm", other.sign("hm")), key), "");
  EXPECT_THAT(refusal(body("hm", ""), key), ::testing::StartsWith("messages[1].content[0].signature: expected"));
}

TEST(AnthropicRequest, AKeyInAFileOutlivesItsServer) {
  const testing::TempDir folder;
  const auto file = folder.path() / "state" / "key";
  const ThinkingSignature first(file), second(file);
  EXPECT_TRUE(second.holds("text", first.sign("text")));
  EXPECT_EQ(std::filesystem::status(file).permissions(),
            std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  std::filesystem::resize_file(file, 5);
  EXPECT_THROW(ThinkingSignature{file}, Error);
}

TEST(AnthropicRequest, ToolsThinkingAndTheRest) {
  const GenerateRequest r = read(
      R"({"model": "m", "max_tokens": 2000, "messages": [{"role": "user", "content": "q"}], "stream": true,
          "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object"}, "cache_control": {}}],
          "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": true},
          "thinking": {"type": "enabled", "budget_tokens": 1024}, "stop_sequences": ["END"], "top_k": 5,
          "metadata": {"user_id": "u"}, "service_tier": "auto"})");
  const ChatPrompt& chat = std::get<ChatPrompt>(r.prompt);
  EXPECT_EQ(to_json(chat.tools),
            R"([{"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object"}}}])");
  EXPECT_EQ(r.tool_use, ToolUse::kRequired);
  EXPECT_EQ(r.tool_name, "f");
  EXPECT_FALSE(r.parallel_tool_calls);
  EXPECT_EQ(chat.thinking, true);
  EXPECT_EQ(r.thinking_budget, 1024u);
  EXPECT_EQ(r.stop, std::vector<std::string>{"END"});
  EXPECT_EQ(r.sampling.top_k, 5);
  EXPECT_EQ(r.warnings, std::vector<std::string>{"service_tier"});
}

TEST(AnthropicRequest, WhatIsWrongIsNamed) {
  const std::string ask = R"("messages": [{"role": "user", "content": "q"}])", most = R"({"max_tokens": 9, )";
  using ::testing::StartsWith;
  EXPECT_THAT(refusal("{" + ask + "}"), StartsWith("max_tokens: expected an integer"));
  EXPECT_THAT(refusal(R"({"max_tokens": 0, )" + ask + "}"), StartsWith("max_tokens: expected"));
  EXPECT_THAT(refusal(R"({"max_tokens": 1e30, )" + ask + "}"), StartsWith("max_tokens: expected"));
  EXPECT_THAT(refusal(most + R"("messages": []})"), StartsWith("messages: expected"));
  EXPECT_THAT(refusal(most + R"("messages": [{"role": "user", "content": []}]})"), StartsWith("messages: expected"));
  EXPECT_THAT(refusal(most + R"("messages": [{"role": "tool", "content": "x"}]})"), StartsWith("messages[0].role"));
  EXPECT_THAT(refusal(most + R"("messages": [{"role": "user", "content": [{"type": "image"}]}]})"),
              StartsWith("messages[0].content[0].type: expected text or tool_result"));
  EXPECT_THAT(
      refusal(most + R"("messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "x"}]}]})"),
      StartsWith("messages[0].content[0].tool_use_id: expected"));
  EXPECT_THAT(
      refusal(
          most +
          R"("messages": [{"role": "assistant", "content": [{"type": "tool_use", "id": "x", "name": "f", "input": {}}]}]})"),
      StartsWith("messages: expected a tool_result"));
  EXPECT_THAT(refusal(most + R"("thinking": {"type": "enabled", "budget_tokens": 9}, )" + ask + "}"),
              StartsWith("thinking.budget_tokens: expected less than max_tokens"));
  EXPECT_THAT(refusal(most + R"("tools": [{"name": "a b", "input_schema": {}}], )" + ask + "}"),
              StartsWith("tools[0].name: expected"));
  EXPECT_THAT(refusal(most + R"("tools": [{"type": "web_search_20250305", "name": "s"}], )" + ask + "}"),
              StartsWith("tools[0].type: expected custom"));
  EXPECT_THAT(refusal(most + R"("tool_choice": {"type": "any"}, )" + ask + "}"), StartsWith("tool_choice: expected"));
}

TEST_F(AnthropicTest, AStreamSaysWhatTheWholeReplySays) {
  const std::string fields =
      R"("model": "think", "max_tokens": 40, "thinking": {"type": "enabled", "budget_tokens": 12}, "top_k": 1,
         "messages": [{"role": "user", "content": "Why is the sky blue?"}])";
  const json::object whole = ask("/v1/messages", "{" + fields + "}")->parsed();
  const json::array& content = whole.at("content").as_array();
  ASSERT_EQ(content.size(), 2u) << to_json(whole);
  EXPECT_EQ(content[0].at("type"), "thinking");
  EXPECT_EQ(content[1].at("type"), "text");

  const auto answer = ask("/anthropic/v1/messages", "{" + fields + R"(, "stream": true})");
  EXPECT_EQ(answer->content_type, "text/event-stream");
  const std::vector<json::object> stream = events(answer->body);
  EXPECT_EQ(types(stream),
            "message_start ping content_block_start thinking_delta signature_delta content_block_stop "
            "content_block_start text_delta content_block_stop message_delta message_stop");
  std::string thinking, text, signature;
  for (const json::object& e : stream) {
    const json::value* delta = e.if_contains("delta");
    if (!delta || e.at("type") != "content_block_delta") continue;
    EXPECT_EQ(e.at("index"), delta->get_object().contains("text") ? 1 : 0);
    for (const auto& [key, to] : {std::pair("thinking", &thinking), {"text", &text}, {"signature", &signature}})
      if (const json::value* piece = delta->get_object().if_contains(key)) *to += std::string(piece->as_string());
  }
  EXPECT_EQ(json::value(thinking), content[0].at("thinking"));
  EXPECT_EQ(json::value(signature), content[0].at("signature"));
  EXPECT_EQ(json::value(text), content[1].at("text"));
  const json::object& end = stream[stream.size() - 2];
  EXPECT_EQ(end.at("delta").at("stop_reason"), "max_tokens");
  EXPECT_EQ(whole.at("stop_reason"), "max_tokens");
  EXPECT_EQ(whole.at("usage").at("output_tokens"), 40);
  EXPECT_EQ(end.at("usage").at("output_tokens"), 40);
  const auto total = [](const json::value& usage) {
    return usage.at("input_tokens").as_int64() + usage.at("cache_read_input_tokens").as_int64();
  };
  const int64_t counted =
      ask("/v1/messages/count_tokens", "{" + fields + "}")->parsed().at("input_tokens").to_number<int64_t>();
  EXPECT_EQ(total(stream[0].at("message").at("usage")), counted);
  EXPECT_EQ(total(end.at("usage")), counted);
  EXPECT_EQ(total(whole.at("usage")), counted);
}

TEST_F(AnthropicTest, AStopSequenceIsNamed) {
  const std::string fields =
      R"("model": "claude-x", "max_tokens": 60, "top_k": 1, "messages": [{"role": "user", "content": "Hi"}])";
  const json::object free = ask("/v1/messages", "{" + fields + "}")->parsed();
  const std::string text(free.at("content").at(0).at("text").as_string());
  const std::string stop = text.substr(text.size() / 2, 1);
  if (static_cast<unsigned char>(stop[0]) >= 0x80 || stop[0] < ' ') GTEST_SKIP() << "the model says nothing to stop at";
  const json::object cut =
      ask("/v1/messages", "{" + fields + R"(, "stop_sequences": [)" + to_json(json::value(stop)) + "]}")->parsed();
  EXPECT_EQ(cut.at("stop_reason"), "stop_sequence");
  EXPECT_EQ(cut.at("stop_sequence"), json::value(stop));
  EXPECT_EQ(cut.at("model"), "claude-x");
}

TEST_F(AnthropicTest, ErrorsAndModels) {
  const auto missing = ask(
      "/v1/messages", R"({"model": "claude-opus-4", "max_tokens": 1, "messages": [{"role": "user", "content": "q"}]})");
  EXPECT_EQ(missing->status, 404);
  const json::object error = missing->parsed();
  EXPECT_EQ(error.at("type"), "error");
  EXPECT_EQ(error.at("error").at("type"), "not_found_error");
  EXPECT_EQ(error.at("request_id"), "req-1");
  EXPECT_EQ(missing->header("request-id"), "req-1");
  EXPECT_EQ(ask("/v1/messages", "{")->parsed().at("error").at("type"), "invalid_request_error");
  EXPECT_EQ(ask("/v1/messages")->status, 405);

  const json::object list = ask("/anthropic/v1/models")->parsed();
  EXPECT_EQ(list.at("data").as_array().size(), 3u);
  EXPECT_EQ(list.at("data").at(0).at("type"), "model");
  EXPECT_EQ(list.at("last_id"), "claude-x");
  EXPECT_EQ(ask("/anthropic/v1/models/plain")->parsed().at("id"), "plain");
  EXPECT_EQ(ask("/v1/models", "", {{"anthropic-version", "2023-06-01"}})->parsed(), list);
  EXPECT_TRUE(ask("/v1/models")->parsed().contains("object"));
  EXPECT_EQ(ask("/anthropic/v1/models/none")->parsed().at("error").at("type"), "not_found_error");
}

TEST(AnthropicReply, CallsOfToolsAreBlocks) {
  const ThinkingSignature key;
  Answer answer;
  answer.text = "So:";
  answer.tool_calls = {{"add", R"({"a": 1})"}, {"sub", "{}"}};
  answer.finish_reason = FinishReason::kToolCalls;
  const auto reply = [&](bool stream) {
    auto recorded = std::make_shared<RecordedAnswer>();
    ReplyContext context{.id = "x",
                         .created = 0,
                         .model = "plain",
                         .loaded = nullptr,
                         .responder = recorded,
                         .headers = {},
                         .stream = stream};
    const auto made = make_anthropic_reply(std::move(context), "r", key);
    EXPECT_EQ(made->heartbeat(), stream ? "event: ping\ndata: {\"type\":\"ping\"}\n\n" : "\n");
    made->begin();
    made->text(0, "So:");
    for (size_t i = 0; i < 2; ++i) made->tool_call(0, i, answer.tool_calls[i]);
    made->finish({answer});
    return recorded->body;
  };
  EXPECT_EQ(to_json(parse_json(reply(false), "whole").at("content")),
            R"([{"type":"text","text":"So:"},{"type":"tool_use","id":"toolu_00x","name":"add","input":{"a":1}},)"
            R"({"type":"tool_use","id":"toolu_01x","name":"sub","input":{}}])");
  const std::string stream = reply(true);
  EXPECT_THAT(
      stream,
      ::testing::HasSubstr(
          R"(data: {"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"toolu_00x","name":"add","input":{}}})"
          "\n\nevent: content_block_delta\n"
          R"(data: {"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"a\": 1}"}})"
          "\n\nevent: content_block_stop\n"
          R"(data: {"type":"content_block_stop","index":1})"));
  EXPECT_EQ(types(events(stream)),
            "message_start ping content_block_start text_delta content_block_stop content_block_start input_json_delta "
            "content_block_stop content_block_start input_json_delta content_block_stop message_delta message_stop");
}

TEST(AnthropicErrors, TooMuchToDoIs529) {
  EXPECT_EQ(anthropic_status(api_error(std::make_exception_ptr(OverloadedError("full")))), 529);
  EXPECT_EQ(anthropic_status(api_error(std::make_exception_ptr(ResourceError("full")))), 529);
  EXPECT_EQ(to_json(anthropic_error({529, "full"}, "r")),
            R"({"type":"error","error":{"type":"overloaded_error","message":"full"},"request_id":"r"})");
}

}  // namespace
}  // namespace fathom

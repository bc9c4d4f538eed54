// /v1/responses: items read as a chat's messages, fields under their other names, what is refused; lines of batches.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/api/api_testing.h"
#include "server/api/batch_runner.h"
#include "server/api/responses_reply.h"
#include "server/api/responses_request.h"

namespace fathom {
namespace {

using testing::ApiTest;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::refusal;

ResponsesRequest read(const std::string& body, bool stateless = false) {
  EarlierItems earlier;
  earlier.conversation = [](const std::string& id) {
    EXPECT_EQ(id, "resp_1");
    return parse_json(R"([{"role": "user", "content": "a"},
                          {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "b"}]}])",
                      "items")
        .as_array();
  };
  earlier.item = [](const std::string& id) -> json::value {
    const json::object part{{"type", "reasoning_text"}, {"text", "hm"}};
    return json::object{{"type", "reasoning"}, {"id", id}, {"content", json::array{part}}};
  };
  return read_responses_request(parse_json(body, "the body"), earlier, stateless);
}
std::string messages(const ResponsesRequest& r) { return to_json(std::get<ChatPrompt>(r.generate.prompt).messages); }

TEST(Responses, ItemsBecomeMessages) {
  EXPECT_EQ(
      messages(read(R"({"input": "x", "instructions": "be brief", "previous_response_id": "resp_1"})")),
      R"([{"role":"system","content":"be brief"},{"role":"user","content":"a"},{"role":"assistant","content":"b"},)"
      R"({"role":"user","content":"x"}])");
  // One turn: its thoughts, its words and its calls, then the results.
  EXPECT_EQ(messages(read(R"({"input": [
      {"role": "developer", "content": [{"type": "input_text", "text": "d"}]}, {"role": "user", "content": "x"},
      {"type": "item_reference", "id": "rs_1"}, {"role": "assistant", "content": "y"},
      {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
      {"type": "function_call", "call_id": "c2", "name": "g", "arguments": "{\"a\":1}"},
      {"type": "function_call_output", "call_id": "c1", "output": "1"},
      {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "2"}]}]})")),
            R"([{"role":"system","content":"d"},{"role":"user","content":"x"},)"
            R"({"role":"assistant","content":"y","reasoning_content":"hm","tool_calls":[)"
            R"({"type":"function","function":{"name":"f","arguments":"{}"},"id":"c1"},)"
            R"({"type":"function","function":{"name":"g","arguments":"{\"a\":1}"},"id":"c2"}]},)"
            R"({"role":"tool","content":"1","tool_call_id":"c1"},{"role":"tool","content":"2","tool_call_id":"c2"}])");
}

TEST(Responses, FieldsBecomeThoseOfAChat) {
  const ResponsesRequest r = read(R"({"input": "x", "max_output_tokens": 7, "temperature": 0.5, "top_logprobs": 2,
      "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}}, "verbosity": "low"},
      "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}], "tool_choice": "none",
      "reasoning": {"effort": "none", "summary": "auto"}, "stream": true, "seed": 3, "n": 4, "metadata": {"a": "b"}})");
  EXPECT_EQ(r.generate.max_tokens, 7u);
  EXPECT_EQ(r.generate.sampling.seed, 3u);
  EXPECT_EQ(r.generate.top_logprobs, 2u);
  EXPECT_EQ(r.generate.form.kind, AnswerForm::Kind::kSchema);
  EXPECT_EQ(r.generate.tool_use, ToolUse::kNone);
  EXPECT_EQ(std::get<ChatPrompt>(r.generate.prompt).thinking, false);
  EXPECT_EQ(r.generate.n, 1u);
  EXPECT_TRUE(r.generate.stream && r.store && !r.background);
  EXPECT_THAT(r.generate.warnings, ElementsAre("text.verbosity", "n", "reasoning.summary"));
  EXPECT_EQ(r.echo.at("text").at("format").at("name"), "n");
  EXPECT_EQ(r.echo.at("metadata").at("a"), "b");
  EXPECT_FALSE(read(R"({"input": "x", "store": false})").store);
  EXPECT_FALSE(read(R"({"input": "x"})", /*stateless=*/true).store);
  EXPECT_TRUE(read(R"({"input": "x", "background": true})").generate.keep);
}

TEST(Responses, RefusalsNameTheFieldsHere) {
  const auto param = [](const std::string& body) -> std::string {
    try {
      read(body);
    } catch (const ApiError& e) {
      EXPECT_EQ(e.status, 400);
      EXPECT_THAT(e.what(), HasSubstr(*e.param));
      return *e.param;
    }
    return "";
  };
  EXPECT_EQ(param(R"({"input": "x", "max_output_tokens": -1})"), "max_output_tokens");
  EXPECT_EQ(param(R"({"input": "x", "text": {"format": {"type": "json_schema"}}})"), "text.format.schema");
  EXPECT_EQ(param(R"({"input": "x", "tools": [{"type": "function", "name": "a b"}]})"), "tools[0].name");
  EXPECT_EQ(param(R"({"input": [{"role": "king", "content": "x"}]})"), "input[0].role");
  EXPECT_EQ(param(R"({"input": [{"type": "reasoning", "content": [{"type": "reasoning_text"}]}]})"),
            "input[0].content[0].text");
  EXPECT_EQ(param(R"({"input": "x", "prompt": {"id": "p"}})"), "prompt");
  EXPECT_THAT(refusal([] { read(R"({"input": "x", "store": true, "previous_response_id": "resp_1"})", true); }),
              HasSubstr("nothing is stored"));
}

TEST(Responses, IdsLeadToTheirRequest) {
  const std::string id = "abcdefghijklmnopqrstuvwx";
  EXPECT_EQ(request_id_of(response_id(id)), id);
  EXPECT_EQ(request_id_of("msg_" + id + "07"), id);
  EXPECT_EQ(request_id_of("resp_short"), "");
  EXPECT_EQ(request_id_of(""), "");
}

TEST(BatchLines, AreReadOrNamed) {
  const std::string url = "/v1/embeddings", good = R"({"custom_id": "a", "url": "/v1/embeddings", "body": {"x": 1}})";
  const std::vector<BatchLine> lines = read_batch_lines(
      good + "\r\n\n" + R"({"custom_id": "b", "method": "POST", "url": "/v1/embeddings", "body": {}})", url);
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0].custom_id, "a");
  EXPECT_EQ(lines[0].body, R"({"x":1})");
  EXPECT_FALSE(lines[0].has_seed);
  EXPECT_TRUE(read_batch_lines(R"({"custom_id": "a", "url": "u", "body": {"seed": 0}})", "u")[0].has_seed);
  const auto why = [&](const std::string& text) { return refusal([&] { read_batch_lines(text, url); }); };
  EXPECT_THAT(why(""), HasSubstr("found none"));
  EXPECT_THAT(why(good + "\n" + good), HasSubstr("line 2: custom_id: expected 'a' once"));
  EXPECT_THAT(why("{"), HasSubstr("line 1: "));
  EXPECT_THAT(why("[]"), HasSubstr("line 1: "));
  EXPECT_THAT(why(R"({"custom_id": "a", "url": "/v1/completions", "body": {}})"),
              HasSubstr("url: expected /v1/embeddings"));
  EXPECT_THAT(why(R"({"custom_id": "a", "url": "/v1/embeddings", "body": {"stream": true}})"),
              HasSubstr("body.stream"));
  EXPECT_THAT(why(R"({"custom_id": "a", "url": "/v1/embeddings"})"), HasSubstr("body: expected an object"));
}

TEST(BatchLines, SeedsAreTheLinesOwn) {
  EXPECT_EQ(batch_seed("batch_a", 3), batch_seed("batch_a", 3));
  EXPECT_NE(batch_seed("batch_a", 3), batch_seed("batch_a", 4));
  EXPECT_NE(batch_seed("batch_a", 3), batch_seed("batch_b", 3));
  EXPECT_LT(batch_seed("batch_a", 3), uint64_t{1} << 53);
}

TEST_F(ApiTest, AResponseIsKeptAndGoneOnFrom) {
  const auto made = ask("/v1/responses", R"({"model": "plain", "input": "x", "max_output_tokens": 3})");
  ASSERT_EQ(made->status, 200) << made->body;
  const std::string id(made->parsed().at("id").as_string());
  EXPECT_EQ(ask("/v1/responses/" + id)->parsed(), made->parsed());
  EXPECT_EQ(ask("/v1/responses/" + id + "/input_items")->parsed().at("data").as_array().size(), 1u);
  const auto next = ask("/v1/responses", R"({"model": "plain", "input": "y", "max_output_tokens": 3,
      "previous_response_id": ")" + id + R"("})");
  EXPECT_GT(next->parsed().at("usage").at("input_tokens").as_int64(),
            made->parsed().at("usage").at("input_tokens").as_int64());
  EXPECT_EQ(ask("/v1/responses/resp_none")->status, 404);
  EXPECT_EQ(ask("/v1/responses/a/b/c")->status, 404);
}

}  // namespace
}  // namespace fathom

// OpenAI's protocol: what is read, what is not understood, and what is said of it.
#include "server/api/api_testing.h"
#include "server/api/openai_request.h"

namespace fathom {
namespace {

using OpenAiTest = testing::ApiTest;

std::vector<std::string> warnings(const std::string& fields) {
  const std::string head = R"({"messages": [{"role": "user", "content": "q"}])";
  return read_chat_request(parse_json(head + fields + "}", "test"), {}).warnings;
}
std::vector<std::string> of_messages(const std::string& list) {
  return read_chat_request(parse_json(R"({"messages": )" + list + "}", "test"), {}).warnings;
}

TEST(OpenAiRequest, WhatIsNotUnderstoodIsNamedWhereverItStands) {
  using ::testing::ElementsAre;
  EXPECT_THAT(warnings(""), ElementsAre());
  EXPECT_THAT(warnings(R"(, "foo": 1, "bar": null)"), ElementsAre("foo"));
  EXPECT_THAT(
      of_messages(R"([{"role": "user", "content": [{"type": "text", "text": "q", "detail": "low"}], "mood": 1},
                              {"role": "assistant", "content": null, "refusal": null, "reasoning": "a", "tool_calls": [
                                {"id": "c", "index": 0, "type": "function", "extra": 1,
                                 "function": {"name": "f", "arguments": "{}", "more": 2}}]},
                              {"role": "tool", "tool_call_id": "c", "content": "x", "reasoning_content": "of nobody"}])"),
      ElementsAre("messages[0].content[0].detail", "messages[0].mood", "messages[1].tool_calls[0].function.more",
                  "messages[1].tool_calls[0].extra", "messages[2].reasoning_content"));
  EXPECT_THAT(of_messages(R"([{"role": "user", "content": "q", "prefix": true}, {"role": "assistant", "content": "a",
                               "prefix": true}])"),
              ElementsAre("messages[0].prefix"));
  EXPECT_THAT(warnings(R"(, "tools": [{"type": "function", "x": 1, "function": {"name": "f", "y": 1}}],
                          "tool_choice": {"type": "function", "z": 1, "function": {"name": "f", "v": 1}})"),
              ElementsAre("tools[0].function.y", "tools[0].x", "tool_choice.function.v", "tool_choice.z"));
  EXPECT_THAT(warnings(R"(, "response_format": {"type": "json_schema", "a": 1,
                          "json_schema": {"name": "n", "schema": {}, "b": 1}})"),
              ElementsAre("response_format.json_schema.b", "response_format.a"));
  EXPECT_THAT(warnings(R"(, "response_format": {"type": "text", "schema": {}})"),
              ElementsAre("response_format.schema"));
  EXPECT_THAT(warnings(R"(, "stream": true, "stream_options": {"c": 1}, "thinking": {"type": "enabled", "d": 1})"),
              ElementsAre("stream_options.c", "thinking.d"));
}

TEST(OpenAiRequest, MuchThatIsNotUnderstoodLeavesTheRestRoom) {
  std::string list = "[";
  for (int i = 0; i < 1000; ++i) list += R"({"role": "user", "content": "q", "x": 1},)";
  list.back() = ']';
  const std::vector<std::string> names =
      read_chat_request(parse_json(R"({"messages": )" + list + R"(, "foo": 1})", "test"), {}).warnings;
  EXPECT_EQ(names.size(), 11u);
  EXPECT_EQ(names.back(), "foo");
}

TEST_F(OpenAiTest, APromptThatIsFarTooLongIsRefusedWithoutBeingRead) {
  const std::string text(2'000'000, 'x');
  const auto answer = ask("/v1/chat/completions", R"({"messages": [{"role": "user", "content": ")" + text + R"("}]})");
  EXPECT_EQ(answer->status, 400);
  const json::object error = answer->parsed().at("error").as_object();
  EXPECT_EQ(error.at("code"), "context_length_exceeded");
  EXPECT_THAT(std::string(error.at("message").as_string()),
              ::testing::StartsWith("This model's context has 512 tokens; the prompt has at least "));
}

TEST_F(OpenAiTest, ManyTextsAreReadInTheirTurn) {
  std::string inputs;
  for (int i = 0; i < 200; ++i) inputs += cat(i ? "," : "", "\"text ", i % 7, "\"");
  const auto all = ask("/v1/embeddings", R"({"model": "plain", "dimensions": 4, "input": [)" + inputs + "]}")->parsed();
  const json::array& data = all.at("data").as_array();
  ASSERT_EQ(data.size(), 200u);
  for (size_t i = 7; i < data.size(); ++i) EXPECT_EQ(data[i].at("embedding"), data[i % 7].at("embedding")) << i;
  EXPECT_EQ(all.at("usage").at("prompt_tokens").to_number<int>() % 2, 0);
  // What is wrong with a late one ends the request, and nothing of it runs on.
  const auto wrong = ask("/v1/embeddings", R"({"model": "plain", "input": [)" + inputs + R"(, ""]})");
  EXPECT_THAT(wrong->body, ::testing::HasSubstr("input[200]: expected a text"));
  host->wait_until_idle();
}

TEST_F(OpenAiTest, EveryRouteIsDescribed) {
  const json::object page = ask("/openapi.json")->parsed();
  const json::object& paths = page.at("paths").as_object();
  for (const char* path : {"/chat/completions/{id}", "/models/{name}", "/anthropic/v1/models/{name}"})
    EXPECT_EQ(paths.at(path).at("get").at("parameters").at(0).at("in"), "path");
  EXPECT_FALSE(paths.at("/chat/completions/{id}/cancel").at("post").as_object().contains("requestBody"));
  for (const char* path : {"/messages", "/anthropic/v1/messages", "/api/chat", "/api/generate", "/api/embed"}) {
    const json::value& body = paths.at(path).at("post").at("requestBody").at("content").at("application/json");
    EXPECT_TRUE(body.at("schema").at("properties").as_object().contains("model")) << path;
  }
  for (const auto& [path, methods] : paths)
    for (const auto& [method, operation] : methods.as_object())
      EXPECT_TRUE(operation.as_object().contains("summary")) << method << " " << path;
}

TEST_F(OpenAiTest, PathsWithNames) {
  EXPECT_EQ(ask("/v1/models/plain")->parsed().at("id"), "plain");
  EXPECT_EQ(ask("/anthropic/v1/models/claude-x")->parsed().at("id"), "claude-x");
  EXPECT_EQ(ask("/v1/models/a/b")->parsed().at("error").at("code"), "model_not_found");
  EXPECT_EQ(ask("/v1/chat/completions/none")->parsed().at("error").at("code"), "answer_not_found");
  EXPECT_EQ(ask("/v1/chat/completions/none/cancel", "{}")->parsed().at("error").at("code"), "answer_not_found");
  for (const char* path : {"/v1/models/", "/v1/chat/completions/", "/v1/chat/completions/x/y", "/v1/modelsx"})
    EXPECT_EQ(ask(path)->parsed().at("error").at("code"), "unknown_path") << path;
}

TEST_F(OpenAiTest, APromptsLogprobsAreNotHiddenByTheCache) {
  const std::string head = R"({"model": "plain", "prompt": "abcabcabc", "max_tokens": 2, "temperature": 0)";
  const auto told = [&](const std::string& fields) { return ask("/v1/completions", head + fields + "}")->parsed(); };
  const json::object first = told(R"(, "prompt_logprobs": 2)"), again = told(R"(, "prompt_logprobs": 2)");
  const json::object choice = first.at("choices").at(0).as_object();
  const json::array& prompt = choice.at("prompt_logprobs").as_array();
  EXPECT_EQ(prompt.size(), first.at("usage").at("prompt_tokens").to_number<size_t>());
  EXPECT_TRUE(prompt[0].is_null());
  for (size_t i = 1; i < prompt.size(); ++i) {
    EXPECT_GE(prompt[i].as_object().size(), 2u);
    for (const auto& [id, entry] : prompt[i].as_object()) {
      EXPECT_LE(entry.at("logprob").to_number<double>(), 0) << id;
      EXPECT_GE(entry.at("rank").to_number<int>(), 1) << id;
    }
  }
  EXPECT_EQ(again.at("choices"), first.at("choices"));
  EXPECT_EQ(again.at("usage").at("prompt_tokens_details").at("cached_tokens"), 0);
  const json::object echo = told(R"(, "echo": true, "logprobs": 2)").at("choices").at(0).as_object();
  const json::array& values = echo.at("logprobs").at("token_logprobs").as_array();
  ASSERT_EQ(values.size(), prompt.size() + 2);
  EXPECT_TRUE(values[0].is_null());
  for (size_t i = 1; i < prompt.size(); ++i) {
    bool found = false;
    for (const auto& [id, entry] : prompt[i].as_object()) found = found || entry.at("logprob") == values[i];
    EXPECT_TRUE(found) << i;
  }
  EXPECT_EQ(ask("/v1/completions", head + R"(, "stream": true, "prompt_logprobs": 1})")->status, 400);
  EXPECT_EQ(ask("/v1/completions", head + R"(, "stream": true, "echo": true, "logprobs": 1})")->status, 400);
}

TEST_F(OpenAiTest, AnAnswerKeepsToItsScript) {
  const std::string head =
      R"({"model": "plain", "prompt": "x", "max_tokens": 400, "temperature": 5, "top_p": 1, "ignore_eos": true, "seed": )";
  size_t others = 0;
  for (int seed = 0; seed < 4; ++seed)
    for (const std::string language : {"", "en", "ru", "ja"}) {
      const std::string field = language.empty() ? "" : R"(, "language": ")" + language + '"';
      const json::object reply = ask("/v1/completions", head + cat(seed, field, "}"))->parsed();
      const std::string text(reply.at("choices").at(0).at("text").as_string());
      const bool keeps = keeps_to(*scripts_of_language(language.empty() ? "en" : language), text);
      if (language.empty())
        others += keeps ? 0 : 1;
      else
        EXPECT_TRUE(keeps) << language << ": " << text;
    }
  EXPECT_GT(others, 0u) << "the model writes nothing else anyway";
  EXPECT_THAT(ask("/v1/completions", head + R"(1, "language": "klingon"})")->body,
              ::testing::HasSubstr("language: expected latin"));
}

TEST_F(OpenAiTest, WhatIsNotForAPathIsToldWhatIs) {
  const auto answer = ask("/v1/chat/completions");
  EXPECT_EQ(answer->status, 405);
  EXPECT_EQ(answer->header("Allow"), "POST");
  EXPECT_EQ(ask("/v1/models", "{}")->header("Allow"), "GET, HEAD");
}

}  // namespace
}  // namespace fathom

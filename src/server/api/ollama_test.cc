// Ollama's protocol: what is read, and what is answered, by a tiny model whose words mean nothing.
#include "server/api/api_testing.h"
#include "server/api/ollama_reply.h"
#include "server/api/ollama_request.h"

namespace fathom {
namespace {

using testing::RecordedAnswer;
using OllamaTest = testing::ApiTest;
using testing::refusal;

OllamaRequest chat(const std::string& body) { return read_ollama_chat(parse_json(body, "test")); }
OllamaRequest generate(const std::string& body) { return read_ollama_generate(parse_json(body, "test")); }
std::vector<json::object> lines(const std::string& body) {
  std::vector<json::object> out;
  std::istringstream in(body);
  for (std::string line; std::getline(in, line);) out.push_back(parse_json(line, "line").as_object());
  return out;
}
int64_t count(const json::object& line, const char* key) { return line.at(key).to_number<int64_t>(); }

TEST(OllamaRequest, AChatIsRead) {
  const OllamaRequest r = chat(
      R"({"model": "m:latest", "think": "low", "format": {"type": "object"}, "keep_alive": "5m", "messages": [
          {"role": "system", "content": "s"}, {"role": "user", "content": "q", "images": []},
          {"role": "assistant", "content": "", "thinking": "hm",
           "tool_calls": [{"function": {"name": "add", "arguments": {"a": 1}}}]},
          {"role": "tool", "tool_name": "add", "content": "2"}],
          "tools": [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}],
          "options": {"temperature": 0.5, "num_predict": -1, "stop": ["x"], "num_ctx": 4096, "repeat_penalty": 1.1}})");
  const ChatPrompt& prompt = std::get<ChatPrompt>(r.generate.prompt);
  EXPECT_EQ(to_json(prompt.messages), R"([{"role":"system","content":"s"},{"role":"user","content":"q"},)"
                                      R"({"role":"assistant","content":"","reasoning_content":"hm","tool_calls":[)"
                                      R"({"type":"function","function":{"name":"add","arguments":"{\"a\":1}"}}]},)"
                                      R"({"role":"tool","content":"2","name":"add"}])");
  EXPECT_EQ(r.generate.model, "m");
  EXPECT_TRUE(r.generate.stream);
  EXPECT_FALSE(r.only_load);
  EXPECT_FALSE(prompt.continue_last);
  EXPECT_EQ(prompt.tools.size(), 1u);
  EXPECT_EQ(prompt.thinking, true);
  EXPECT_EQ(r.generate.thinking_budget, 1024u);
  EXPECT_EQ(r.generate.form.kind, AnswerForm::Kind::kSchema);
  EXPECT_EQ(r.generate.max_tokens, 0u);
  EXPECT_EQ(r.generate.sampling.temperature, 0.5);
  EXPECT_EQ(r.generate.stop, std::vector<std::string>{"x"});
  EXPECT_EQ(r.generate.warnings, std::vector<std::string>{"options.num_ctx"});
}

TEST(OllamaRequest, APromptIsRead) {
  const OllamaRequest r =
      generate(R"({"model": "m", "prompt": "p", "system": "s", "stream": false, "format": "json"})");
  EXPECT_EQ(to_json(std::get<ChatPrompt>(r.generate.prompt).messages),
            R"([{"role":"system","content":"s"},{"role":"user","content":"p"}])");
  EXPECT_FALSE(r.generate.stream);
  EXPECT_EQ(r.generate.form.kind, AnswerForm::Kind::kJson);
  EXPECT_EQ(std::get<std::string>(generate(R"({"model": "m", "prompt": "p", "raw": true})").generate.prompt), "p");
  EXPECT_EQ(generate(R"({"model": "m", "prompt": "p", "suffix": "t"})").generate.suffix, "t");
  EXPECT_THAT(
      generate(R"({"model": "m", "prompt": "p", "raw": true, "system": "s", "think": "low"})").generate.warnings,
      ::testing::ElementsAre("system", "think"));
  EXPECT_TRUE(generate(R"({"model": "m"})").only_load);
  EXPECT_TRUE(chat(R"({"model": "m"})").only_load);
}

TEST_F(OllamaTest, NoNameIsNoModel) {
  for (const char* body : {R"({})", R"({"model": ""})", R"({"model": ":latest", "name": ""})"})
    EXPECT_EQ(ask("/api/show", body)->status, 400) << body;
  EXPECT_EQ(ask("/api/show", R"({"model": "", "name": "plain"})")->status, 200);
}

TEST_F(OllamaTest, Embed) {
  const auto answer = ask("/api/embed", R"({"model": "plain:latest", "input": ["a", "b", "a"], "dimensions": 8,
                                            "truncate": true, "keep_alive": "5m"})");
  EXPECT_EQ(answer->header("X-Fathom-Ignored"), "truncate");
  const json::object out = answer->parsed();
  const json::array& vectors = out.at("embeddings").as_array();
  ASSERT_EQ(vectors.size(), 3u);
  EXPECT_EQ(vectors[0].as_array().size(), 8u);
  EXPECT_EQ(vectors[0], vectors[2]);
  EXPECT_NE(vectors[0], vectors[1]);
  EXPECT_EQ(count(out, "prompt_eval_count"), 3);
  const json::object same = ask("/v1/embeddings", R"({"model": "plain", "input": "a", "dimensions": 8})")->parsed();
  EXPECT_EQ(same.at("data").at(0).at("embedding"), vectors[0]);
  EXPECT_EQ(ask("/api/embed", R"({"model": "plain"})")->status, 400);
}

TEST(OllamaRequest, WhatIsWrongIsNamed) {
  using ::testing::StartsWith;
  const auto of = [](const std::string& fields) {
    return refusal([&] { chat(R"({"model": "m", "messages": [{"role": "user", "content": "q"}], )" + fields + "}"); });
  };
  EXPECT_THAT(refusal([] { chat(R"({"messages": []})"); }), StartsWith("model: expected"));
  EXPECT_THAT(of(R"("think": 3)"), StartsWith("think: expected"));
  EXPECT_THAT(of(R"("think": "wild")"), StartsWith("think: expected"));
  EXPECT_THAT(of(R"("format": "xml")"), StartsWith("format: expected"));
  EXPECT_THAT(of(R"("options": {"mirostat": 2})"), StartsWith("options.mirostat: expected 0"));
  EXPECT_THAT(of(R"("options": {"num_predict": 1e300})"), StartsWith("options.num_predict: expected"));
  EXPECT_THAT(of(R"("options": 3)"), StartsWith("options: expected a JSON object"));
  EXPECT_THAT(of(R"("template": "x")"), StartsWith("template: "));
  EXPECT_THAT(
      refusal([] { chat(R"({"model": "m", "messages": [{"role": "user", "content": "q", "images": ["aa"]}]})"); }),
      StartsWith("messages[0].images: expected none"));
  EXPECT_THAT(refusal([] { generate(R"({"model": "m", "prompt": "p", "context": [1]})"); }), StartsWith("context: "));
}

TEST_F(OllamaTest, AStreamSaysWhatTheWholeReplySays) {
  for (const std::string model : {"think", "plain"}) {
    const std::string fields = R"({"model": ")" + model + R"(", "messages": [{"role": "user", "content": "Why?"}],
                                "options": {"num_predict": 12, "top_k": 1})";
    const auto whole_answer = ask("/api/chat", fields + R"(, "stream": false})");
    const json::object whole = whole_answer->parsed();
    EXPECT_EQ(whole_answer->content_type, "application/json");
    const auto answer = ask("/api/chat", fields + "}");
    EXPECT_EQ(answer->content_type, "application/x-ndjson");
    const std::vector<json::object> stream = lines(answer->body);
    ASSERT_GT(stream.size(), 2u);
    std::string thinking, text;
    for (const json::object& line : stream) {
      EXPECT_EQ(line.at("done"), &line == &stream.back());
      EXPECT_EQ(line.at("model"), json::value(model));
      const json::object& message = line.at("message").as_object();
      text += std::string(message.at("content").as_string());
      if (const json::value* piece = message.if_contains("thinking")) thinking += std::string(piece->as_string());
    }
    const json::object& message = whole.at("message").as_object();
    EXPECT_NE(thinking.empty(), model == "think");
    EXPECT_NE(text.empty(), model == "plain");
    EXPECT_EQ(json::value(text), message.at("content"));
    EXPECT_EQ(json::value(thinking), message.contains("thinking") ? message.at("thinking") : json::value(""));
    for (const json::object* end : {&whole, &stream.back()}) {
      EXPECT_EQ(count(*end, "eval_count"), count(whole, "eval_count"));
      EXPECT_EQ(end->at("done_reason"), whole.at("done_reason"));
      EXPECT_GT(count(*end, "prompt_eval_count"), 0);
      EXPECT_GE(count(*end, "total_duration"), count(*end, "prompt_eval_duration") + count(*end, "eval_duration"));
      EXPECT_GT(count(*end, "eval_duration"), 0);
    }
  }
}

TEST_F(OllamaTest, GenerateAndLogprobs) {
  const json::object whole =
      ask("/api/generate", R"({"model": "plain:latest", "prompt": "Hi", "stream": false, "logprobs": true,
                               "top_logprobs": 2, "options": {"num_predict": 6}})")
          ->parsed();
  EXPECT_TRUE(whole.at("response").is_string());
  ASSERT_EQ(static_cast<int64_t>(whole.at("logprobs").as_array().size()), count(whole, "eval_count"));
  EXPECT_EQ(whole.at("logprobs").at(0).at("top_logprobs").as_array().size(), 2u);
  EXPECT_EQ(ask("/api/generate", R"({"model": "plain"})")->parsed().at("done_reason"), "load");
}

TEST_F(OllamaTest, ListsAndErrors) {
  const json::object tags = ask("/api/tags")->parsed();
  ASSERT_EQ(tags.at("models").as_array().size(), 3u);
  const json::value& first = tags.at("models").at(0);
  EXPECT_EQ(first.at("name"), "think");
  EXPECT_EQ(first.at("size").to_number<uint64_t>(),
            std::filesystem::file_size(testing::golden_dir() / "gguf" / "qwen2.gguf"));
  EXPECT_EQ(first.at("details").at("family"), "qwen2");
  EXPECT_EQ(ask("/api/ps")->parsed().at("models").as_array().size(), 0u);
  const json::object show = ask("/api/show", R"({"model": "think"})")->parsed();
  EXPECT_EQ(show.at("model_info").at("general.architecture"), "qwen2");
  EXPECT_TRUE(show.at("model_info").as_object().contains("qwen2.context_length"));
  EXPECT_EQ(to_json(show.at("capabilities")), R"(["completion","thinking"])");
  EXPECT_EQ(ask("/api/ps")->parsed().at("models").as_array().size(), 1u);
  EXPECT_TRUE(ask("/api/version")->parsed().contains("version"));

  const auto missing = ask("/api/chat", R"({"model": "none", "messages": [{"role": "user", "content": "q"}]})");
  EXPECT_EQ(missing->status, 404);
  EXPECT_TRUE(missing->parsed().at("error").is_string());
  const auto thinker =
      ask("/api/chat", R"({"model": "plain", "think": true, "messages": [{"role": "user", "content": "q"}]})");
  EXPECT_EQ(thinker->status, 400);
  EXPECT_EQ(thinker->parsed().at("error"), R"("plain" does not support thinking)");
  EXPECT_EQ(ask("/api/nothing")->status, 404);
}

TEST(OllamaReply, CallsOfToolsHaveObjects) {
  auto recorded = std::make_shared<RecordedAnswer>();
  ReplyContext context{.id = "x",
                       .created = 0,
                       .model = "plain",
                       .loaded = nullptr,
                       .responder = recorded,
                       .headers = {},
                       .stream = true};
  const auto reply = make_ollama_chat_reply(std::move(context), std::chrono::steady_clock::now());
  EXPECT_EQ(reply->heartbeat(), " ");
  reply->begin();
  reply->tool_call(0, 0, {"add", R"({"a": 1})"});
  reply->finish({Answer{}});
  EXPECT_EQ(to_json(lines(recorded->body).front().at("message")),
            R"({"role":"assistant","content":"","tool_calls":[{"id":"call_0_x",)"
            R"("function":{"index":0,"name":"add","arguments":{"a":1}}}]})");
  const auto failing = std::make_shared<RecordedAnswer>();
  ReplyContext other{.id = "y",
                     .created = 0,
                     .model = "plain",
                     .loaded = nullptr,
                     .responder = failing,
                     .headers = {},
                     .stream = true};
  const auto broken = make_ollama_chat_reply(std::move(other), std::chrono::steady_clock::now());
  broken->begin();
  broken->fail({500, "it broke"});
  EXPECT_EQ(failing->body, "{\"error\":\"it broke\"}\n");
}

TEST(OllamaReply, TimesAreUtc) {
  EXPECT_EQ(utc_time(std::chrono::system_clock::time_point(std::chrono::microseconds(1'000'000'000'000'007))),
            "2001-09-09T01:46:40.000007Z");
}

}  // namespace
}  // namespace fathom

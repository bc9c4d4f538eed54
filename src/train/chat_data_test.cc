// Chat data on token ids, with the ecosystem's templates and tokenizers. Ids written out by hand were checked with
// Hugging Face's tokenizers.
#include "train/chat_data.h"

#include "base/error.h"
#include "base/json.h"
#include "formats/gguf.h"
#include "formats/tokenizer_gguf.h"
#include "formats/tokenizer_json.h"
#include "tests/precompiled.h"
#include "tests/testing.h"

namespace fathom {
namespace {

using Ids = std::vector<TokenId>;

/// Read once: the vocabularies are large.
const Tokenizer& tokenizer(const std::string& name) {
  static std::map<std::string, Tokenizer> known;
  if (const auto found = known.find(name); found != known.end()) return found->second;
  const std::filesystem::path folder = *testing::shared_path("data/tokenizers");
  return known.emplace(name, *tokenizer_from_folder(folder / name)).first->second;
}

ChatTemplate chat_template(const std::string& name) {
  return ChatTemplate(testing::read_file(*testing::shared_path("data/templates") / (name + ".jinja")));
}

#define SKIP_WITHOUT_DATA()                                                                      \
  if (!testing::shared_path("data/tokenizers/qwen3") || !testing::shared_path("data/templates")) \
  GTEST_SKIP() << "needs data/tokenizers and data/templates"

ChatData read(const std::string& lines, const Tokenizer& tokenizer, const ChatTemplate* chat,
              const ChatDataOptions& options = {.context = 1000}) {
  const testing::TempDir folder;
  std::ofstream(folder.path() / "data.jsonl", std::ios::binary) << lines;
  return read_chat_data({folder.path() / "data.jsonl"}, tokenizer, chat, options);
}

std::string error_of(const std::string& lines, const Tokenizer& tokenizer, const ChatTemplate* chat,
                     const ChatDataOptions& options = {.context = 1000}) {
  try {
    read(lines, tokenizer, chat, options);
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

Ids counted(const Sample& sample) {
  Ids out;
  for (size_t i = 0; i < sample.ids.size(); ++i)
    if (sample.counts[i]) out.push_back(sample.ids[i]);
  return out;
}

Ids operator+(Ids a, const Ids& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

TEST(ChatData, ASampleIsThePromptAndTheAnswerOfTheReferenceModel) {
  const auto gguf = testing::shared_path("models/SmolLM2-135M-Instruct.Q4_1.gguf");
  const auto reference = testing::shared_path("models/smollm2-135m-instruct-q4_1.reference.json");
  if (!gguf || !reference) GTEST_SKIP() << "needs models/SmolLM2-135M-Instruct";
  const TokenizerSpec spec = *tokenizer_from_gguf(GgufFile(*gguf).metadata());
  const ChatTemplate chat(spec.chat_template);
  const Tokenizer tokenizer(spec);
  const json::value file = read_json_file(*reference);
  size_t whole = 0;
  for (const json::value& value : file.at("cases").as_array()) {
    const JsonObject item(value, "case");
    const Ids prompt = json::value_to<Ids>(*item.find("input_ids")),
              answer = json::value_to<Ids>(*item.find("greedy_ids"));
    if (answer.back() != *spec.eos) continue;
    const json::object line = {
        {"messages", json::array{{{"role", "user"}, {"content", item.string("prompt")}},
                                 {{"role", "assistant"}, {"content", item.string("greedy_text")}}}}};
    const ChatData data = read(to_json(line), tokenizer, &chat);
    ASSERT_EQ(data.samples.size(), 1u);
    EXPECT_EQ(data.samples[0].ids, prompt + answer);
    EXPECT_EQ(counted(data.samples[0]), answer);
    ++whole;
  }
  EXPECT_GT(whole, 0u);
}

/// {"messages": [{"role": ..., "content": ...}, ...]}
std::string conversation(const std::vector<std::pair<std::string, std::string>>& messages) {
  json::array list;
  for (const auto& [role, content] : messages) list.push_back(json::object{{"role", role}, {"content", content}});
  return to_json(json::object{{"messages", std::move(list)}}) + "\n";
}

TEST(ChatData, Llama3CountsContentAndEndOfBothTurns) {
  SKIP_WITHOUT_DATA();
  const ChatTemplate chat = chat_template("meta-llama-Llama-3");
  const ChatData data =
      read(conversation({{"user", "Hi"}, {"assistant", "Hello there"}, {"user", "Bye"}, {"assistant", "Bye!"}}),
           tokenizer("llama-3.1"), &chat);
  ASSERT_EQ(data.samples.size(), 1u);
  // <|begin_of_text|> <|start_header_id|> user <|end_header_id|> \n\n Hi <|eot_id|> ...
  const Ids first{128000, 128006, 882, 128007, 271, 13347, 128009, 128006, 78191, 128007, 271};
  const Ids second{128006, 882, 128007, 271, 1383, 68, 128009, 128006, 78191, 128007, 271};
  const Ids hello{9906, 1070, 128009}, bye{1383, 68, 0, 128009};
  EXPECT_EQ(data.samples[0].ids, first + hello + second + bye);
  EXPECT_EQ(counted(data.samples[0]), hello + bye);
  EXPECT_EQ(data.turns, 2u);
}

TEST(ChatData, ATurnWhoseThinkingIsDroppedLaterIsASampleOfItsOwn) {
  SKIP_WITHOUT_DATA();
  const ChatTemplate chat = chat_template("Qwen-Qwen3-0.6B");
  const Ids hi{151644, 872, 198, 13048, 151645, 198, 151644, 77091, 198};
  const Ids thought{151667, 198, 11578, 624,
                    151668, 271, 18665, 151645};  // <think> \n Ok .\n </think> \n\n Hey <|im_end|>
  const Ids hey{18665, 151645};
  // No thinking: the switch is off, and the prompt ends in <think> \n\n </think> \n\n.
  const Ids bye_prompt{198, 151644, 872, 198, 1359, 68, 151645, 198, 151644, 77091, 198, 151667, 271, 151668, 271};
  const Ids bye{1359, 68, 151645};
  const ChatData data =
      read(conversation(
               {{"user", "Hi"}, {"assistant", "<think>\nOk.\n</think>\n\nHey"}, {"user", "Bye"}, {"assistant", "Bye"}}),
           tokenizer("qwen3"), &chat);
  ASSERT_EQ(data.samples.size(), 2u);
  EXPECT_EQ(data.samples[0].ids, hi + thought);
  EXPECT_EQ(counted(data.samples[0]), thought);
  EXPECT_EQ(data.samples[1].ids, hi + hey + bye_prompt + bye);
  EXPECT_EQ(counted(data.samples[1]), bye);
}

TEST(ChatData, AThoughtThatTheTemplateDropsIsLearnedAsTheModelWritesIt) {
  SKIP_WITHOUT_DATA();
  // Bytes of <think> are no token of this vocabulary: "<" "think" ">\n" end the prompt.
  const Ids header{0, 7153, 9708, 16, 128803, 19, 13, 19, 33, 128804}, open{30, 37947, 1018};
  const Ids answer{6340, 603, 1718, 37947, 4697, 20, 1};  // Add .\n </ think >\n\n 2 <eos>
  const std::string inline_form =
      conversation({{"system", "Be brief."}, {"user", "1+1?"}, {"assistant", "<think>\nAdd.\n</think>\n\n2"}});
  const std::string without_tag =
      conversation({{"system", "Be brief."}, {"user", "1+1?"}, {"assistant", "Add.\n</think>\n\n2"}});
  const std::string own_key = R"({"messages": [{"role": "system", "content": "Be brief."},)"
                              R"({"role": "user", "content": "1+1?"},)"
                              R"({"role": "assistant", "content": "2", "reasoning_content": "Add.\n"}]})";
  for (const char* name :
       {"deepseek-ai-DeepSeek-R1-Distill-Qwen-32B", "deepseek-ai-DeepSeek-R1-Distill-Llama-8B", "trl-deepseekv3"}) {
    const ChatTemplate chat = chat_template(name);
    for (const std::string& line : {inline_form, without_tag, own_key}) {
      const ChatData data = read(line, tokenizer("deepseek-v3"), &chat);
      ASSERT_EQ(data.samples.size(), 1u);
      EXPECT_EQ(data.samples[0].ids, header + open + answer) << name << line;
      EXPECT_EQ(counted(data.samples[0]), answer) << name << line;
      EXPECT_EQ(data.without_prefill, 0u);
    }
  }
  // V3.1 writes no line breaks around thinking, and ends the prompt with <think>.
  const ChatTemplate v31 = chat_template("deepseek-ai-DeepSeek-V3.1");
  const ChatData data = read(own_key, tokenizer("deepseek-v3"), &v31);
  EXPECT_EQ(tokenizer("deepseek-v3").decode(data.samples.at(0).ids),
            "<｜begin▁of▁sentence｜>Be brief.<｜User｜>1+1?<｜Assistant｜><think>Add.</think>2<｜end▁of▁sentence｜>");
  EXPECT_EQ(tokenizer("deepseek-v3").decode(counted(data.samples[0])), "Add.</think>2<｜end▁of▁sentence｜>");
  const std::string same = conversation({{"user", "2?"}, {"assistant", "<think>2</think>2"}});
  EXPECT_EQ(tokenizer("deepseek-v3").decode(counted(read(same, tokenizer("deepseek-v3"), &v31).samples.at(0))),
            "2</think>2<｜end▁of▁sentence｜>")
      << "the content is not taken for the thinking";
}

TEST(ChatData, AnAnswerWithoutThinkingIsNotWrittenIntoAnOpenThought) {
  SKIP_WITHOUT_DATA();
  const std::string line = conversation({{"system", "Be brief."}, {"user", "1+1?"}, {"assistant", "2"}});
  const ChatTemplate always_thinks = chat_template("trl-deepseekv3");
  const ChatData data = read(line, tokenizer("deepseek-v3"), &always_thinks);
  EXPECT_EQ(data.samples.at(0).ids, (Ids{0, 7153, 9708, 16, 128803, 19, 13, 19, 33, 128804, 20, 1}));
  EXPECT_EQ(counted(data.samples[0]), (Ids{20, 1}));
  EXPECT_EQ(data.without_prefill, 1u);
}

TEST(ChatData, ToolCallsCountAndToolResultsDoNot) {
  SKIP_WITHOUT_DATA();
  const ChatTemplate chat = chat_template("Qwen-Qwen2.5-7B-Instruct");
  const auto line = [](const std::string& arguments) {
    return R"({"messages": [{"role": "user", "content": "1+2?"}, {"role": "assistant", "content": null, "tool_calls": )"
           R"([{"id": "c1", "type": "function", "function": {"name": "add", "arguments": )" +
           arguments +
           R"(}}]}, {"role": "tool", "tool_call_id": "c1", "content": "3"}, {"role": "assistant", "content": "3"}], )"
           R"("tools": [{"type": "function", "function": {"name": "add", "parameters": {}}}]})";
  };
  for (const char* arguments : {R"({"a": 1})", R"("{\"a\": 1}")"}) {
    const ChatData data = read(line(arguments), tokenizer("qwen3"), &chat);
    ASSERT_EQ(data.samples.size(), 1u);
    // <tool_call> \n {" name ": ... }} \n </tool_call> <|im_end|>, then 3 <|im_end|>
    EXPECT_EQ(counted(data.samples[0]), (Ids{151657, 198, 4913, 606, 788, 330,   718,    497,    330, 16370, 788,
                                             5212,   64,  788,  220, 16,  11248, 151658, 151645, 18,  151645}));
    const std::string text = tokenizer("qwen3").decode(data.samples[0].ids);
    EXPECT_NE(text.find("\"name\": \"add\", \"parameters\""), std::string::npos) << "tools are in the prompt";
    EXPECT_NE(text.find("<tool_response>\n3\n</tool_response>"), std::string::npos);
  }
}

TEST(ChatData, ControlTokensInAMessageStayText) {
  SKIP_WITHOUT_DATA();
  const ChatTemplate chat = chat_template("Qwen-Qwen2.5-7B-Instruct");
  const ChatData data =
      read(conversation({{"user", "<|im_end|><tool_call>"}, {"assistant", "<|im_end|>\n<|im_start|>x<tool_call>"}}),
           tokenizer("qwen3"), &chat);
  const Ids answer = counted(data.samples.at(0));
  EXPECT_EQ(std::count(answer.begin(), answer.end(), 151645), 1) << "<|im_end|>: the turn's own";
  EXPECT_EQ(std::count(answer.begin(), answer.end(), 151644), 0) << "<|im_start|>";
  EXPECT_EQ(std::count(answer.begin(), answer.end(), 151657), 1) << "<tool_call> is what an assistant may write";
  const Ids& ids = data.samples[0].ids;
  EXPECT_EQ(std::count(ids.begin(), ids.end(), 151657), 1) << "but nobody else";
  EXPECT_EQ(std::count(ids.begin(), ids.end(), 151645), 3) << "system, user, assistant";
}

TEST(ChatData, EveryTemplateCountsTheAnswerAndItsEnd) {
  SKIP_WITHOUT_DATA();
  size_t templates = 0;
  for (const auto& entry : std::filesystem::directory_iterator(*testing::shared_path("data/templates"))) {
    if (entry.path().extension() != ".jinja") continue;
    const std::string name = entry.path().stem().string();
    const bool qwen = name.starts_with("Qwen"), llama = name.starts_with("meta-llama");
    const Tokenizer& vocabulary = tokenizer(qwen ? "qwen3" : llama ? "llama-3.1" : "deepseek-v3");
    const std::string end = qwen ? "<|im_end|>" : llama ? "<|eot_id|>" : "<｜end▁of▁sentence｜>";
    const ChatTemplate chat = chat_template(name);
    for (const bool thinks : {false, true}) {
      SCOPED_TRACE(cat(name, thinks ? ", thinking" : ""));
      const std::string answer = thinks ? "<think>\nWhy not.\n</think>\n\nGladly." : "Gladly.";
      const ChatData data =
          read(conversation({{"user", "Question"}, {"assistant", "Early."}, {"user", "Help!"}, {"assistant", answer}}),
               vocabulary, &chat);
      std::string learned;
      for (const Sample& sample : data.samples) {
        learned += vocabulary.decode(counted(sample));
        const TokenId bos = vocabulary.spec().bos.value_or(-1);
        EXPECT_EQ(std::count(sample.ids.begin(), sample.ids.end(), bos), qwen ? 0 : 1);
      }
      EXPECT_NE(learned.find("Early." + end), std::string::npos) << learned;
      EXPECT_TRUE(learned.ends_with("Gladly." + end)) << learned;
      EXPECT_EQ(learned.find("Why not.") != std::string::npos, thinks) << learned;
      for (const char* other : {"Question", "Help", "user", "User", "assistant", "Assistant"})
        EXPECT_EQ(learned.find(other), std::string::npos) << learned;
      EXPECT_EQ(data.turns, 2u);
      EXPECT_EQ(data.without_end, 0u);
    }
    ++templates;
  }
  EXPECT_GT(templates, 0u);
}

TEST(ChatData, PairsAndTextsHaveOneBosAndOneEos) {
  SKIP_WITHOUT_DATA();
  const Tokenizer& v3 = tokenizer("deepseek-v3");
  const ChatData data = read(
      "{\"prompt\": \"1+1=\", \"completion\": \"2\"}\n{\"text\": \"1+1=2\"}\n{\"text\": \"<｜end▁of▁sentence｜>\"}\n",
      v3, nullptr);
  ASSERT_EQ(data.samples.size(), 3u);
  EXPECT_EQ(data.samples[0].ids, (Ids{0, 19, 13, 19, 31, 20, 1}));
  EXPECT_EQ(data.samples[0].counts, (std::vector<uint8_t>{0, 0, 0, 0, 0, 1, 1}));
  EXPECT_EQ(data.samples[1].ids, (Ids{0, 19, 13, 19, 31, 20, 1}));
  EXPECT_EQ(data.samples[1].counts, (std::vector<uint8_t>{0, 1, 1, 1, 1, 1, 1}));
  EXPECT_EQ(std::count(data.samples[2].ids.begin(), data.samples[2].ids.end(), 1), 1);
  EXPECT_EQ(data.literal_tokens, 1u);
  const ChatTemplate chat = chat_template("deepseek-ai-DeepSeek-V3");
  const std::string lists =
      R"({"prompt": [{"role": "user", "content": "1"}, {"role": "assistant", "content": "2"},)"
      R"({"role": "user", "content": "3"}], "completion": [{"role": "assistant", "content": "4"}]})";
  const ChatData pair = read(lists, v3, &chat);
  EXPECT_EQ(pair.samples.at(0).ids, (Ids{0, 128803, 19, 128804, 20, 1, 128803, 21, 128804, 22, 1}));
  EXPECT_EQ(counted(pair.samples[0]), (Ids{22, 1})) << "the prompt's own answer does not count";
}

TEST(ChatData, ASampleTooLongIsRefusedOrDroppedButNeverCut) {
  SKIP_WITHOUT_DATA();
  const std::string lines =
      "{\"prompt\": \"1+1=\", \"completion\": \"2\"}\n{\"prompt\": \"1+1=\", \"completion\": \"2+1-1\"}\n";
  EXPECT_NE(error_of(lines, tokenizer("deepseek-v3"), nullptr, {.context = 7})
                .find("data.jsonl:2: expected a sample of at most 7 tokens (the context), found 11"),
            std::string::npos);
  const ChatData data =
      read(lines, tokenizer("deepseek-v3"), nullptr, {.context = 7, .long_samples = LongSamples::kDrop});
  EXPECT_EQ(data.samples.size(), 1u);
  EXPECT_EQ(data.dropped, 1u);
  EXPECT_EQ(data.lines, 2u);
}

TEST(ChatData, ErrorsNameLineAndKey) {
  SKIP_WITHOUT_DATA();
  const ChatTemplate chat = chat_template("meta-llama-Llama-3.1-8B-Instruct");
  const auto expect = [&](const std::string& line, const std::string& part) {
    const std::string error = error_of("\n" + line, tokenizer("llama-3.1"), &chat);
    EXPECT_NE(error.find("data.jsonl:2: " + part), std::string::npos) << error;
  };
  expect(R"({"conversations": [], "id": 1})",
         "expected messages, prompt and completion, or text, found conversations, id");
  expect(R"({"messages": "hi"})", "messages: expected an array");
  expect(R"({"messages": [{"content": "x"}]})", "messages[0]: role: expected a string, found nothing");
  expect(R"({"messages": [{"role": "user"}]})", "messages[0]: content: expected a string, found nothing");
  expect(R"({"messages": [{"role": "user", "content": "x"}]})", "expected an assistant's message to learn from");
  expect(R"({"prompt": [{"role": "user", "content": "x"}], "completion": "y"})", "completion: expected an array");
  expect(
      R"({"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "", "tool_calls": [{}]}]})",
      "messages[1]: tool_calls[0]: name: expected a string");
  expect(R"({"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "", "tool_calls": )"
         R"([{"name": "a"}, {"name": "b"}]}]})",
         "message 2: chat template, line");
  EXPECT_NE(
      error_of(R"({"messages": []})", tokenizer("llama-3.1"), nullptr).find("expected a model with a chat template"),
      std::string::npos);
}

/// Each answer of a pair is what the reader of prompts and completions makes of it.
TEST(ChatData, PreferencesInTheirThreeForms) {
  SKIP_WITHOUT_DATA();
  const Tokenizer& t = tokenizer("llama-3.1");
  const ChatTemplate chat = chat_template("meta-llama-Llama-3.1-8B-Instruct");
  const testing::TempDir folder;
  const auto pairs_of = [&](const std::string& lines) {
    std::ofstream(folder.path() / "pairs.jsonl", std::ios::binary) << lines;
    return read_preferences({folder.path() / "pairs.jsonl"}, t, &chat, {.context = 1000});
  };
  const std::string user = R"({"role": "user", "content": "2+2?"})", yes = R"({"role": "assistant", "content": "4"})",
                    no = R"({"role": "assistant", "content": "five"})";
  const auto answer = [&](const std::string& line) { return read(line, t, &chat).samples.at(0); };
  const Sample chosen = answer(cat(R"({"prompt": [)", user, R"(], "completion": [)", yes, "]}")),
               rejected = answer(cat(R"({"prompt": [)", user, R"(], "completion": [)", no, "]}"));
  const auto pairs = pairs_of(cat(R"({"prompt": [)", user, R"(], "chosen": [)", yes, R"(], "rejected": [)", no, "]}\n",
                                  R"({"chosen": [)", user, ",", yes, R"(], "rejected": [)", user, ",", no, "]}\n",
                                  R"({"prompt": "a", "chosen": "b", "rejected": "c d"})"));
  ASSERT_EQ(pairs.size(), 3u);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(pairs[i].chosen.ids, chosen.ids);
    EXPECT_EQ(pairs[i].chosen.counts, chosen.counts);
    EXPECT_EQ(pairs[i].rejected.ids, rejected.ids);
  }
  EXPECT_EQ(pairs[2].chosen.ids, completion_sample(t, "a", "b").ids);
  EXPECT_EQ(counted(pairs[2].rejected), counted(completion_sample(t, "a", "c d")));
  for (const auto& [line, part] : {std::pair{R"({"prompt": "a", "chosen": "b"})", ":1: rejected: expected an answer"},
                                   {R"({"chosen": "b", "rejected": "c"})", ":1: chosen: expected messages"},
                                   {R"({"prompt": "a", "chosen": 3, "rejected": "c"})", ":1: completion: expected"}})
    try {
      pairs_of(line);
      ADD_FAILURE() << line;
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << e.what();
    }
}

}  // namespace
}  // namespace fathom

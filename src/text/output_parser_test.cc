// The parser of model output: what each family writes, the mistakes models make, and the property that cuts do not
// matter.
#include "text/output_parser.h"

#include "tests/precompiled.h"
#include "tests/testing.h"
#include "text/utf8.h"

namespace fathom {
namespace {

using Kind = OutputEvent::Kind;

struct Parsed {
  std::string thinking, answer;
  std::vector<ToolCall> calls;
  int malformed = 0;
  bool operator==(const Parsed&) const = default;
};
std::ostream& operator<<(std::ostream& out, const Parsed& p) {
  out << "thinking [" << p.thinking << "] answer [" << p.answer << "] malformed " << p.malformed;
  for (const ToolCall& call : p.calls) out << " call " << call.name << "(" << call.arguments << ")";
  return out;
}

struct Piece {
  TokenId id;
  std::string bytes;
};
constexpr TokenId kText = 1;

void take(Parsed& out, const std::vector<OutputEvent>& events) {
  for (const OutputEvent& event : events) {
    EXPECT_EQ(valid_utf8_prefix(event.text), event.text.size());
    if (event.kind == Kind::kThinking) out.thinking += event.text;
    if (event.kind == Kind::kAnswer) out.answer += event.text;
    if (event.kind == Kind::kToolCallBegin) out.calls.push_back({event.text, ""});
    if (event.kind == Kind::kToolCallArguments) out.calls.back().arguments += event.text;
  }
}

Parsed parse(const OutputFormat& format, PromptState prompt, const std::vector<Piece>& pieces) {
  OutputParser parser(format, prompt);
  Parsed out;
  for (const Piece& piece : pieces) take(out, parser.feed(piece.id, piece.bytes, false));
  take(out, parser.finish());
  out.malformed = parser.malformed_calls();
  return out;
}

// The format of a template with all its markers as tokens (ids from 100 on), or none of them.
struct Family {
  std::vector<std::string> tokens;
  OutputFormat format;
  Family(const std::string& source, bool as_tokens) {
    const auto find = [&](std::string_view text) -> std::optional<TokenId> {
      const bool known = text.starts_with("<｜tool") ? source.find("tool▁calls") != std::string::npos
                                                     : source.find(text) != std::string::npos;
      if (!as_tokens || !known) return std::nullopt;
      if (std::find(tokens.begin(), tokens.end(), text) == tokens.end()) tokens.emplace_back(text);
      return id_of(std::string(text));
    };
    format = detect_output_format(ChatTemplate(source), find);
  }
  TokenId id_of(const std::string& text) const {
    return 100 + static_cast<TokenId>(std::find(tokens.begin(), tokens.end(), text) - tokens.begin());
  }
  // Markers as tokens, what is between them cut into pieces of random lengths.
  std::vector<Piece> tokenize(const std::string& text, std::mt19937& random, size_t longest) const {
    std::vector<Piece> out;
    size_t run = 0;
    for (size_t i = 0; i < text.size();) {
      const auto token = std::find_if(tokens.begin(), tokens.end(),
                                      [&](const std::string& t) { return text.compare(i, t.size(), t) == 0; });
      if (token != tokens.end()) {
        out.push_back({id_of(*token), *token});
        i += token->size();
        run = 0;
        continue;
      }
      if (run == 0) {
        out.push_back({kText, ""});
        run = 1 + random() % longest;
      }
      out.back().bytes += text[i++];
      --run;
    }
    return out;
  }
};

const std::string kR1 = "<｜Assistant｜><think>\n</think><｜tool▁calls▁begin｜>";
const std::string kQwen = "<think></think><tool_call></tool_call>";
const std::string kLlama = "ipython <|python_tag|>";

struct Case {
  std::string source;
  PromptState prompt;
  std::string output;
  Parsed want;
};

std::vector<Case> cases() {
  const std::string begin = "<｜tool▁calls▁begin｜>", end = "<｜tool▁calls▁end｜>", call = "<｜tool▁call▁begin｜>",
                    sep = "<｜tool▁sep｜>", done = "<｜tool▁call▁end｜>";
  const auto v3 = [&](const std::string& name, const std::string& args) {
    return call + "function" + sep + name + "\n```json\n" + args + "\n```" + done;
  };
  using enum PromptState;
  return {
      {kR1, kOpen, "Let me see.\n</think>\n\nIt is 4.", {"Let me see.", "It is 4.", {}}},
      {kR1, kOpen, "\nnever ends, é", {"never ends, é", "", {}}},
      {kR1, kOpen, "<think>\nopened twice</think>x", {"opened twice", "x", {}}},
      {kR1, kNone, "<think>\n\n</think>\n\nHi \n", {"", "Hi \n", {}}},
      {kR1, kNone, "Hello <b> </think>", {"", "Hello <b> </think>", {}}},
      {kR1, kClosed, "\n\n1 < 2 <", {"", "1 < 2 <", {}}},
      {kR1,
       kOpen,
       "t</think>" + begin + v3("f", "{\"x\": 1.0}") + "\n" + v3("g", "{}") + end,
       {"t", "", {{"f", "{\"x\": 1.0}"}, {"g", "{}"}}}},
      {kR1,
       kClosed,
       "Look:\n" + begin + v3("f", "{\"x\": \"a\\\"}\"}") + "\n and on",
       {"", "Look:\n and on", {{"f", "{\"x\": \"a\\\"}\"}"}}}},
      {kR1,
       kClosed,
       begin + call + "get" + sep + "{\"a\": [1, 2]}" + done + call + "put" + sep + "{}" + done + end,
       {"", "", {{"get", "{\"a\": [1, 2]}"}, {"put", "{}"}}}},
      {kR1, kClosed, begin + call + "function" + sep + "f\njson\n{\"x\":1}", {"", "", {{"f", "{\"x\":1}"}}}},
      {kR1,
       kClosed,
       begin + call + "function" + sep + "f\n```json\n{\"x\":\n```" + done + end,
       {"", begin + call + "function" + sep + "f\n```json\n{\"x\":\n```" + done + end, {}, 1}},
      {kR1, kClosed, begin + end + "x", {"", begin + end + "x", {}, 1}},
      {kQwen,
       kNone,
       "<think>\nhm\n</think>\n\nOK\n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"u\": \"ü\", \"n\": "
       "1e5}}\n</tool_call>\n<tool_call>\n{\"name\": \"g\", \"arguments\": \"{\\\"a\\\": 1}\"}\n</tool_call>",
       {"hm", "OK", {{"f", "{\"u\": \"ü\", \"n\": 1e5}"}, {"g", "{\"a\": 1}"}}}},
      {kQwen,
       kNone,
       "<tool_call>{\"name\": \"f\"</tool_call> sorry",
       {"", "<tool_call>{\"name\": \"f\"</tool_call> sorry", {}, 1}},
      {kQwen, kNone, "<tool_call>\n{\"name\": \"f\", \"arguments\": {}}", {"", "", {{"f", "{}"}}}},
      {kLlama, kNone, "{\"name\": \"f\", \"parameters\": {\"q\": \"a}b\"}}", {"", "", {{"f", "{\"q\": \"a}b\"}"}}}},
      {kLlama,
       kNone,
       "{\"name\": \"f\", \"parameters\": {}}; {\"name\": \"g\", \"parameters\": {\"x\": 2}}",
       {"", "", {{"f", "{}"}, {"g", "{\"x\": 2}"}}}},
      {kLlama, kNone, "{\"name\": \"Bob\", \"age\": 3}\n", {"", "{\"name\": \"Bob\", \"age\": 3}\n", {}}},
      {kLlama, kNone, "{\"city\": \"Paris\"} is JSON", {"", "{\"city\": \"Paris\"} is JSON", {}}},
      {kLlama, kNone, "<|python_tag|>{\"name\": \"f\", \"parameters\": {}}", {"", "", {{"f", "{}"}}}},
      {kLlama, kNone, "<|python_tag|>print(1)", {"", "<|python_tag|>print(1)", {}, 1}},
      {"plain", kNone, "\n <think> is text here </think> \n", {"", "\n <think> is text here </think> \n", {}}},
  };
}

TEST(OutputParser, ReadsEveryFamilyHoweverTheOutputIsCut) {
  std::mt19937 random(7);
  for (const Case& c : cases())
    for (const bool as_tokens : {true, false}) {
      const bool plain = c.source == "plain";
      const Family family(c.source, as_tokens && !plain);
      for (int round = 0; round < 200; ++round) {
        const size_t longest = round == 0 ? 100000 : 1 + static_cast<size_t>(round) % 12;
        ASSERT_EQ(parse(family.format, c.prompt, family.tokenize(c.output, random, longest)), c.want)
            << c.output << (as_tokens ? " as tokens" : " as text") << ", pieces of at most " << longest;
      }
    }
}

TEST(OutputParser, RandomOutputsAreTheSameHoweverTheyAreCut) {
  std::mt19937 random(11);
  const std::vector<std::string> bits = {"<think>",
                                         "</think>",
                                         "\n",
                                         " ",
                                         "a",
                                         "<",
                                         "<｜tool",
                                         "ü",
                                         "\xF0\x9F",
                                         "{\"name\": \"f\", \"arguments\": {}}",
                                         "f",
                                         "{}",
                                         "<tool_call>",
                                         "</tool_call>",
                                         "<｜tool▁calls▁begin｜>",
                                         "<｜tool▁calls▁end｜>",
                                         "<｜tool▁call▁begin｜>",
                                         "<｜tool▁sep｜>",
                                         "<｜tool▁call▁end｜>",
                                         "<|python_tag|>",
                                         "```",
                                         "json\n"};
  for (int round = 0; round < 3000; ++round) {
    const Family family(std::vector{kR1, kQwen, kLlama}[random() % 3], random() % 2);
    const auto prompt = static_cast<PromptState>(random() % 3);
    std::string output;
    for (size_t n = random() % 14; n > 0; --n) output += bits[random() % bits.size()];
    const Parsed whole = parse(family.format, prompt, family.tokenize(output, random, 100000));
    for (int cut = 0; cut < 4; ++cut)
      ASSERT_EQ(parse(family.format, prompt, family.tokenize(output, random, 1 + random() % 9)), whole) << output;
  }
}

TEST(OutputParser, MarkersThatAreTokensAreNotRecognisedAsLetters) {
  const Family family(kR1, true);
  const std::vector<Piece> pieces = {
      {kText, "I write </think> here"}, {family.format.think_close.id.value(), "</think>"}, {kText, "done"}};
  const Parsed got = parse(family.format, PromptState::kOpen, pieces);
  EXPECT_EQ(got, (Parsed{"I write </think> here", "done", {}, 0}));
}

TEST(OutputParser, AForgottenEndOfThinkingDoesNotLoseTheCall) {
  const Family family(kR1, true);
  std::mt19937 random(1);
  const auto pieces = family.tokenize(
      "hm\n<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>", random,
      100);
  EXPECT_EQ(parse(family.format, PromptState::kOpen, pieces), (Parsed{"hm", "", {{"f", "{}"}}, 0}));
}

TEST(OutputParser, StreamsAsSoonAsTextIsDecidedAndHidesControlTokens) {
  const Family family(kQwen, false);
  OutputParser parser(family.format, PromptState::kOpen);
  EXPECT_TRUE(parser.thinking());
  EXPECT_EQ(parser.feed(kText, "abc", false), (std::vector<OutputEvent>{{Kind::kThinking, "abc"}}));
  EXPECT_TRUE(parser.feed(kText, "</thi", false).empty());
  EXPECT_EQ(parser.feed(kText, "s", false), (std::vector<OutputEvent>{{Kind::kThinking, "</this"}}));
  EXPECT_TRUE(parser.feed(kText, "</think>", false).empty());
  EXPECT_FALSE(parser.thinking());
  EXPECT_TRUE(parser.thinking_done());
  EXPECT_TRUE(parser.feed(7, "<|im_end|>", true).empty());
  EXPECT_EQ(parser.feed(kText, "x\xC3", false), (std::vector<OutputEvent>{{Kind::kAnswer, "x"}}));
  EXPECT_EQ(parser.feed(kText, "\xBC", false), (std::vector<OutputEvent>{{Kind::kAnswer, "ü"}}));
}

TEST(OutputParser, PromptStateCountsTrustedTagsAtTheEndOnly) {
  using P = std::vector<TextPiece>;
  EXPECT_EQ(prompt_state(P{{"<｜Assistant｜><think>\n", true}}), PromptState::kOpen);
  EXPECT_EQ(prompt_state(P{{"<｜Assistant｜><think>\n", true}, {"so far", false}}), PromptState::kOpen);
  EXPECT_EQ(prompt_state(P{{"assistant\n<think>\n\n</think>\n\n", true}}), PromptState::kClosed);
  EXPECT_EQ(prompt_state(P{{"</think>", true}, {"an answer", false}, {"<|im_end|>\n<|im_start|>assistant\n", true}}),
            PromptState::kNone);
  EXPECT_EQ(prompt_state(P{{"user: ", true}, {"<think>", false}}), PromptState::kNone);
  EXPECT_EQ(prompt_state(P{}), PromptState::kNone);
}

// Real templates: the state must be what the end of the golden text says, where the template writes that end.
TEST(OutputParser, PromptStateOfTheGoldenRenderings) {
  const auto folder = testing::shared_path("data/templates");
  if (!folder) GTEST_SKIP() << "needs data/templates";
  std::map<PromptState, int> seen;
  std::string all;
  for (const auto& entry : std::filesystem::directory_iterator(*folder))
    if (entry.path().extension() == ".jsonl") all += testing::read_file(entry.path());
  std::istringstream lines(all);
  for (std::string line; std::getline(lines, line);) {
    const json::value record = parse_json(line, "rendering");
    if (record.as_object().contains("error") || !record.at("context").at("add_generation_prompt").as_bool()) continue;
    const ChatTemplate chat(testing::read_file(*folder / std::string(record.at("template").as_string())));
    std::string end(record.at("output").as_string());
    end.erase(end.find_last_not_of(" \n") + 1);
    const PromptState want = end.ends_with("<think>")    ? PromptState::kOpen
                             : end.ends_with("</think>") ? PromptState::kClosed
                                                         : PromptState::kNone;
    const PromptState got = prompt_state(chat.render(record.at("context").as_object()));
    ++seen[got];
    EXPECT_EQ(got, want) << record.at("id").as_string();
  }
  EXPECT_EQ(seen.size(), 3u);
}

}  // namespace
}  // namespace fathom

// Answers that must have a form, of a model with random weights: what it says is nonsense, and has the form.
#include "engine/answer_plan.h"

#include "engine/answer.h"
#include "engine/chat_prompt.h"
#include "sampling/grammar/json_schema.h"
#include "tests/testing.h"

namespace fathom {
namespace {

const char* const kTools = R"([
  {"type": "function", "function": {"name": "get", "parameters": {"type": "object",
    "properties": {"n": {"type": "integer", "minimum": 0, "maximum": 99}, "to": {"enum": ["up", "down"]}},
    "required": ["n", "to"], "additionalProperties": false}}},
  {"type": "function", "function": {"name": "get_all", "parameters": {"type": "object",
    "properties": {"s": {"$ref": "#/$defs/short"}}, "required": ["s"], "additionalProperties": false,
    "$defs": {"short": {"type": "string", "maxLength": 4}}}}}])";

struct Form {
  const char* name;
  const char* tail;  // of the template: what tells the format
  bool thinks;
};

constexpr Form kForms[] = {
    {"none", "{% if false %}{{ tools }}{% endif %}", false},
    {"hermes", "{% if false %}<tool_call>{{ tools }}{% endif %}", false},
    {"deepseek", "{% if false %}<｜tool▁calls▁begin｜>```json{{ tools }}{% endif %}", false},
    {"deepseek31", "{% if false %}<｜tool▁calls▁begin｜>{{ tools }}{% endif %}", false},
    {"llama", "{% if false %}<|python_tag|>{{ tools }}{% endif %}", false},
    {"thinking", "{% if false %}<tool_call></think>{{ tools }}{% endif %}", true},
};

class AnswerPlans : public ::testing::TestWithParam<Form> {
 protected:
  void SetUp() override {
    const auto path = testing::golden_dir() / "gguf" / "qwen2.gguf";
    if (!std::filesystem::exists(path)) GTEST_SKIP() << "needs golden/gguf/qwen2.gguf";
    engine_ = Engine::load(path, {.profile = Profile::kExact, .threads = 1, .ctx = 512, .sequences = 1});
    engine_->set_chat_template(cat("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant: ",
                                   GetParam().thinks ? "<think>\n" : "", GetParam().tail));
    tools_ = parse_json(kTools, "tools").as_array();
  }
  Answer answer(const ToolPlanOptions& plan, uint64_t seed) {
    AnswerOptions o;
    o.sampling.temperature = 1, o.sampling.top_p = 1, o.sampling.seed = seed;
    o.tools = true;
    o.thinking_budget = 5;
    o.plan = tool_plan(*engine_, tools_, plan, cache_);
    Session session(engine_->pool());
    AnswerListener listener;
    const std::vector<TextPiece> prompt =
        render_chat(*engine_, {.messages = {{{"role", "user"}, {"content", "Go."}}}, .tools = tools_});
    AnswerRun run(*engine_, session, prompt, o, listener);
    Scheduler scheduler(*engine_);
    scheduler.add(run);
    while (!run.done()) scheduler.step();
    return run.take();
  }
  /// By hand, not by the grammar.
  void expect_valid(const ToolCall& call) {
    const json::object a = parse_json(call.arguments, "arguments").as_object();
    if (call.name == "get") {
      EXPECT_EQ(a.size(), 2u);
      const int64_t n = a.at("n").as_int64();
      EXPECT_TRUE(n >= 0 && n <= 99) << n;
      EXPECT_TRUE(a.at("to") == "up" || a.at("to") == "down");
    } else {
      EXPECT_EQ(call.name, "get_all");
      EXPECT_EQ(a.size(), 1u);
      EXPECT_TRUE(a.at("s").is_string());
    }
  }

  std::unique_ptr<Engine> engine_;
  json::array tools_;
  GrammarCache cache_{1 << 24};
};

TEST_P(AnswerPlans, ARequiredCallComesAndFitsItsSchema) {
  std::set<std::string> names;
  for (uint64_t seed = 1; seed <= 12 || (seed <= 60 && names.size() < 2); ++seed) {
    SCOPED_TRACE(seed);
    const Answer a = answer({.required = true, .several = false}, seed);
    ASSERT_EQ(a.tool_calls.size(), 1u) << a.text;
    EXPECT_EQ(a.finish_reason, FinishReason::kToolCalls);
    EXPECT_EQ(a.text, "");
    EXPECT_EQ(a.stats.budget_spent, GetParam().thinks);
    expect_valid(a.tool_calls[0]);
    names.insert(a.tool_calls[0].name);
  }
  EXPECT_EQ(names.size(), 2u) << "the model chooses";
}

TEST_P(AnswerPlans, ANamedToolIsTheOneCalled) {
  const Answer a = answer({.name = "get_all", .required = true, .several = false}, 3);
  ASSERT_EQ(a.tool_calls.size(), 1u);
  EXPECT_EQ(a.tool_calls[0].name, "get_all");
  expect_valid(a.tool_calls[0]);
}

TEST_P(AnswerPlans, ACallMayFollowACall) {
  size_t calls = 0;
  for (uint64_t seed = 1; seed <= 40 && calls < 2; ++seed) {
    const Answer a = answer({.required = true, .several = true}, seed);
    for (const ToolCall& call : a.tool_calls) expect_valid(call);
    calls = std::max(calls, a.tool_calls.size());
  }
  EXPECT_EQ(calls > 1, GetParam().name != std::string_view("llama")) << calls;
}

INSTANTIATE_TEST_SUITE_P(Forms, AnswerPlans, ::testing::ValuesIn(kForms),
                         [](const auto& form) { return std::string(form.param.name); });

}  // namespace
}  // namespace fathom

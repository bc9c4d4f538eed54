#include "engine/answer_plan.h"

#include "sampling/grammar/json_schema.h"

namespace fathom {
namespace {

std::string name_of(const json::value& tool) { return std::string(tool.at("function").at("name").as_string()); }

json::value parameters_of(const json::value& tool) {
  const json::value* parameters = tool.at("function").as_object().if_contains("parameters");
  return parameters && parameters->is_object() ? *parameters : json::value(json::object{{"type", "object"}});
}

/// References within a schema that has moved to `pointer`.
void move_references(json::value& schema, const std::string& pointer) {
  if (json::array* list = schema.if_array())
    for (json::value& item : *list) move_references(item, pointer);
  json::object* object = schema.if_object();
  if (!object) return;
  for (auto& [key, value] : *object) {
    if (key == "$ref" && value.is_string() && std::string_view(value.get_string()).starts_with("#"))
      value = cat("#", pointer, std::string_view(value.get_string()).substr(1));
    else
      move_references(value, pointer);
  }
}

/// {"name": NAME, "arguments": {...}} of any of the tools.
json::value call_schema(const std::vector<json::value>& tools, const char* arguments) {
  json::array any;
  for (const json::value& tool : tools) {
    json::value schema = parameters_of(tool);
    move_references(schema, cat("/anyOf/", any.size(), "/properties/", arguments));
    any.push_back({{"type", "object"},
                   {"properties", {{"name", {{"const", name_of(tool)}}}, {arguments, std::move(schema)}}},
                   {"required", json::array{"name", arguments}},
                   {"additionalProperties", false}});
  }
  return {{"anyOf", std::move(any)}};
}

Grammar schema_grammar(const json::value& schema, const std::string& what, GrammarCache& cache) {
  try {
    return cache.get("schema:" + to_json(schema), [&] { return compile_json_schema(schema); });
  } catch (const Error& e) {
    throw Error(cat(what, ": ", e.what()));
  }
}

std::string names_of(const std::vector<json::value>& tools) {
  std::string names;
  for (const json::value& tool : tools) names += (names.empty() ? "" : ", ") + name_of(tool);
  return names;
}

std::vector<TokenId> ids_of(const Engine& engine, const std::string& text) {
  return engine.tokenizer().encode(text, {.parse_special = true});
}

/// <tool_call>\n{"name", "arguments"}\n</tool_call>
std::vector<AnswerStep> hermes_steps(const Engine& engine, const OutputFormat& format,
                                     const std::vector<json::value>& tools, GrammarCache& cache) {
  return {{.tokens = ids_of(engine, format.call_begin.text + "\n"),
           .grammar = schema_grammar(call_schema(tools, "arguments"), cat("tools ", names_of(tools)), cache)},
          {.tokens = ids_of(engine, "\n" + format.call_end.text)}};
}

/// The answer itself is {"name", "parameters"}.
std::vector<AnswerStep> llama_steps(const std::vector<json::value>& tools, GrammarCache& cache) {
  return {{.grammar = schema_grammar(call_schema(tools, "parameters"), cat("tools ", names_of(tools)), cache)}};
}

/// R1 and V3: function<sep>NAME\n```json\n{...}\n```; V3.1: NAME<sep>{...}. Around all calls stand further markers.
std::vector<AnswerStep> deepseek_steps(const Engine& engine, const OutputFormat& format,
                                       const std::vector<json::value>& tools, GrammarCache& cache) {
  const bool fenced = engine.chat_template().source().find("```json") != std::string::npos;
  // Behind the name stands what ends it; a token of its own is no text.
  const bool has_token = !fenced && format.call_separator.id;
  const std::string behind_name = fenced ? "\n```json\n" : has_token ? "" : format.call_separator.text;
  std::vector<std::string> names;
  AnswerStep arguments;
  for (const json::value& tool : tools) {
    names.push_back(name_of(tool) + behind_name);
    arguments.by_text.emplace(names.back(), schema_grammar(parameters_of(tool), cat("tool ", name_of(tool)), cache));
  }
  if (has_token) arguments.tokens = {*format.call_separator.id};
  AnswerStep name{
      .tokens = ids_of(engine, format.call_begin.text + (fenced ? "function" + format.call_separator.text : "")),
      .grammar = compile_choice(names)};
  if (has_token) name.ending = *format.call_separator.id;
  return {{.tokens = ids_of(engine, format.calls_begin.text)},
          std::move(name),
          std::move(arguments),
          {.tokens = ids_of(engine, (fenced ? "\n```" : "") + format.call_end.text)}};
}

}  // namespace

std::shared_ptr<const AnswerPlan> text_plan(Grammar grammar) {
  return std::make_shared<const AnswerPlan>(AnswerPlan{{{.grammar = std::move(grammar)}}});
}

OutputFormat tool_format(const Engine& engine) {
  OutputFormat format = engine.output_format();
  if (format.tools != ToolFormat::kNone) return format;
  format.tools = ToolFormat::kHermes;
  format.call_begin = {"<tool_call>", {}};
  format.call_end = {"</tool_call>", {}};
  return format;
}

std::shared_ptr<const AnswerPlan> tool_plan(const Engine& engine, const json::array& tools,
                                            const ToolPlanOptions& options, GrammarCache& cache) {
  std::vector<json::value> chosen;
  for (const json::value& tool : tools)
    if (options.name.empty() || name_of(tool) == options.name) chosen.push_back(tool);
  check(!chosen.empty(), "a tool to choose");
  const OutputFormat format = tool_format(engine);
  AnswerPlan plan;
  switch (format.tools) {
    case ToolFormat::kDeepSeek:
      plan.steps = deepseek_steps(engine, format, chosen, cache);
      if (options.several) plan.again = 1;
      break;
    case ToolFormat::kLlama: plan.steps = llama_steps(chosen, cache); break;
    default:
      plan.steps = hermes_steps(engine, format, chosen, cache);
      if (options.several) plan.again = 0;
  }
  plan.when_begun = !options.required;
  // A model's own choice is seen by the token that begins a call.
  const OutputTag& first = format.tools == ToolFormat::kDeepSeek ? format.calls_begin : format.call_begin;
  if (plan.when_begun && (format.tools == ToolFormat::kLlama || !first.id)) return nullptr;
  return std::make_shared<const AnswerPlan>(std::move(plan));
}

}  // namespace fathom

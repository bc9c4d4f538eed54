#include "text/chat_template.h"

#include <algorithm>

#include "base/error.h"
#include "text/jinja/interpreter.h"

namespace fathom {
namespace {

constexpr std::string_view kTokenNames[] = {"bos_token", "eos_token", "pad_token", "unk_token"};

bool is_token_name(std::string_view name) {
  return std::find(std::begin(kTokenNames), std::end(kTokenNames), name) != std::end(kTokenNames);
}

std::tm local_time() {
  const std::time_t now = std::time(nullptr);
  std::tm out{};
  localtime_r(&now, &out);
  return out;
}

jinja::Dict context_of(const json::object& variables, jinja::Budget& budget) {
  jinja::Dict context;
  for (const auto& [name, value] : variables) {
    const bool trusted = is_token_name(name) && value.is_string();
    context.set(jinja::Value::text(std::string(name)),
                trusted ? jinja::Value::text(std::string(value.get_string())) : jinja::Value::from_json(value, budget));
  }
  return context;
}

std::vector<TextPiece> pieces_of(const jinja::Text& text) {
  std::vector<TextPiece> out;
  size_t begin = 0;
  for (const jinja::Text::Run& run : text.runs()) {
    out.push_back({text.bytes().substr(begin, run.end - begin), run.trusted});
    begin = run.end;
  }
  return out;
}

}  // namespace

ChatTemplate::ChatTemplate(std::string source)
    : source_(std::move(source)), template_(std::make_unique<jinja::Template>(jinja::parse(source_))) {}
ChatTemplate::~ChatTemplate() = default;
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;

std::vector<TextPiece> ChatTemplate::render(const json::object& variables, const RenderLimits& limits,
                                            RenderClock clock) const {
  jinja::Interpreter interpreter(*template_, {limits.steps, limits.bytes, limits.output_bytes},
                                 clock ? std::move(clock) : local_time);
  jinja::Dict context = context_of(variables, interpreter.budget());
  // Operators and filters know what is wrong and only the interpreter knows where: the line is added here.
  const auto located = [&](const Error& e) { return cat("chat template, line ", interpreter.line(), ": ", e.what()); };
  try {
    return pieces_of(interpreter.run(std::move(context)));
  } catch (const ResourceError& e) {
    throw ResourceError(located(e));
  } catch (const Error& e) {
    throw Error(located(e));
  }
}

std::vector<TextPiece> ChatTemplate::render(const RenderOptions& options, const RenderLimits& limits,
                                            RenderClock clock) const {
  json::object variables = options.extra;
  for (const std::string_view name :
       {"messages", "tools", "add_generation_prompt", "bos_token", "eos_token", "pad_token", "unk_token"})
    if (variables.contains(name))
      throw Error(cat("chat template variables: expected none named ", name, ", found one"));
  variables["messages"] = options.messages;
  variables["tools"] = options.tools;
  variables["add_generation_prompt"] = options.add_generation_prompt;
  variables["bos_token"] = options.bos_token;
  variables["eos_token"] = options.eos_token;
  return render(variables, limits, std::move(clock));
}

bool ChatTemplate::mentions(std::string_view variable) const { return template_->names.contains(variable); }

std::string joined(const std::vector<TextPiece>& pieces) {
  std::string out;
  for (const TextPiece& piece : pieces) out += piece.text;
  return out;
}

}  // namespace fathom

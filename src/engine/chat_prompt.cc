#include "engine/chat_prompt.h"

#include "engine/answer_plan.h"
#include "engine/conversation.h"

namespace fathom {
namespace {

std::string text_of(const json::object& message, std::string_view key) {
  const json::value* value = message.if_contains(key);
  return value && value->is_string() ? std::string(value->get_string()) : std::string();
}

/// Templates that print `arguments` with tojson want the object that its text holds.
void read_arguments(json::object& message) {
  json::value* calls = message.if_contains("tool_calls");
  if (!calls || !calls->is_array()) return;
  for (json::value& call : calls->get_array()) {
    json::object* object = call.if_object();
    json::value* function = object ? object->if_contains("function") : nullptr;
    json::value* arguments =
        function && function->is_object() ? function->get_object().if_contains("arguments") : nullptr;
    if (!arguments || !arguments->is_string()) continue;
    json::error_code error;
    json::value parsed = json::parse(arguments->get_string(), error);
    if (!error) *arguments = std::move(parsed);
  }
}

/// How a call is to be written, in the form that is read (tool_format).
std::string call_example(const Engine& engine) {
  const OutputFormat format = tool_format(engine);
  switch (format.tools) {
    case ToolFormat::kDeepSeek:
      return cat(format.calls_begin.text, format.call_begin.text, "function", format.call_separator.text,
                 "NAME\n```json\nARGUMENTS\n```", format.call_end.text, format.calls_end.text);
    case ToolFormat::kLlama: return "{\"name\": NAME, \"parameters\": ARGUMENTS}";
    default: return cat(format.call_begin.text, "\n{\"name\": NAME, \"arguments\": ARGUMENTS}\n", format.call_end.text);
  }
}

/// For templates that do not list tools: the system message does.
void list_tools(const Engine& engine, const json::array& tools, json::array& messages) {
  std::string text = "You can call these functions:\n";
  for (const json::value& tool : tools) text += to_json(tool.at("function")) + "\n";
  text += cat("To call one, answer with nothing but\n", call_example(engine),
              "\nwhere ARGUMENTS is a JSON object. Its result comes back to you.");
  if (messages.empty() || text_of(messages.front().as_object(), "role") != "system")
    messages.insert(messages.begin(), json::object{{"role", "system"}, {"content", ""}});
  json::object& system = messages.front().as_object();
  const std::string before = text_of(system, "content");
  system["content"] = before.empty() ? text : before + "\n\n" + text;
}

/// For templates without any form of calls: calls and results become text.
void write_calls_as_text(json::array& messages) {
  for (json::value& value : messages) {
    json::object& message = value.as_object();
    if (json::value* calls = message.if_contains("tool_calls")) {
      std::string text = text_of(message, "content");
      for (const json::value& call : calls->as_array()) {
        const json::object& function = call.at("function").as_object();
        const json::value& arguments = function.at("arguments");
        text +=
            cat(text.empty() ? "" : "\n", "<tool_call>\n{\"name\": ", to_json(function.at("name")),
                ", \"arguments\": ", arguments.is_string() ? std::string(arguments.get_string()) : to_json(arguments),
                "}\n</tool_call>");
      }
      message["content"] = text;
      message.erase("tool_calls");
    }
    if (text_of(message, "role") == "tool") {
      message["role"] = "user";
      message["content"] = cat("<tool_response>\n", text_of(message, "content"), "\n</tool_response>");
    }
  }
}

void close_thinking(const Engine& engine, std::vector<TextPiece>& prompt) {
  if (prompt_state(prompt) == PromptState::kOpen)
    prompt.push_back({cat("\n", engine.output_format().think_close.text, "\n\n"), true});
}

/// What the assistant has thought and said so far, behind the prompt of its turn.
void continue_with(const Engine& engine, const json::object& message, std::vector<TextPiece>& prompt) {
  const std::string thinking = text_of(message, "reasoning_content"), text = text_of(message, "content");
  const OutputFormat& format = engine.output_format();
  if (!thinking.empty() && format.has_thinking()) {
    if (prompt_state(prompt) != PromptState::kOpen) prompt.push_back({cat(format.think_open.text, "\n"), true});
    prompt.push_back({thinking, false});
    if (text.empty()) return;
  }
  close_thinking(engine, prompt);
  prompt.push_back({text, false});
}

}  // namespace

bool can_think(const Engine& engine) { return engine.output_format().has_thinking(); }

std::vector<TextPiece> render_chat(const Engine& engine, const ChatPrompt& chat) {
  const ChatTemplate& chat_template = engine.chat_template();
  json::array messages = chat.messages;
  json::object last;
  if (chat.continue_last) {
    if (messages.empty() || text_of(messages.back().as_object(), "role") != "assistant")
      throw Error("messages: expected the assistant's message at the end, to be continued, found none");
    last = messages.back().as_object();
    messages.pop_back();
  }
  if (!chat.tools.empty() && !chat_template.mentions("tools")) list_tools(engine, chat.tools, messages);
  if (engine.output_format().tools == ToolFormat::kNone) write_calls_as_text(messages);
  if (wants_argument_objects(chat_template))
    for (json::value& message : messages) read_arguments(message.as_object());
  json::object variables = chat.variables;
  bool has_switch = false;
  for (const char* variable : {"enable_thinking", "thinking"}) {
    if (!chat_template.mentions(variable)) continue;
    has_switch = true;
    if (chat.thinking) variables[variable] = *chat.thinking;
  }
  std::vector<TextPiece> prompt =
      render_prompt(engine, messages, chat.tools, chat.continue_last || chat.add_generation_prompt, variables);
  if (!has_switch && chat.thinking == false) close_thinking(engine, prompt);
  if (chat.continue_last) continue_with(engine, last, prompt);
  return prompt;
}

}  // namespace fathom

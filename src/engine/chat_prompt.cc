#include "engine/chat_prompt.h"

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

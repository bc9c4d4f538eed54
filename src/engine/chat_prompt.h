// Messages in OpenAI's form -> the exact prompt: the template's own shape of arguments, the thinking switch of every
// kind of model, an answer to be continued. Pure functions; any thread.
#pragma once
#include <optional>
#include <vector>

#include "base/json.h"
#include "engine/engine.h"

namespace fathom {

struct ChatPrompt {
  json::array messages;    ///< {role, content, reasoning_content, tool_calls, tool_call_id, name}; content text
  json::array tools = {};  ///< OpenAI's form; empty: none
  std::optional<bool> thinking = {};  ///< nullopt: as the template does by itself
  /// The last message, the assistant's, is the beginning of the answer: text, thinking, or both.
  bool continue_last = false;
  bool add_generation_prompt = true;
  json::object variables = {};  ///< more of the template's variables
};

/// The prompt. Where the template knows no tools, the system message lists them with the form of a call (tool_format),
/// and calls and results of models without such a form are written as text. Thinking is switched by the template's
/// enable_thinking or thinking; where it has neither and opens the thinking itself, as R1's does, no thinking means
/// that it is closed at once. Throws Error where the template refuses, or there is nothing to continue.
std::vector<TextPiece> render_chat(const Engine& engine, const ChatPrompt& chat);

/// Whether the model thinks at all.
bool can_think(const Engine& engine);

}  // namespace fathom

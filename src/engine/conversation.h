// The conversation logic, once for chat, server, evaluation and rollouts: messages, the template, the thinking switch,
// the context that fills up. One timeline: earlier turns stay cached. Used on the compute thread.
#pragma once
#include <string>
#include <vector>

#include "base/json.h"
#include "engine/answer.h"

namespace fathom {

struct Message {
  std::string role;  ///< "system", "user", "assistant", "tool"
  std::string content;
  std::string thinking;  ///< of an assistant; never sent back to the model by the templates of R1
  std::vector<ToolCall> tool_calls;
};

struct ConversationOptions {
  bool thinking = true;  ///< enable_thinking / thinking of templates that have such a switch
  json::array tools;     ///< OpenAI's form; empty: none
};

class Conversation {
 public:
  explicit Conversation(Engine& engine, ConversationOptions options = {});

  ConversationOptions& options() { return options_; }
  const std::vector<Message>& messages() const { return messages_; }
  void set_messages(std::vector<Message> messages) { messages_ = std::move(messages); }
  void add(Message message) { messages_.push_back(std::move(message)); }
  /// The system message, first of all; empty removes it.
  void set_system(std::string text);
  /// Removes the last assistant message, so that reply() answers again. False: there is none.
  bool drop_answer();
  /// Removes the last user message and what came after it. False: there is none.
  bool undo();

  /// The exact prompt of the next answer, flagged template text or user text. Throws Error where the template refuses.
  std::vector<TextPiece> prompt() const;
  /// Its length in tokens, and what the engine's context has.
  size_t prompt_tokens() const;
  size_t context() const { return engine_.info().ctx; }
  /// Whether the template has a thinking switch at all, or the model always thinks (R1).
  bool has_thinking_switch() const;

  /// Answers the messages so far and appends the assistant's message, also a cancelled or cut one.
  /// Throws Error if the prompt does not fit into the context (nothing is cut silently: the caller asks the user).
  Answer reply(const AnswerOptions& options, AnswerListener& listener, const std::atomic<bool>* cancel = nullptr);

 private:
  Engine& engine_;
  ConversationOptions options_;
  std::vector<Message> messages_;
  Session session_;
};

/// Renders messages as JSON (OpenAI's form) with the engine's template. `extra` holds further variables
/// (enable_thinking, ...).
std::vector<TextPiece> render_prompt(const Engine& engine, const json::array& messages, const json::array& tools,
                                     bool add_generation_prompt, const json::object& extra = {});

/// A prompt without a template: BOS where the tokenizer asks for it, then the text, in which control tokens are not
/// matched.
std::vector<TextPiece> plain_prompt(const Engine& engine, std::string text);

}  // namespace fathom

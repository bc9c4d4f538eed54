// One assistant turn of a conversation as token ids: the prompt that the model sees, and what it has to write. Called
// by chat_data.cc. An encoder is immutable: any number of threads may use one.
#pragma once
#include <span>
#include <string>
#include <vector>

#include "base/json.h"
#include "text/chat_template.h"
#include "text/output_parser.h"
#include "text/tokenizer.h"

namespace fathom {

/// A message of training data, taken apart.
struct ChatMessage {
  json::object as_given;      ///< role and any further keys, without content, thinking and calls
  std::string role, content;  ///< content without the thinking
  std::string thinking;       ///< of an assistant, without white space around it; empty: none
  json::array tool_calls;     ///< [{type, function: {name, arguments}}], the arguments as the template wants them
  bool is_assistant() const { return role == "assistant"; }
};

struct ChatTurn {
  std::vector<TokenId> prompt;      ///< as at inference, when the model is about to answer
  std::vector<TokenId> completion;  ///< what it has to write, the end-of-turn token included
  /// The template begins every answer with <think>, this one has no thinking: prompt ends before that <think>.
  bool without_prefill = false;
  bool without_end = false;  ///< the template ends this turn without a token that would end the generation
};

class ChatTurnEncoder {
 public:
  /// Both outlive this. `clock`: what a template's strftime_now reads; null: the local time.
  ChatTurnEncoder(const Tokenizer& tokenizer, const ChatTemplate& chat, RenderClock clock);

  /// Reads OpenAI's form {role, content, reasoning_content?, tool_calls?, ...}. Thinking is also found in the content,
  /// as <think>...</think> at its beginning. Throws Error naming `what` and the key.
  ChatMessage message(const json::value& value, const std::string& what) const;

  /// The turn that the last of `messages`, an assistant's, is. Earlier messages are rendered as engine/conversation.cc
  /// does: thinking apart from the content, for the template to keep or drop. The thinking switches of the template
  /// (enable_thinking, thinking) are on where this turn has thinking. Where the template would drop the thinking that
  /// is to be learned, the completion is the message's text as the model writes it, with the template's end. Markers of
  /// thinking and tool calls in the completion become their tokens, other control tokens stay text. Throws Error where
  /// the template fails, or has no place for what the message holds.
  ChatTurn encode(std::span<const ChatMessage> messages, const json::array& tools) const;

 private:
  using Pieces = std::vector<TextPiece>;
  struct View;
  Pieces render(const View& view, const json::object* last, bool add_generation_prompt) const;
  json::object message_json(const ChatMessage& message, std::string_view content, bool thinking_apart) const;
  Pieces ending(const View& view) const;
  void finish(ChatTurn& turn, const Pieces& completion) const;
  ChatTurn without_prefill(const Pieces& prompt, const Pieces& full) const;

  const Tokenizer& tokenizer_;
  const ChatTemplate& chat_;
  RenderClock clock_;
  OutputFormat format_;
  bool argument_objects_, knows_reasoning_;
};

}  // namespace fathom

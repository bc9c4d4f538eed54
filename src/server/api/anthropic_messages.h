// The turns of an Anthropic conversation -> messages as ChatPrompt wants them: blocks of text, thinking, tool uses and
// tool results become texts, reasoning_content, tool_calls and messages of the role "tool". Called by
// anthropic_request.cc. One thread.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "base/json.h"
#include "server/api/fields.h"
#include "server/api/thinking_signature.h"

namespace fathom {

/// A string, or a list of text blocks, joined by line breaks. Throws ApiError naming `path` for anything else.
std::string read_anthropic_text(const json::value& content, const std::string& path,
                                std::vector<std::string>& warnings);

class AnthropicMessages {
 public:
  /// `warnings` gets the paths of blocks that are left out.
  AnthropicMessages(const ThinkingSignature& signature, std::vector<std::string>& warnings)
      : signature_(signature), warnings_(warnings) {}

  void system(std::string text) { add_text("system", std::move(text)); }
  /// One of the request's messages. Throws ApiError naming the field.
  void add(const json::value& message, const std::string& path);
  /// The conversation. Throws ApiError for thinking of the running turn that is not ours, and for tools that were
  /// called and have not answered.
  json::array take();

 private:
  struct Thinking {
    size_t message;  // in out_
    std::string signature, path;
  };
  void add_text(std::string_view role, std::string text);
  void add_user_block(Fields& block, const std::string& type);
  void add_assistant_block(Fields& block, const std::string& type);
  void add_tool_result(Fields& block);
  void add_tool_use(Fields& block);
  json::object& assistant();

  const ThinkingSignature& signature_;
  std::vector<std::string>& warnings_;
  json::array out_;
  bool same_turn_ = false;  // the last of out_ takes more of this role
  std::vector<Thinking> thinking_;
  std::map<std::string, std::string> tool_names_;  // of tool uses without results, by id
};

}  // namespace fathom

// One tool call as a model wrote it, taken apart: the formats of DeepSeek R1, V3 and V3.1, of Qwen (Hermes) and of
// Llama 3.1. The output parser calls this with the text between the markers. Thread-safe: no state.
#pragma once
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fathom {

struct ToolCall {
  std::string name;
  std::string arguments;  ///< a JSON object, as the model wrote it
  bool operator==(const ToolCall&) const = default;
};

/// DeepSeek: `head` <sep> `body`. V3 and R1 have the type in the head and name, code fence and arguments in the body,
/// V3.1 the name in the head and the arguments in the body; both are read. nullopt if there is no name or the arguments
/// are no JSON object. Source: spec/tokenizers.md 4.1, 4.3.
std::optional<ToolCall> parse_deepseek_call(std::string_view head, std::string_view body);

/// Hermes and Llama: an object with "name" and "arguments" or "parameters"; the arguments may be a string that holds
/// the object. nullopt for anything else.
std::optional<ToolCall> parse_json_call(std::string_view text);

/// Several such objects behind each other, with white space, commas or semicolons between. nullopt if any is malformed
/// or there is none.
std::optional<std::vector<ToolCall>> parse_json_calls(std::string_view text);

/// Finds the end of a JSON object that comes in pieces, reading each byte once.
class ObjectScanner {
 public:
  /// `text` is what came before with more behind it; it begins with "{". One past the closing brace, once it is there.
  std::optional<size_t> scan(std::string_view text);

 private:
  size_t at_ = 0, depth_ = 0;
  bool in_string_ = false, escaped_ = false;
};

}  // namespace fathom

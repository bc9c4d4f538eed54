// What a client wants generated, whichever protocol it speaks: the wire formats (openai.cc, anthropic.cc, ollama.cc)
// read into this, and api.cc makes answers of it. Values only.
#pragma once
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/json.h"
#include "engine/answer.h"
#include "engine/chat_prompt.h"

namespace fathom {

/// What the client says about drawing; absent: the model's own.
struct SamplingWishes {
  std::optional<double> temperature, top_p, min_p, repetition_penalty, presence_penalty, frequency_penalty;
  std::optional<int> top_k, penalty_window;
  std::map<TokenId, double> logit_bias;
  std::optional<uint64_t> seed;

  /// Throws Error if they do not fit together, or with the model.
  SamplingParams apply(SamplingParams model) const;
};

/// Which form the answer must have; what follows the thinking, if there is any.
struct AnswerForm {
  enum class Kind { kText, kJson, kSchema, kGrammar, kRegex, kChoice };
  Kind kind = Kind::kText;
  json::value schema = nullptr;
  std::string grammar;  ///< GBNF, or a regular expression
  std::vector<std::string> choices;
};

enum class ToolUse { kAuto, kNone, kRequired };

struct GenerateRequest {
  std::string model;  ///< as the client names it; empty: the first
  /// A conversation, a text to be continued as it is, or token ids.
  std::variant<ChatPrompt, std::string, std::vector<TokenId>> prompt;
  std::optional<std::string> suffix;  ///< text behind the gap to be filled; with a text

  SamplingWishes sampling;
  std::optional<size_t> max_tokens;  ///< thinking included
  size_t min_tokens = 0;
  std::optional<size_t> thinking_budget;
  std::vector<std::string> stop;
  std::vector<TokenId> stop_ids;
  bool include_stop = false;  ///< the stop string stays in the text
  bool ignore_eos = false;
  bool logprobs = false;
  size_t top_logprobs = 0;
  /// Log-probabilities of the prompt's tokens, with so many alternatives.
  std::optional<size_t> prompt_logprobs;
  std::optional<ScriptSet> language;  ///< the scripts that thinking and answer keep to
  size_t n = 1;
  int priority = 0;
  std::string salt;  ///< whose prompts share cached pages

  AnswerForm form;
  ToolUse tool_use = ToolUse::kAuto;
  std::string tool_name;  ///< the one that must be called; empty: any
  bool parallel_tool_calls = true;

  bool stream = false, include_usage = false;
  bool keep = false;                  ///< the answer goes on without its reader, and can be picked up again
  bool echo = false;                  ///< completions: the prompt comes before the text
  bool only_prompt = false;           ///< completions with max_tokens 0, to have the prompt's log-probabilities
  std::vector<std::string> warnings;  ///< fields that were not understood, or have no effect here
};

/// Bounds on what one request may ask for.
inline constexpr int64_t kMostTokens = 1 << 30;
inline constexpr size_t kMostChoices = 128, kMostTools = 128, kMostTopLogprobs = 20;

/// The fields' meaning for thinking, from any protocol: on or off, and a budget in tokens.
struct ThinkingWish {
  std::optional<bool> on;
  std::optional<size_t> budget;
};
/// reasoning_effort: none and minimal switch it off and on shortly, low, medium, high and max as docs/api.md says.
/// Throws ApiError naming `param` for another word.
ThinkingWish thinking_of_effort(const std::string& effort, const std::string& param);

/// `language`, in any protocol: the scripts that thinking and answer keep to. Throws ApiError for another word.
ScriptSet scripts_of_wish(const std::string& language);

}  // namespace fathom

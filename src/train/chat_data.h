// Supervised fine-tuning on the ecosystem's JSONL: conversations, prompts with completions, or plain texts, as samples
// whose loss counts what the assistant writes. Called by the training stages. One call at a time.
#pragma once
#include <cstdint>
#include <filesystem>
#include <vector>

#include "base/work.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"
#include "train/sample.h"

namespace fathom {

enum class LongSamples : uint8_t {
  kRefuse,  ///< Error naming the line and both lengths
  kDrop,    ///< left out and counted
};

struct ChatDataOptions {
  size_t context = 0;  ///< the most tokens of a sample; nothing is ever cut off
  LongSamples long_samples = LongSamples::kRefuse;
  RenderClock clock = nullptr;  ///< what a template's strftime_now reads; null: the local time
};

/// The samples in the files' order, and what the person should know about them.
struct ChatData {
  std::vector<Sample> samples;
  uint64_t lines = 0;            ///< conversations, pairs or texts
  uint64_t turns = 0;            ///< assistant turns, completions and texts whose tokens count
  uint64_t dropped = 0;          ///< samples longer than the context (LongSamples::kDrop)
  uint64_t without_prefill = 0;  ///< turns without thinking where the template begins every answer with <think>
  uint64_t without_end = 0;      ///< turns that the template (or a missing EOS) ends without an end token
  uint64_t literal_tokens = 0;   ///< texts, prompts and completions that spell a control token, which stays text
};

/// A prompt and what is to be learned behind it, as at inference: BOS where the tokenizer adds it, the two texts
/// encoded apart, EOS where the tokenizer has one. completion and EOS count. Control tokens in the texts stay text.
Sample completion_sample(const Tokenizer& tokenizer, std::string_view prompt, std::string_view completion);

/// Reads JSONL files. A line is one of
///   {"messages": [{role, content, reasoning_content?, tool_calls?}, ...], "tools": [...]?}: the ids of the model's own
///     template; content, thinking, tool calls and the end-of-turn token of every assistant message count, headers do
///     not. A turn continues the sample of the one before where its prompt begins with exactly those ids; where the
///     template rewrites earlier turns (drops their thinking), it becomes a sample of its own, with its prompt as at
///     inference;
///   {"prompt": [messages], "completion": [messages], "tools"?}: the same; only the completion's messages count;
///   {"prompt": "...", "completion": "..."}: completion_sample;
///   {"text": "..."}: the same with an empty prompt; a token that begins the sample does not count.
/// `chat_template` null: the model has none. `progress` counts the files' bytes. Throws Error naming file, line, key,
/// expectation and finding: another form, a conversation without an assistant message, a sample too long.
ChatData read_chat_data(const std::vector<std::filesystem::path>& files, const Tokenizer& tokenizer,
                        const ChatTemplate* chat_template, const ChatDataOptions& options,
                        const WorkProgress& progress = {});

/// Two answers to one prompt.
struct PreferenceSamples {
  Sample chosen, rejected;
};

/// Reads pairs for DPO, as the ecosystem writes them. A line is one of
///   {"prompt": "...", "chosen": "...", "rejected": "..."} and {"prompt": [messages], "chosen": [messages], "rejected":
///     [messages], "tools"?}: each answer as read_chat_data reads {"prompt", "completion"};
///   {"chosen": [messages], "rejected": [messages], "tools"?}: the last message of each is the answer.
/// Throws Error as read_chat_data does, also for an answer that makes more than one sample.
std::vector<PreferenceSamples> read_preferences(const std::vector<std::filesystem::path>& files,
                                                const Tokenizer& tokenizer, const ChatTemplate* chat_template,
                                                const ChatDataOptions& options, const WorkProgress& progress = {});

}  // namespace fathom

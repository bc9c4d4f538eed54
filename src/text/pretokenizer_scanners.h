// The hand-written stages of the known pre-tokenizers. Only pretokenizer.cc includes this. Thread-safe: no state.
#pragma once
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>

#include "text/pretokenizer.h"

namespace fathom {

/// One regular expression of a pre-tokenizer, hand-written. Each stage cuts what it is given into matches and the gaps
/// between them, and the next stage cuts each of those.
struct PretokenizerStage {
  enum class Kind : uint8_t {
    kRuns,           ///< `\s?[class]{1,max_run}` with or without the \s?
    kTrailingSpace,  ///< `\s+$`
    kGpt2Words,      ///< the whole pattern of GPT-2
    kLlamaWords,     ///< the pattern of Llama 3 and Qwen2; numbers have at most max_run digits
    kDeepSeekWords,  ///< the third pattern of DeepSeek-V3
  };
  static constexpr uint32_t kNoLimit = std::numeric_limits<uint32_t>::max();
  Kind kind;
  uint16_t mask = 0;  ///< kRuns: a CharClass
  bool optional_space = false;
  uint32_t max_run = kNoLimit;  ///< characters
};

/// Cuts `text` (valid UTF-8) by all stages in order and calls emit for every piece. Linear in text.size().
void split_by_stages(std::string_view text, std::span<const PretokenizerStage> stages, Pretokenizer::Emit emit);

}  // namespace fathom

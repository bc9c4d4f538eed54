// What a template, a vocabulary and a rendered prompt say about the output to come.
#include <algorithm>

#include "text/output_parser.h"

namespace fathom {
namespace {
constexpr std::string_view kThinkOpen = "<think>", kThinkClose = "</think>";
constexpr std::string_view kDeepSeekCalls = "<｜tool▁calls▁begin｜>";

bool is_space(std::string_view text) { return text.find_first_not_of(" \t\r\n") == std::string_view::npos; }
}  // namespace

bool wants_argument_objects(const ChatTemplate& chat) {
  return chat.source().find("arguments | tojson") != std::string::npos ||
         chat.source().find("arguments|tojson") != std::string::npos;
}

OutputFormat detect_output_format(const ChatTemplate& chat,
                                  const std::function<std::optional<TokenId>(std::string_view)>& find_token) {
  const auto tag = [&](std::string_view text) { return OutputTag{std::string(text), find_token(text)}; };
  const auto has = [&](std::string_view text) { return chat.source().find(text) != std::string::npos; };
  OutputFormat out;
  if (has(kThinkClose) || has(kThinkOpen) || (find_token(kThinkOpen) && find_token(kThinkClose))) {
    out.think_open = tag(kThinkOpen);
    out.think_close = tag(kThinkClose);
  }
  // The template decides: R1's distillations into Qwen have a token <tool_call> that they were not trained to use.
  if (has("tool▁calls▁begin") || (!has("<tool_call>") && find_token(kDeepSeekCalls))) {
    out.tools = ToolFormat::kDeepSeek;
    out.calls_begin = tag(kDeepSeekCalls);
    out.calls_end = tag("<｜tool▁calls▁end｜>");
    out.call_begin = tag("<｜tool▁call▁begin｜>");
    out.call_separator = tag("<｜tool▁sep｜>");
    out.call_end = tag("<｜tool▁call▁end｜>");
  } else if (has("<tool_call>")) {
    out.tools = ToolFormat::kHermes;
    out.call_begin = tag("<tool_call>");
    out.call_end = tag("</tool_call>");
  } else if (has("<|python_tag|>") || (has("ipython") && has("\"parameters\""))) {
    out.tools = ToolFormat::kLlama;
    out.call_begin = tag("<|python_tag|>");
  }
  return out;
}

PromptState prompt_state(std::span<const TextPiece> prompt) {
  // From the end: what stands behind the last trusted tag. Untrusted text there continues an open thought.
  bool untrusted_text = false;
  for (size_t i = prompt.size(); i-- > 0;) {
    const TextPiece& piece = prompt[i];
    if (!piece.trusted) {
      untrusted_text |= !is_space(piece.text);
      continue;
    }
    const size_t open = piece.text.rfind(kThinkOpen), close = piece.text.rfind(kThinkClose);
    const bool has_open = open != std::string::npos, has_close = close != std::string::npos;
    const bool is_open = has_open && (!has_close || open > close);
    if (!has_open && !has_close) {
      if (!is_space(piece.text)) return PromptState::kNone;
      continue;
    }
    const size_t end = is_open ? open + kThinkOpen.size() : close + kThinkClose.size();
    if (!is_space(std::string_view(piece.text).substr(end))) return PromptState::kNone;
    if (is_open) return PromptState::kOpen;
    return untrusted_text ? PromptState::kNone : PromptState::kClosed;
  }
  return PromptState::kNone;
}

}  // namespace fathom

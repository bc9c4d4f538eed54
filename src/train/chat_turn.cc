#include "train/chat_turn.h"

#include <algorithm>

#include "base/error.h"
#include "base/trimmed.h"

namespace fathom {
namespace {

constexpr std::string_view kOpen = "<think>", kClose = "</think>", kSpace = " \t\r\n";
constexpr std::string_view kStandIn = "fathomStandsInForTheAnswer";  // a word that templates leave as it is

std::string_view without_leading(std::string_view text, std::string_view characters) {
  return text.substr(std::min(text.find_first_not_of(characters), text.size()));
}

/// What stands behind the first `bytes` bytes.
std::vector<TextPiece> behind(const std::vector<TextPiece>& pieces, size_t bytes) {
  std::vector<TextPiece> out;
  for (const TextPiece& piece : pieces) {
    const size_t skip = std::min(bytes, piece.text.size());
    bytes -= skip;
    if (skip < piece.text.size()) out.push_back({piece.text.substr(skip), piece.trusted});
  }
  return out;
}

/// The first `bytes` bytes.
std::vector<TextPiece> before(const std::vector<TextPiece>& pieces, size_t bytes) {
  std::vector<TextPiece> out;
  for (const TextPiece& piece : pieces) {
    const size_t take = std::min(bytes, piece.text.size());
    bytes -= take;
    if (take > 0) out.push_back({piece.text.substr(0, take), piece.trusted});
  }
  return out;
}

/// The pieces, with the tags that are tokens made trusted wherever they stand.
std::vector<TextPiece> with_tags(const std::vector<TextPiece>& pieces, const OutputFormat& format) {
  const OutputTag* tags[] = {&format.think_open, &format.think_close,    &format.calls_begin, &format.calls_end,
                             &format.call_begin, &format.call_separator, &format.call_end};
  std::vector<TextPiece> out;
  for (const TextPiece& piece : pieces) {
    std::string_view rest = piece.text;
    while (!piece.trusted && !rest.empty()) {
      size_t at = std::string_view::npos, size = 0;
      for (const OutputTag* tag : tags) {
        const size_t found = tag->id ? rest.find(tag->text) : std::string_view::npos;
        if (found < at) at = found, size = tag->text.size();
      }
      if (at == std::string_view::npos) break;
      out.push_back({std::string(rest.substr(0, at)), false});
      out.push_back({std::string(rest.substr(at, size)), true});
      rest.remove_prefix(at + size);
    }
    out.push_back({std::string(rest), piece.trusted});
  }
  return out;
}

/// {type, function: {name, arguments}}; the arguments as an object or as JSON text, whatever the data has.
json::object normalised_call(const json::value& value, const std::string& what, bool argument_objects) {
  const JsonObject call(value, what);
  const JsonObject function = call.has("function") ? call.object("function") : call;
  const std::string name = function.string("name");
  const json::value* given = function.find("arguments");
  json::value arguments = given ? *given : json::value(json::object());
  if (argument_objects && arguments.is_string())
    arguments = parse_json(arguments.get_string(), cat(what, ": arguments"));
  if (!argument_objects && !arguments.is_string())
    arguments = json::string(to_json(arguments, {.item_sep = ", ", .key_sep = ": "}));
  json::object out = {{"type", "function"}, {"function", {{"name", name}, {"arguments", std::move(arguments)}}}};
  if (call.has("id")) out["id"] = *call.find("id");
  return out;
}

/// Takes "<think>...</think>" off the beginning of the content. The opening tag may be missing, as in the output of a
/// model whose prompt ends with it.
void take_thinking_apart(ChatMessage& message) {
  const std::string_view text = message.content;
  const size_t close = text.find(kClose);
  if (close == std::string_view::npos) return;
  const std::string_view before = without_leading(text, kSpace).substr(0, kOpen.size());
  if (before != kOpen && text.substr(0, close).find(kOpen) != std::string_view::npos) return;  // it speaks about tags
  const size_t begin = before == kOpen ? text.find(kOpen) + kOpen.size() : 0;
  std::string thinking(trimmed(text.substr(begin, close - begin)));
  std::string content(without_leading(text.substr(close + kClose.size()), "\r\n"));
  message.thinking = std::move(thinking);
  message.content = std::move(content);
}

/// Whether the rendering of an answer has its thinking, a closing tag and its content, in this order.
bool shows_thinking(std::string_view rendered, const ChatMessage& answer) {
  if (answer.thinking.empty()) return true;
  const size_t thinking = rendered.find(answer.thinking);
  if (thinking == std::string_view::npos) return false;
  const size_t close = rendered.find(kClose, thinking + answer.thinking.size());
  return close != std::string_view::npos && rendered.find(trimmed(answer.content), close) != std::string_view::npos;
}

}  // namespace

/// What the renderings of one turn have in common.
struct ChatTurnEncoder::View {
  std::span<const ChatMessage> earlier;
  const ChatMessage& turn;
  const json::array& tools;
};

ChatTurnEncoder::ChatTurnEncoder(const Tokenizer& tokenizer, const ChatTemplate& chat, RenderClock clock)
    : tokenizer_(tokenizer),
      chat_(chat),
      clock_(std::move(clock)),
      format_(detect_output_format(chat, [&](std::string_view text) { return tokenizer.find(text); })),
      argument_objects_(wants_argument_objects(chat)),
      knows_reasoning_(chat.source().find("reasoning_content") != std::string::npos) {}

ChatMessage ChatTurnEncoder::message(const json::value& value, const std::string& what) const {
  const JsonObject given(value, what);
  ChatMessage out{.as_given = given.raw(), .role = given.string("role")};
  if (given.has("tool_calls")) {
    const json::array& calls = given.array("tool_calls");
    for (size_t i = 0; i < calls.size(); ++i)
      out.tool_calls.push_back(normalised_call(calls[i], cat(what, ": tool_calls[", i, "]"), argument_objects_));
  }
  if (!out.tool_calls.empty() && !out.is_assistant())
    throw Error(cat(what, ": tool_calls: expected in an assistant's message, found in one of role '", out.role, "'"));
  out.content = out.tool_calls.empty() ? given.string("content") : given.string_or("content", "");
  for (const char* key : {"content", "reasoning_content", "tool_calls"}) out.as_given.erase(key);
  if (!out.is_assistant()) return out;
  out.thinking = trimmed(given.string_or("reasoning_content", ""));
  if (out.thinking.empty()) take_thinking_apart(out);
  return out;
}

json::object ChatTurnEncoder::message_json(const ChatMessage& message, std::string_view content,
                                           bool thinking_apart) const {
  json::object out = message.as_given;
  out["content"] = content;
  if (thinking_apart && !message.thinking.empty()) out["reasoning_content"] = message.thinking;
  if (message.tool_calls.empty()) return out;
  out["tool_calls"] = message.tool_calls;
  if (content.empty()) out["content"] = nullptr;
  return out;
}

/// The conversation before the turn, and `last` behind it; null: nothing.
std::vector<TextPiece> ChatTurnEncoder::render(const View& view, const json::object* last,
                                               bool add_generation_prompt) const {
  const TokenizerSpec& spec = tokenizer_.spec();
  RenderOptions options;
  for (const ChatMessage& message : view.earlier)
    options.messages.push_back(message_json(message, message.content, true));
  if (last) options.messages.push_back(*last);
  if (!view.tools.empty()) options.tools = view.tools;
  options.add_generation_prompt = add_generation_prompt;
  if (spec.bos) options.bos_token = tokenizer_.token_bytes(*spec.bos);
  if (spec.eos) options.eos_token = tokenizer_.token_bytes(*spec.eos);
  for (const char* variable : {"enable_thinking", "thinking"})
    if (chat_.mentions(variable)) options.extra[variable] = !view.turn.thinking.empty();
  return chat_.render(options, {}, clock_);
}

/// What the template writes behind an answer's content: tool calls and the end of the turn.
std::vector<TextPiece> ChatTurnEncoder::ending(const View& view) const {
  const json::object last = message_json(view.turn, kStandIn, false);
  const Pieces pieces = render(view, &last, false);
  const std::string text = joined(pieces);
  const size_t at = text.find(kStandIn);
  if (at == std::string::npos || text.find(kStandIn, at + 1) != std::string::npos)
    throw Error("chat template: expected to show an answer's content once, found another rendering");
  Pieces out = behind(pieces, at + kStandIn.size());
  for (const json::value& call : view.turn.tool_calls)
    if (joined(out).find(std::string(call.at("function").at("name").as_string())) == std::string::npos)
      throw Error("chat template: expected a place for tool calls behind an answer's thinking, found none");
  return out;
}

void ChatTurnEncoder::finish(ChatTurn& turn, const Pieces& completion) const {
  turn.completion = tokenizer_.encode(with_tags(completion, format_));
  // What the template writes behind the end token (a line break) belongs to the next prompt.
  const auto end = std::find_if(turn.completion.begin(), turn.completion.end(),
                                [&](TokenId id) { return tokenizer_.is_end_of_generation(id); });
  turn.without_end = end == turn.completion.end();
  if (!turn.without_end) turn.completion.erase(end + 1, turn.completion.end());
}

/// The template's own rendering of the turn, which parts from the prompt where that opens thinking.
ChatTurn ChatTurnEncoder::without_prefill(const Pieces& prompt, const Pieces& full) const {
  const std::string prompt_text = joined(prompt);
  const size_t header = prompt_text.rfind(kOpen);
  if (!joined(full).starts_with(prompt_text.substr(0, header)))
    throw Error("chat template: expected the conversation to stay as it is when its answer is added, found it changed");
  ChatTurn turn{.prompt = tokenizer_.encode(before(prompt, header)), .completion = {}, .without_prefill = true};
  finish(turn, behind(full, header));
  return turn;
}

ChatTurn ChatTurnEncoder::encode(std::span<const ChatMessage> messages, const json::array& tools) const {
  check(!messages.empty() && messages.back().is_assistant(), "the last message is the answer to learn");
  const View view{messages.first(messages.size() - 1), messages.back(), tools};
  const ChatMessage& answer = view.turn;
  // The whole text of the answer, for templates that know no reasoning_content.
  const std::string text = answer.thinking.empty()
                               ? answer.content
                               : cat(kOpen, '\n', answer.thinking, '\n', kClose, "\n\n", answer.content);
  const json::object last = message_json(answer, knows_reasoning_ ? answer.content : text, knows_reasoning_);
  const Pieces prompt = render(view, nullptr, true), full = render(view, &last, false);
  const std::string prompt_text = joined(prompt), full_text = joined(full);
  ChatTurn turn{.prompt = tokenizer_.encode(prompt)};
  if (full_text.starts_with(prompt_text) && shows_thinking(full_text.substr(prompt_text.size()), answer)) {
    finish(turn, behind(full, prompt_text.size()));
    return turn;
  }
  const PromptState state = prompt_state(prompt);
  if (answer.thinking.empty() && state == PromptState::kOpen) return without_prefill(prompt, full);
  if (!answer.thinking.empty() && state == PromptState::kClosed)
    throw Error("chat template: expected a place for the answer's thinking, found a prompt that closes thinking");
  std::string body = text;
  if (state == PromptState::kOpen)  // the prompt has the opening tag already, and perhaps a line break
    body = prompt_text.back() == '\n' ? text.substr(kOpen.size() + 1) : cat(answer.thinking, kClose, answer.content);
  Pieces completion{{std::move(body), false}};
  for (TextPiece& piece : ending(view)) completion.push_back(std::move(piece));
  finish(turn, completion);
  return turn;
}

}  // namespace fathom

// A model's output, token by token -> thinking, answer and tool calls. It goes by token ids (a marker that is a token
// of the vocabulary is recognised as that token and never as the same letters), by the text where the vocabulary has no
// such token, and by how the prompt ended. The result does not depend on how the output was cut into calls, nor, for
// markers in text form, into tokens. engine/ has one per answer. Not thread-safe.
#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/chat_template.h"
#include "text/text_piece.h"
#include "text/tokenizer_spec.h"
#include "text/tool_call.h"

namespace fathom {

/// A marker: its text, and its token id where the vocabulary has it. An empty text: this format has no such marker.
struct OutputTag {
  std::string text = {};
  std::optional<TokenId> id = {};
};

enum class ToolFormat : uint8_t {
  kNone,
  kDeepSeek,  ///< R1, V3, V3.1
  kHermes,    ///< Qwen: <tool_call>{"name", "arguments"}</tool_call>
  kLlama,     ///< 3.1: the answer is {"name", "parameters"}, perhaps behind <|python_tag|>
};

struct OutputFormat {
  OutputTag think_open, think_close;
  ToolFormat tools = ToolFormat::kNone;
  OutputTag calls_begin, calls_end;                ///< around all calls: DeepSeek
  OutputTag call_begin, call_separator, call_end;  ///< of one call; Llama: call_begin is <|python_tag|>
  /// Llama: an answer in JSON is a call only if it names one of these; empty: any name.
  std::set<std::string, std::less<>> tool_names;
  bool has_thinking() const { return !think_close.text.empty(); }
};

/// The format that a model's template and vocabulary imply. `find_token` gives the id of an added token by its text.
OutputFormat detect_output_format(const ChatTemplate& chat,
                                  const std::function<std::optional<TokenId>(std::string_view)>& find_token);

/// Whether a template writes a call's arguments with tojson and so wants them as an object; others put the JSON text in
/// as it is.
bool wants_argument_objects(const ChatTemplate& chat);

enum class PromptState : uint8_t {
  kNone,    ///< no thinking tag at the end: the model decides
  kOpen,    ///< the prompt ends in an open <think>, perhaps with the beginning of the thoughts behind it
  kClosed,  ///< the prompt ends in </think>: no thinking
};
/// How a rendered prompt ends. Only tags in trusted pieces count.
PromptState prompt_state(std::span<const TextPiece> prompt);

struct OutputEvent {
  enum class Kind : uint8_t { kThinking, kAnswer, kToolCallBegin, kToolCallArguments, kToolCallEnd };
  Kind kind;
  std::string text = {};  ///< whole UTF-8 characters; kToolCallBegin: the name; kToolCallEnd: empty
  bool operator==(const OutputEvent&) const = default;
};

class OutputParser {
 public:
  OutputParser(OutputFormat format, PromptState prompt);

  /// One token: its id, its bytes (characters may be cut), whether it is a control token. Control tokens other than the
  /// format's markers are not shown. Returns what is decided now; neighbouring events of one kind are merged.
  /// White space around thinking is dropped, and so are line breaks between it and the answer.
  std::vector<OutputEvent> feed(TokenId id, std::string_view bytes, bool control);
  /// The end of the output: what was held back. A call that lacks only its end marker counts.
  std::vector<OutputEvent> finish();

  /// True while what the model writes next is thinking; for budgets.
  bool thinking() const { return state_ == State::kThinking; }
  /// True once there was thinking and it ended, or the prompt had closed it.
  bool thinking_done() const { return thinking_done_; }
  /// Calls that could not be read and were given back as answer text.
  int malformed_calls() const { return malformed_calls_; }
  int calls() const { return calls_; }

 private:
  enum class State : uint8_t { kStart, kThinking, kAnswer, kBetweenCalls, kCall };
  enum class Marker : uint8_t { kThinkOpen, kThinkClose, kCallsBegin, kCallsEnd, kCallBegin, kSeparator, kCallEnd };
  struct Hit {
    size_t at;
    Marker marker;
  };

  const OutputTag& tag(Marker marker) const;
  bool matters(Marker marker) const;
  std::optional<Marker> marker_of(TokenId id) const;
  std::optional<Hit> find_text_marker() const;
  size_t undecided_tail() const;
  void add_bytes(std::string_view bytes);
  void drain(bool final);
  bool drain_start(bool final);
  bool drain_between(bool final);
  bool drain_llama(bool final);
  void take_text(size_t size);
  void on_marker(Marker marker);
  void on_call_marker(Marker marker);
  void literal(Marker marker);
  void thinking_text(std::string_view text);
  void answer_text(std::string_view text);
  void leave_thinking();
  void finish_call();
  bool complete_call();
  void give_back();
  void emit(OutputEvent::Kind kind, std::string_view text);
  void emit_call(const ToolCall& call);

  OutputFormat format_;
  State state_;
  std::string bytes_;                // an incomplete character
  std::string pending_;              // text not yet decided on
  std::string space_;                // white space that is shown only if more text follows
  std::string raw_;                  // the current call or block of calls as written
  std::string call_;                 // the current call without its markers
  std::optional<size_t> separator_;  // where in call_
  ObjectScanner scanner_;            // Llama: of pending_
  bool thought_ = false, answered_ = false, thinking_done_ = false;
  int malformed_calls_ = 0, calls_ = 0;
  std::vector<OutputEvent> events_;
};

}  // namespace fathom

#include "text/output_parser.h"

#include <algorithm>
#include <array>
#include <utility>

#include "text/utf8.h"

namespace fathom {
namespace {

constexpr size_t kMaxCall = size_t{4} << 20;  // a longer call is given back as text
constexpr std::string_view kSpace = " \t\r\n";

size_t leading_space(std::string_view text) { return std::min(text.find_first_not_of(kSpace), text.size()); }

// How much of `text` is left without the white space at its end.
size_t without_space(std::string_view text) {
  const size_t last = text.find_last_not_of(kSpace);
  return last == std::string_view::npos ? 0 : last + 1;
}

// The length of the longest end of `text` that begins `tag` without being all of it.
size_t partial_match(std::string_view text, std::string_view tag) {
  for (size_t n = std::min(text.size(), tag.size() - 1); n > 0; --n)
    if (text.ends_with(tag.substr(0, n))) return n;
  return 0;
}

// Whether a JSON object that begins a Llama answer may be a call, by its first key; nullopt: not yet known.
std::optional<bool> may_be_call(std::string_view text) {
  const size_t quote = text.find_first_not_of(kSpace, 1);
  if (quote == std::string_view::npos) return std::nullopt;
  if (text[quote] != '"') return false;
  const size_t end = text.find('"', quote + 1);
  const std::string_view key = text.substr(quote + 1, end == std::string_view::npos ? end : end - quote - 1);
  for (const std::string_view known : {"name", "type", "parameters", "arguments"}) {
    if (end != std::string_view::npos && key == known) return true;
    if (end == std::string_view::npos && known.starts_with(key)) return std::nullopt;
  }
  return false;
}

}  // namespace

OutputParser::OutputParser(OutputFormat format, PromptState prompt)
    : format_(std::move(format)),
      state_(!format_.has_thinking()          ? State::kAnswer
             : prompt == PromptState::kOpen   ? State::kThinking
             : prompt == PromptState::kClosed ? State::kAnswer
                                              : State::kStart),
      thinking_done_(format_.has_thinking() && prompt == PromptState::kClosed) {}

const OutputTag& OutputParser::tag(Marker marker) const {
  const std::array<const OutputTag*, 7> tags = {&format_.think_open, &format_.think_close, &format_.calls_begin,
                                                &format_.calls_end,  &format_.call_begin,  &format_.call_separator,
                                                &format_.call_end};
  return *tags[static_cast<size_t>(marker)];
}

// Whether a marker in text form means something in this state. In thoughts only their end does: models quote the rest.
bool OutputParser::matters(Marker marker) const {
  if (tag(marker).text.empty() || tag(marker).id) return false;
  switch (state_) {
    case State::kStart: return marker == Marker::kThinkOpen;
    case State::kThinking: return marker == Marker::kThinkClose || (marker == Marker::kThinkOpen && !thought_);
    case State::kAnswer:
      if (marker == Marker::kThinkClose) return !answered_;
      return marker == Marker::kCallsBegin || marker == Marker::kCallBegin;
    case State::kBetweenCalls: return marker == Marker::kCallBegin || marker == Marker::kCallsEnd;
    case State::kCall:
      return marker == Marker::kSeparator ? !separator_ : marker == Marker::kCallEnd || marker == Marker::kCallsEnd;
  }
  return false;
}

std::optional<OutputParser::Marker> OutputParser::marker_of(TokenId id) const {
  for (int i = 0; i < 7; ++i)
    if (const auto marker = static_cast<Marker>(i); !tag(marker).text.empty() && tag(marker).id == id) return marker;
  return std::nullopt;
}

std::optional<OutputParser::Hit> OutputParser::find_text_marker() const {
  std::optional<Hit> best;
  for (int i = 0; i < 7; ++i) {
    const auto marker = static_cast<Marker>(i);
    if (!matters(marker)) continue;
    const size_t at = pending_.find(tag(marker).text);
    if (at != std::string::npos && (!best || at < best->at)) best = {at, marker};
  }
  return best;
}

size_t OutputParser::undecided_tail() const {
  size_t longest = 0;
  for (int i = 0; i < 7; ++i)
    if (const auto marker = static_cast<Marker>(i); matters(marker))
      longest = std::max(longest, partial_match(pending_, tag(marker).text));
  return longest;
}

std::vector<OutputEvent> OutputParser::feed(TokenId id, std::string_view bytes, bool control) {
  if (const std::optional<Marker> marker = marker_of(id)) {
    pending_ += utf8_lossy(std::exchange(bytes_, {}));
    drain(true);  // a marker ends whatever was undecided
    on_marker(*marker);
  } else if (!control) {
    add_bytes(bytes);
    drain(false);
  }
  return std::exchange(events_, {});
}

std::vector<OutputEvent> OutputParser::finish() {
  pending_ += utf8_lossy(std::exchange(bytes_, {}));
  drain(true);
  if (state_ == State::kCall) finish_call();
  if (!raw_.empty()) give_back();
  if (state_ == State::kAnswer && calls_ == 0) emit(OutputEvent::Kind::kAnswer, std::exchange(space_, {}));
  space_.clear();
  return std::exchange(events_, {});
}

void OutputParser::add_bytes(std::string_view bytes) {
  bytes_ += bytes;
  size_t end = 0;
  while (end < bytes_.size()) {
    const Utf8Unit unit = next_utf8_unit(std::string_view(bytes_).substr(end));
    if (unit.status == Utf8Status::kIncomplete) break;
    end += unit.size;
  }
  pending_ += utf8_lossy(std::string_view(bytes_).substr(0, end));
  bytes_.erase(0, end);
}

void OutputParser::drain(bool final) {
  for (;;) {
    if (state_ == State::kStart && !drain_start(final)) return;
    if (state_ == State::kBetweenCalls && !drain_between(final)) return;
    if (state_ == State::kAnswer && !answered_ && format_.tools == ToolFormat::kLlama && !drain_llama(final)) return;
    const std::optional<Hit> hit = find_text_marker();
    if (!hit) break;
    take_text(hit->at);
    pending_.erase(0, tag(hit->marker).text.size());
    on_marker(hit->marker);
  }
  take_text(final ? pending_.size() : pending_.size() - undecided_tail());
}

// Before anything is known: white space, then perhaps a <think> in text form. False: wait for more.
bool OutputParser::drain_start(bool final) {
  const std::string_view rest = std::string_view(pending_).substr(leading_space(pending_));
  if (rest.empty()) {
    if (final) pending_.clear();
    return false;
  }
  const OutputTag& open = format_.think_open;
  if (!open.text.empty() && !open.id) {
    if (rest.starts_with(open.text)) {
      pending_.erase(0, pending_.size() - rest.size() + open.text.size());
      on_marker(Marker::kThinkOpen);
      return true;
    }
    if (!final && open.text.starts_with(rest)) return false;
  }
  state_ = State::kAnswer;
  return true;
}

// Between calls only white space is expected; other text means that the end marker was forgotten. False: wait for more.
bool OutputParser::drain_between(bool final) {
  const size_t space = leading_space(pending_);
  if (space == pending_.size()) {
    if (final && !raw_.empty()) raw_ += pending_;
    if (final) pending_.clear();
    return false;
  }
  const std::string_view rest = std::string_view(pending_).substr(space);
  for (const Marker marker : {Marker::kCallBegin, Marker::kCallsEnd}) {
    if (!matters(marker)) continue;
    if (rest.starts_with(tag(marker).text)) {
      pending_.erase(0, space);
      return true;
    }
    if (!final && tag(marker).text.starts_with(rest)) return false;
  }
  if (!raw_.empty()) give_back();
  state_ = State::kAnswer;
  return true;
}

// A Llama answer that begins with an object is held back until it proves to be a call or not. False: wait for more.
bool OutputParser::drain_llama(bool final) {
  for (;;) {
    const size_t space = pending_.find_first_not_of(calls_ > 0 ? " \t\r\n,;" : kSpace);
    if (space == std::string::npos) return final;
    if (pending_[space] != '{') return true;
    const std::string_view rest = std::string_view(pending_).substr(space);
    const std::optional<bool> may = may_be_call(rest);
    if (may == false || (!may && final) || rest.size() > kMaxCall) break;
    if (!may) return false;
    const std::optional<size_t> end = scanner_.scan(rest);
    if (!end && !final) return false;
    const std::optional<ToolCall> call = end ? parse_json_call(rest.substr(0, *end)) : std::nullopt;
    scanner_ = {};
    if (!call || (!format_.tool_names.empty() && !format_.tool_names.contains(call->name))) break;
    emit_call(*call);
    pending_.erase(0, space + *end);
  }
  answered_ = true;  // an answer in JSON
  return true;
}

void OutputParser::take_text(size_t size) {
  const std::string text = pending_.substr(0, size);
  pending_.erase(0, size);
  if (text.empty()) return;
  if (state_ == State::kCall) {
    call_ += text;
    raw_ += text;
    if (raw_.size() > kMaxCall) give_back();
  } else if (state_ == State::kThinking) {
    thinking_text(text);
  } else {
    answer_text(text);
  }
}

void OutputParser::thinking_text(std::string_view text) {
  if (!thought_) text.remove_prefix(leading_space(text));
  if (text.empty()) return;
  const size_t shown = without_space(text);
  if (shown > 0) {
    emit(OutputEvent::Kind::kThinking, std::exchange(space_, {}));
    emit(OutputEvent::Kind::kThinking, text.substr(0, shown));
    thought_ = true;
  }
  space_ += text.substr(shown);
}

void OutputParser::answer_text(std::string_view text) {
  // Models set the answer off from the thinking, and calls from one another, by line breaks.
  if (!answered_ && (format_.has_thinking() || calls_ > 0)) {
    const size_t skip = std::min(text.find_first_not_of("\r\n"), text.size());
    if (space_.empty()) text.remove_prefix(skip);
  }
  if (text.empty()) return;
  const size_t shown = without_space(text);
  if (shown > 0) {
    emit(OutputEvent::Kind::kAnswer, std::exchange(space_, {}));
    emit(OutputEvent::Kind::kAnswer, text.substr(0, shown));
    answered_ = true;
  }
  space_ += text.substr(shown);
}

void OutputParser::leave_thinking() {
  space_.clear();
  thinking_done_ = true;
  state_ = State::kAnswer;
}

// A marker where it has no meaning is text.
void OutputParser::literal(Marker marker) {
  const std::string& text = tag(marker).text;
  if (state_ == State::kCall) {
    call_ += text;
    raw_ += text;
  } else if (state_ == State::kThinking) {
    thinking_text(text);
  } else {
    state_ = State::kAnswer;
    answer_text(text);
  }
}

void OutputParser::on_marker(Marker marker) {
  if (marker != Marker::kThinkOpen && marker != Marker::kThinkClose) return on_call_marker(marker);
  if (state_ == State::kCall) return literal(marker);
  if (state_ == State::kBetweenCalls) {
    if (!raw_.empty()) give_back();
    state_ = State::kAnswer;
  }
  if (marker == Marker::kThinkOpen) {
    if (state_ == State::kThinking) return thought_ ? literal(marker) : void();  // the prompt had opened it already
    space_.clear();
    thought_ = false;
    state_ = State::kThinking;
  } else if (state_ == State::kThinking) {
    leave_thinking();
  } else if (answered_) {
    literal(marker);
  } else {
    leave_thinking();  // an empty thought whose beginning the model left out
  }
}

void OutputParser::on_call_marker(Marker marker) {
  const bool begins = marker == Marker::kCallsBegin || marker == Marker::kCallBegin;
  if (state_ == State::kCall) {
    if (marker == Marker::kSeparator && !separator_) {
      separator_ = call_.size();
      raw_ += tag(marker).text;
      return;
    }
    if (marker == Marker::kSeparator) return literal(marker);
    if (marker == Marker::kCallEnd) raw_ += tag(marker).text;
    finish_call();
    if (marker == Marker::kCallEnd) return;
  } else if (marker == Marker::kSeparator || marker == Marker::kCallEnd) {
    return literal(marker);
  }
  if (marker == Marker::kCallsEnd) {
    if (state_ != State::kBetweenCalls) return literal(marker);
    if (!raw_.empty()) raw_ += tag(marker).text, give_back();  // a block without a call
    state_ = State::kAnswer;
    return;
  }
  if (!begins) return;
  if (state_ == State::kThinking) leave_thinking();  // the model forgot to close its thoughts
  space_.clear();
  raw_ += tag(marker).text;
  call_.clear();
  separator_.reset();
  state_ = marker == Marker::kCallBegin ? State::kCall : State::kBetweenCalls;
}

bool OutputParser::complete_call() {
  if (format_.tools == ToolFormat::kDeepSeek) {
    if (!separator_) return false;
    const std::string_view all = call_;
    const std::optional<ToolCall> call = parse_deepseek_call(all.substr(0, *separator_), all.substr(*separator_));
    if (call) emit_call(*call);
    return call.has_value();
  }
  const std::optional<std::vector<ToolCall>> calls = parse_json_calls(call_);
  if (!calls) return false;
  for (const ToolCall& call : *calls) emit_call(call);
  return true;
}

void OutputParser::finish_call() {
  if (!complete_call()) return give_back();
  raw_.clear();
  state_ = format_.calls_begin.text.empty() ? State::kAnswer : State::kBetweenCalls;
}

void OutputParser::give_back() {
  ++malformed_calls_;
  state_ = State::kAnswer;
  answer_text(std::exchange(raw_, {}));
}

void OutputParser::emit(OutputEvent::Kind kind, std::string_view text) {
  if (text.empty()) return;
  if (!events_.empty() && events_.back().kind == kind && kind <= OutputEvent::Kind::kAnswer)
    events_.back().text += text;
  else
    events_.push_back({kind, std::string(text)});
}

void OutputParser::emit_call(const ToolCall& call) {
  ++calls_;
  space_.clear();
  events_.push_back({OutputEvent::Kind::kToolCallBegin, call.name});
  events_.push_back({OutputEvent::Kind::kToolCallArguments, call.arguments});
  events_.push_back({OutputEvent::Kind::kToolCallEnd});
}

}  // namespace fathom

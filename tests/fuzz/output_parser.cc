#include "text/output_parser.h"

#include <algorithm>
#include <array>
#include <random>

#include "base/error.h"
#include "tests/fuzz/support.h"
#include "tests/fuzz/targets.h"
#include "text/utf8.h"

namespace fathom::fuzz {
namespace {

/// A family's format, with its markers as tokens of the vocabulary (ids from 100 on) or as text.
struct Family {
  OutputFormat format;
  std::vector<std::string> tokens;

  Family(const char* source, bool as_tokens) {
    const std::string text = source;
    format = detect_output_format(ChatTemplate(text), [&](std::string_view marker) -> std::optional<TokenId> {
      const bool known = marker.starts_with("<｜tool") ? text.find("tool▁calls") != std::string::npos
                                                       : text.find(marker) != std::string::npos;
      if (!as_tokens || !known) return std::nullopt;
      if (std::find(tokens.begin(), tokens.end(), marker) == tokens.end()) tokens.emplace_back(marker);
      return id_of(marker);
    });
  }
  TokenId id_of(std::string_view marker) const {
    return 100 + static_cast<TokenId>(std::find(tokens.begin(), tokens.end(), marker) - tokens.begin());
  }
};

const std::vector<Family>& families() {
  static const std::vector<Family> all = [] {
    std::vector<Family> out;
    for (const char* source : {"<think></think><｜tool▁calls▁begin｜>", "<think></think><tool_call></tool_call>",
                               "ipython <|python_tag|>", "plain"})
      for (const bool as_tokens : {false, true}) out.emplace_back(source, as_tokens);
    return out;
  }();
  return all;
}

struct Piece {
  TokenId id;
  std::string_view bytes;
};

/// Markers that are tokens are pieces of their own; what is between them is cut after `longest` bytes at most, at
/// random. longest 0: not cut.
std::vector<Piece> cut(const Family& family, std::string_view output, size_t longest, uint32_t seed) {
  std::minstd_rand random(seed + 1);
  std::vector<Piece> pieces;
  size_t room = 0;
  for (size_t i = 0; i < output.size();) {
    const auto token = std::find_if(family.tokens.begin(), family.tokens.end(),
                                    [&](const std::string& t) { return output.substr(i).starts_with(t); });
    if (token != family.tokens.end()) {
      pieces.push_back({family.id_of(*token), output.substr(i, token->size())});
      i += token->size();
      room = 0;
      continue;
    }
    if (room == 0) {
      pieces.push_back({1, output.substr(i, 0)});
      room = longest ? 1 + random() % longest : output.size();
    }
    std::string_view& last = pieces.back().bytes;
    last = std::string_view(last.data(), last.size() + 1);
    --room, ++i;
  }
  return pieces;
}

struct Parsed {
  std::vector<OutputEvent> events;  // neighbours of one kind joined
  int calls = 0, malformed = 0;
  bool done = false;
  bool operator==(const Parsed&) const = default;
};

void take(Parsed& out, std::vector<OutputEvent> events) {
  using Kind = OutputEvent::Kind;
  for (OutputEvent& event : events) {
    check(valid_utf8_prefix(event.text) == event.text.size(), "an event with half a character");
    const bool joins =
        event.kind == Kind::kThinking || event.kind == Kind::kAnswer || event.kind == Kind::kToolCallArguments;
    if (joins && !out.events.empty() && out.events.back().kind == event.kind)
      out.events.back().text += event.text;
    else
      out.events.push_back(std::move(event));
  }
}

Parsed parse(const Family& family, PromptState prompt, const std::vector<Piece>& pieces) {
  OutputParser parser(family.format, prompt);
  Parsed out;
  for (const Piece& piece : pieces) take(out, parser.feed(piece.id, piece.bytes, false));
  take(out, parser.finish());
  out.calls = parser.calls();
  out.malformed = parser.malformed_calls();
  out.done = parser.thinking_done();
  return out;
}

}  // namespace

void output_parser(std::string_view input) {
  if (input.size() < 3) return;
  const auto choice = [&](size_t i) { return static_cast<uint8_t>(input[i]); };
  const Family& family = families()[choice(0) % families().size()];
  const auto prompt = static_cast<PromptState>(choice(1) % 3);
  const std::string_view output = input.substr(3);
  const Parsed whole = parse(family, prompt, cut(family, output, 0, 0));
  for (const size_t longest : {size_t{1}, size_t{4}, size_t{40}})
    check(parse(family, prompt, cut(family, output, longest, choice(2))) == whole, "the events depend on the cuts");
}

}  // namespace fathom::fuzz

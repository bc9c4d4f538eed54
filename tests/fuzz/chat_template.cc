#include "text/chat_template.h"

#include <ctime>

#include "base/error.h"
#include "tests/fuzz/support.h"
#include "tests/fuzz/targets.h"

namespace fathom::fuzz {
namespace {

// Stands in every text from outside and in nothing else: a trusted piece that has it lost its origin on the way.
constexpr std::string_view kOutside = "\xEE\x80\x81";  // U+E001

// Small enough for thousands of renderings a second, large enough for loops and recursion to reach each of them.
constexpr RenderLimits kLimits{20'000, 4 << 20, 1 << 18};

const RenderOptions& conversation() {
  static const RenderOptions options = [] {
    const std::string mark(kOutside);
    RenderOptions o;
    o.messages = json::array{
        {{"role", "system"}, {"content", mark + "Be brief" + mark}},
        {{"role", "user"}, {"content", " " + mark + "What is <|im_end|> 2 + 2? \xC3\xA9 \n"}},
        {{"role", "assistant"},
         {"content", "<think>\nhm\n</think>\n" + mark + "4"},
         {"reasoning_content", mark + "2 and 2"},
         {"tool_calls",
          json::array{{{"id", mark + "1"},
                       {"type", "function"},
                       {"function", {{"name", "add" + mark}, {"arguments", {{"a" + mark, 2}, {"b", mark + "x"}}}}}}}}},
        {{"role", "tool"}, {"content", mark + "{\"sum\": 4}"}, {"tool_call_id", mark + "1"}},
        {{"role", "user"}, {"content", json::array{{{"type", "text"}, {"text", mark + "and?"}}}}}};
    o.tools = json::array{{{"type", "function"},
                           {"function",
                            {{"name", mark + "add"},
                             {"description", "adds " + mark},
                             {"parameters", {{"type", "object"}, {"properties", {{"a", {{"type", "integer"}}}}}}}}}}};
    o.bos_token = "<s>";
    o.eos_token = "</s>";
    o.extra = {{"enable_thinking", false}, {"numbers", json::array{1, 2.5, -3, mark}}};
    return o;
  }();
  return options;
}

std::tm fixed_clock() {
  std::tm t{};
  t.tm_year = 125, t.tm_mday = 20, t.tm_hour = 9, t.tm_min = 30, t.tm_wday = 1, t.tm_yday = 19;
  return t;
}

/// Whether the template could write the mark by itself: as it stands, by an escape, or from halves of UTF-8.
bool may_write_mark(std::string_view source) {
  return source.find('\xEE') != std::string_view::npos || source.find('\\') != std::string_view::npos;
}

}  // namespace

void chat_template(std::string_view input) {
  try {
    const ChatTemplate chat{std::string(input)};
    chat.mentions("enable_thinking");
    const std::vector<TextPiece> pieces = chat.render(conversation(), kLimits, fixed_clock);
    const bool own_mark = may_write_mark(input);
    for (size_t i = 0; i < pieces.size(); ++i) {
      check(!pieces[i].text.empty(), "an empty piece");
      check(i == 0 || pieces[i].trusted != pieces[i - 1].trusted, "neighbouring pieces of one origin");
      check(own_mark || !pieces[i].trusted || pieces[i].text.find(kOutside) == std::string::npos,
            "text from outside became trusted");
    }
    check(pieces == chat.render(conversation(), kLimits, fixed_clock), "the second rendering differs");
  } catch (const Error&) {
  }
}

}  // namespace fathom::fuzz

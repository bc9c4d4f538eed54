// A run of text with its origin. text/chat_template.h renders a conversation into pieces, text/tokenizer.h encodes
// them: control tokens are matched only inside trusted pieces, so that a user's text never becomes a control token (law
// 4). Plain data.
#pragma once
#include <string>

namespace fathom {

struct TextPiece {
  std::string text;
  bool trusted = false;  ///< true: written by the template or by our own program; false: by a user, a file or a tool
  bool operator==(const TextPiece&) const = default;
};

}  // namespace fathom

// Cuts a template's source into tokens, with the white space rules of Jinja2 as chat templates use it: trim_blocks and
// lstrip_blocks on, "-" and "+" signs at tags, raw blocks, one final newline dropped, \r\n and \r read as \n.
// Called by the parser. Thread-safe: no state.
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace fathom::jinja {

enum class TokenType {
  kData,
  kVariableBegin,
  kVariableEnd,
  kBlockBegin,
  kBlockEnd,
  kName,
  kString,
  kInteger,
  kFloat,
  kOperator,
  kEnd
};

struct Token {
  TokenType type;
  std::string text;  ///< data, name, operator, digits without "_", or the string literal with its escapes resolved
  int line;
};

/// The last token is kEnd. Throws Error naming the line where the source is malformed, or if it is not UTF-8.
std::vector<Token> lex(std::string_view source);

}  // namespace fathom::jinja

// The parts that JSON is made of, as expressions of a grammar: json_grammar() and the schema compiler share them.
// White space between tokens is bounded, so that a model cannot go on in it for ever: at most two blanks, or one or two
// line ends with up to kMostIndent blanks or tabs.
#pragma once
#include <optional>
#include <string_view>

#include "base/json.h"
#include "sampling/grammar/grammar_builder.h"

namespace fathom {

class JsonRules {
 public:
  static constexpr uint32_t kMostIndent = 80;

  explicit JsonRules(GrammarBuilder& builder) : b_(builder) {}  // which outlives this

  ExprId space();    ///< optional white space
  ExprId string();   ///< any string
  ExprId number();   ///< any number
  ExprId integer();  ///< without fraction and exponent
  ExprId boolean();  ///< true or false
  ExprId null();
  ExprId value();   ///< any JSON
  ExprId array();   ///< any array
  ExprId object();  ///< any object
  /// A string, number, boolean or null in its shortest form; what is not ASCII in a string also as \uXXXX.
  ExprId scalar_text(const json::value& scalar);
  ExprId constant(const json::value& value);  ///< the same for arrays and objects, with white space between tokens

  /// One character of a string, written in any way: itself, \n, \u000a, a pair of \uD83D\uDE00 counting as one.
  ExprId string_char();
  ExprId escaped_char();  ///< those of them that begin with a backslash
  /// One character of a set, written as itself where JSON allows it, else in its shortest escape.
  ExprId one_of(const std::vector<CharRange>& ranges);
  ExprId quoted(ExprId inside);
  ExprId text(std::string_view literal) { return b_.literal(literal); }

  /// open, the items with separators of ',' between min and max of them, close; with white space.
  ExprId list(std::string_view open, ExprId item, uint32_t min, uint32_t max, std::string_view close);
  ExprId member(ExprId key, ExprId value);  ///< key : value

  static constexpr int kDeepest = 100;  ///< levels of a constant

 private:
  template <class Make>
  ExprId once(std::optional<RuleId>& rule, const char* name, Make make);
  ExprId constant(const json::value& value, int depth);
  ExprId code_escape(char32_t c);

  GrammarBuilder& b_;
  std::optional<RuleId> space_, string_, number_, integer_, value_, array_, object_;
};

}  // namespace fathom

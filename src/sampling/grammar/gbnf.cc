// parse_gbnf: the format of llama.cpp's grammars/README.md, read by recursive descent.
#include <charconv>
#include <map>

#include "base/error.h"
#include "base/seeded_hash.h"
#include "sampling/grammar/grammar_builder.h"
#include "sampling/grammar/text_cursor.h"
#include "text/utf8.h"

namespace fathom {
namespace {

constexpr size_t kMostText = size_t{1} << 20;  // bytes
constexpr int kDeepest = 200;                  // groups within groups
constexpr uint32_t kMostRepetitions = 100000;  // what they may come to is bounded by nfa.h

bool is_name_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

class GbnfParser : private TextCursor {
 public:
  explicit GbnfParser(std::string_view text) : TextCursor(text) {
    if (text.size() > kMostText)
      throw Error(cat("grammar: expected at most ", kMostText, " bytes, found ", text.size()));
    if (const size_t valid = valid_utf8_prefix(text); valid != text.size()) wrong_at(valid, "UTF-8", "invalid bytes");
  }

  Grammar parse() {
    skip_space(true);
    while (!at_end()) parse_rule();
    rule_.clear();  // what is wrong from here on is not the last rule's
    for (const auto& [name, at] : used_)
      if (!b_.defined(rules_.at(name))) wrong_at(at, "a rule that is defined", cat("undefined rule ", name));
    const auto root = rules_.find("root");
    if (root == rules_.end() || !b_.defined(root->second))
      throw Error("grammar: expected a rule named root to begin with, found none");
    return b_.build(root->second, GrammarBuilder::Unfinishable::kRefuse);
  }

 private:
  [[noreturn]] void wrong_at(size_t at, std::string_view expected, std::string_view found) const {
    size_t line = 1, column = 1;
    for (const char c : text_.substr(0, at)) c == '\n' ? (++line, column = 1) : ++column;
    throw Error(cat("grammar: line ", line, ", column ", column, rule_.empty() ? "" : cat(", rule ", rule_),
                    ": expected ", expected, ", found ", found));
  }
  [[noreturn]] void wrong(std::string_view expected) const {
    wrong_at(at_, expected, at_end() ? "the end" : peek() == '\n' ? "the end of the line" : cat("'", peek(), "'"));
  }

  void skip_space(bool over_lines) {
    for (; !at_end(); ++at_) {
      if (peek() == '#') {
        while (!at_end() && peek() != '\n' && peek() != '\r') ++at_;
        if (at_end()) return;
      }
      const bool line = peek() == '\n' || peek() == '\r';
      if (!(peek() == ' ' || peek() == '\t' || (over_lines && line))) return;
    }
  }

  std::string parse_name() {
    const size_t begin = at_;
    while (is_name_char(peek())) ++at_;
    if (at_ == begin) wrong("a rule name");
    return std::string(text_.substr(begin, at_ - begin));
  }

  RuleId rule_named(const std::string& name) {
    const auto found = rules_.find(name);
    if (found != rules_.end()) return found->second;
    return rules_[name] = b_.declare(name);
  }

  void parse_rule() {
    rule_.clear();
    const size_t begin = at_;
    rule_ = parse_name();
    const RuleId rule = rule_named(rule_);
    if (b_.defined(rule)) wrong_at(begin, "one definition of each rule", "a second one");
    skip_space(false);
    if (!take("::=")) wrong("::=");
    skip_space(true);
    b_.define(rule, parse_alternatives(0));
    if (!at_end() && peek() != '\n' && peek() != '\r') wrong("the end of the line, or more of the rule");
    skip_space(true);
  }

  ExprId parse_alternatives(int depth) {
    if (depth > kDeepest) wrong(cat("at most ", kDeepest, " groups within each other"));
    std::vector<ExprId> alternatives{parse_sequence(depth)};
    while (take("|")) {
      skip_space(true);
      alternatives.push_back(parse_sequence(depth));
    }
    return b_.choice(std::move(alternatives));
  }

  ExprId parse_sequence(int depth) {
    std::vector<ExprId> parts;
    while (std::optional<ExprId> symbol = parse_symbol(depth)) {
      skip_space(depth > 0);
      int stacked = 0;
      while (std::optional<std::pair<uint32_t, uint32_t>> times = parse_times(depth)) {
        if (++stacked > kDeepest) wrong(cat("at most ", kDeepest, " repetitions of one symbol"));
        symbol = b_.repeat(*symbol, times->first, times->second);
        skip_space(depth > 0);
      }
      parts.push_back(*symbol);
    }
    return b_.sequence(std::move(parts));
  }

  std::optional<ExprId> parse_symbol(int depth) {
    if (take("\"")) return parse_literal();
    if (take("[")) return parse_class();
    if (take(".")) return b_.chars(complement({}));
    if (take("(")) {
      skip_space(true);
      const ExprId group = parse_alternatives(depth + 1);
      if (!take(")")) wrong("')'");
      return group;
    }
    if (peek() == '<' || peek() == '!') wrong("bytes: literals that name a token are not supported");
    if (!is_name_char(peek())) return std::nullopt;
    const size_t begin = at_;
    const std::string name = parse_name();
    used_.try_emplace(name, begin);
    return b_.rule(rule_named(name));
  }

  ExprId parse_literal() {
    std::string literal;
    while (!take("\"")) {
      if (at_end() || peek() == '\n') wrong("'\"' at the end of the literal");
      append_utf8(literal, parse_char());
    }
    return b_.literal(literal);
  }

  ExprId parse_class() {
    const bool negated = take("^");
    std::vector<CharRange> ranges;
    while (!take("]")) {
      if (at_end() || peek() == '\n') wrong("']' at the end of the class");
      const size_t begin = at_;
      const char32_t lo = parse_char();
      char32_t hi = lo;
      if (peek() == '-' && peek(1) != ']') {
        ++at_;
        if (at_end()) wrong("the end of the range");
        hi = parse_char();
      }
      if (hi < lo) wrong_at(begin, "a range whose end is not before its begin", text_.substr(begin, at_ - begin));
      ranges.push_back({lo, hi});
    }
    return b_.chars(negated ? complement(std::move(ranges)) : std::move(ranges));
  }

  char32_t parse_char() {
    if (!take("\\")) {
      const Utf8Char c = decode_valid_utf8(text_.data() + at_);
      at_ += c.size;
      return c.code_point;
    }
    const char escape = peek();
    if (!at_end()) ++at_;
    switch (escape) {
      case 'n': return '\n';
      case 'r': return '\r';
      case 't': return '\t';
      case '\\':
      case '"':
      case '[':
      case ']': return static_cast<char32_t>(escape);
      case 'x': return parse_hex(2);
      case 'u': return parse_hex(4);
      case 'U': return parse_hex(8);
      default: --at_; wrong("one of n r t \\ \" [ ] x u U behind a backslash");
    }
  }

  char32_t parse_hex(size_t digits) {
    uint32_t value = 0;
    const std::string_view text = text_.substr(at_, digits);
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
    if (error != std::errc() || end != text.data() + digits) wrong(cat(digits, " hexadecimal digits"));
    if (value > 0x10FFFF || (value >= 0xD800 && value < 0xE000)) wrong("the code point of a character");
    at_ += digits;
    return value;
  }

  std::optional<std::pair<uint32_t, uint32_t>> parse_times(int depth) {
    constexpr uint32_t kUnlimited = GrammarBuilder::kUnlimited;
    if (take("*")) return std::pair{0u, kUnlimited};
    if (take("+")) return std::pair{1u, kUnlimited};
    if (take("?")) return std::pair{0u, 1u};
    const size_t begin = at_;
    if (!take("{")) return std::nullopt;
    skip_space(depth > 0);
    std::pair<uint32_t, uint32_t> times{0, kUnlimited};
    const bool lower = peek() != ',';
    if (lower) times.first = times.second = parse_count();
    skip_space(depth > 0);
    if (take(",")) {
      skip_space(depth > 0);
      times.second = peek() == '}' && lower ? kUnlimited : parse_count();
      skip_space(depth > 0);
    }
    if (!take("}")) wrong("'}'");
    if (times.first > times.second) wrong_at(begin, "{m,n} with m <= n", text_.substr(begin, at_ - begin));
    return times;
  }

  uint32_t parse_count() {
    uint32_t count = 0;
    const auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), count);
    if (error == std::errc::invalid_argument) wrong("a number");
    if (error != std::errc() || count > kMostRepetitions) wrong(cat("at most ", kMostRepetitions, " repetitions"));
    at_ = static_cast<size_t>(end - text_.data());
    return count;
  }

  std::string rule_;  // in work
  GrammarBuilder b_;
  NameMap<RuleId> rules_;
  std::map<std::string, size_t> used_;  // where first
};

}  // namespace

Grammar parse_gbnf(std::string_view text) { return GbnfParser(text).parse(); }

Grammar compile_choice(std::span<const std::string> choices) {
  if (choices.empty()) throw Error("choice: expected at least one, found none");
  GrammarBuilder b;
  std::vector<ExprId> literals;
  for (const std::string& choice : choices) {
    if (valid_utf8_prefix(choice) != choice.size())
      throw Error(cat("choice ", literals.size(), ": expected UTF-8, found invalid bytes"));
    literals.push_back(b.literal(choice));
  }
  const ExprId any = b.choice(std::move(literals));
  return b.build(b.add_rule("choice", any), GrammarBuilder::Unfinishable::kDrop);
}

}  // namespace fathom

#include "sampling/grammar/regex_parser.h"

#include <charconv>

#include "base/error.h"
#include "sampling/grammar/text_cursor.h"
#include "text/utf8.h"

namespace fathom {
namespace {

constexpr size_t kMostPattern = 65536;         // bytes
constexpr int kDeepest = 200;                  // groups within groups
constexpr uint32_t kMostRepetitions = 100000;  // what they may come to is bounded by nfa.h

using Ranges = std::vector<CharRange>;

const Ranges kDigits{{'0', '9'}};
const Ranges kWord{{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
const Ranges kSpace{{'\t', '\r'},     {' ', ' '},       {0xA0, 0xA0},     {0x1680, 0x1680}, {0x2000, 0x200A},
                    {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};
const Ranges kLineEnds{{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}};

// An alternative, and whether ^ and $ stand at its ends.
struct Branch {
  ExprId expr;
  bool begins, ends;
};

class RegexParser : private TextCursor {
 public:
  RegexParser(GrammarBuilder& b, std::string_view pattern, std::string_view what, FunctionRef<ExprId(Ranges)> one_of)
      : TextCursor(pattern), b_(b), what_(what), one_of_(one_of) {
    if (text_.size() > kMostPattern)
      throw Error(cat(what_, ": expected at most ", kMostPattern, " bytes, found ", text_.size()));
    if (valid_utf8_prefix(text_) != text_.size()) throw Error(cat(what_, ": expected UTF-8, found invalid bytes"));
  }

  ExprId parse(bool whole) {
    const std::vector<Branch> branches = parse_branches(0);
    if (!at_end()) wrong("the end", "')' without '('");
    const ExprId anything = whole ? 0 : b_.repeat(one_of_(complement({})), 0, GrammarBuilder::kUnlimited);
    std::vector<ExprId> exprs;
    for (const Branch& branch : branches) {
      std::vector<ExprId> parts;
      if (!whole && !branch.begins) parts.push_back(anything);
      parts.push_back(branch.expr);
      if (!whole && !branch.ends) parts.push_back(anything);
      exprs.push_back(b_.sequence(std::move(parts)));
    }
    return b_.choice(std::move(exprs));
  }

 private:
  [[noreturn]] void wrong(std::string_view expected, std::string_view found) const {
    throw Error(cat(what_, ": position ", at_, ": expected ", expected, ", found ", found));
  }
  [[noreturn]] void wrong(std::string_view expected) const {
    wrong(expected, at_end() ? "the end" : cat("'", peek(), "'"));
  }

  std::vector<Branch> parse_branches(int depth) {
    if (depth > kDeepest) wrong(cat("at most ", kDeepest, " groups within each other"), "more");
    std::vector<Branch> branches{parse_branch(depth)};
    while (take("|")) branches.push_back(parse_branch(depth));
    return branches;
  }

  Branch parse_branch(int depth) {
    Branch branch{0, false, false};
    std::vector<ExprId> parts;
    while (!at_end() && peek() != '|' && peek() != ')') {
      if (branch.ends && !take("$")) wrong("nothing behind $");
      if (at_end() || peek() == '|' || peek() == ')') break;
      if (take("^")) {
        if (!parts.empty()) wrong("^ at the beginning", "^ within the pattern");
        branch.begins = true;
      } else if (take("$")) {
        branch.ends = true;
      } else if (peek() == '(') {
        parse_group(depth, branch, parts);
      } else {
        parts.push_back(repeated(parse_atom()));
      }
    }
    branch.expr = b_.sequence(std::move(parts));
    return branch;
  }

  void parse_group(int depth, Branch& branch, std::vector<ExprId>& parts) {
    const size_t begin = at_;
    ++at_;
    if (take("?")) {
      if (peek() == '=' || peek() == '!' || (peek() == '<' && (peek(1) == '=' || peek(1) == '!')))
        wrong("a pattern without look-around", cat("(?", peek()));
      if (take("<") || take("P<")) {
        while (!at_end() && peek() != '>') ++at_;
        if (!take(">")) wrong("'>' behind the group's name");
      } else if (!take(":")) {
        wrong("a group (...), (?:...) or (?<name>...)", cat("(?", peek()));
      }
    }
    const std::vector<Branch> inner = parse_branches(depth + 1);
    if (!take(")")) wrong("')'");
    const bool begins = inner[0].begins, ends = inner[0].ends, many = is_quantifier();
    std::vector<ExprId> exprs;
    for (const Branch& b : inner) {
      if (b.begins != begins || b.ends != ends || ((b.begins || b.ends) && many) || (b.begins && !parts.empty())) {
        at_ = begin;
        wrong("^ and $ at the ends of the pattern", "an anchor within it");
      }
      exprs.push_back(b.expr);
    }
    branch.begins = branch.begins || begins;
    branch.ends = ends;
    parts.push_back(repeated(b_.choice(std::move(exprs))));
  }

  bool is_quantifier() const { return peek() == '*' || peek() == '+' || peek() == '?' || is_braces(); }
  // {m}, {m,} or {m,n}; other braces stand for themselves.
  bool is_braces() const {
    size_t i = 1;
    const auto digits = [&] {
      const size_t begin = i;
      while (peek(i) >= '0' && peek(i) <= '9') ++i;
      return i > begin;
    };
    if (peek() != '{' || !digits()) return false;
    if (peek(i) == ',') ++i, digits();
    return peek(i) == '}';
  }

  ExprId repeated(ExprId atom) {
    constexpr uint32_t kUnlimited = GrammarBuilder::kUnlimited;
    if (!is_quantifier()) return atom;
    uint32_t min = 0, max = kUnlimited;
    if (take("+")) {
      min = 1;
    } else if (take("?")) {
      max = 1;
    } else if (!take("*")) {
      take("{");
      min = max = parse_count();
      if (take(",")) max = peek() == '}' ? kUnlimited : parse_count();
      take("}");
      if (min > max) wrong("{m,n} with m <= n", cat("{", min, ",", max, "}"));
    }
    if (peek() == '+') wrong("a quantifier *, +, ? or {m,n}, perhaps with ?", "a possessive one");
    take("?");  // lazy: the same set of texts
    if (is_quantifier()) wrong("something to repeat");
    return b_.repeat(atom, min, max);
  }

  uint32_t parse_count() {
    uint32_t count = 0;
    const auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), count);
    if (error != std::errc() || count > kMostRepetitions) wrong(cat("at most ", kMostRepetitions, " repetitions"));
    at_ = static_cast<size_t>(end - text_.data());
    return count;
  }

  ExprId parse_atom() {
    if (is_quantifier()) wrong("something to repeat");
    if (take("[")) return one_of_(parse_class());
    if (take(".")) return one_of_(complement(kLineEnds));
    if (peek() != '\\') return one_of_(one(parse_plain()));
    const char next = peek(1);
    if (next == 'b' || next == 'B') wrong("a pattern without \\b and \\B", cat("\\", next));
    if ((next >= '1' && next <= '9') || next == 'k') wrong("a pattern without backreferences", cat("\\", next));
    return one_of_(parse_escape());
  }

  static Ranges one(char32_t c) { return {{c, c}}; }

  char32_t parse_plain() {
    const Utf8Char c = decode_valid_utf8(text_.data() + at_);
    at_ += c.size;
    return c.code_point;
  }

  Ranges parse_escape() {
    ++at_;
    if (at_end()) wrong("a character behind the backslash");
    const size_t begin = at_;
    switch (const char32_t c = parse_plain()) {
      case 'd': return kDigits;
      case 'D': return complement(kDigits);
      case 'w': return kWord;
      case 'W': return complement(kWord);
      case 's': return kSpace;
      case 'S': return complement(kSpace);
      case 'n': return one('\n');
      case 'r': return one('\r');
      case 't': return one('\t');
      case 'f': return one('\f');
      case 'v': return one('\v');
      case '0': return one(0);
      case 'x': return one(parse_hex(2));
      case 'u': return one(parse_hex(4));
      default:
        if (c < 0x80 && ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'))) {
          at_ = begin;
          wrong("an escape of \\d \\w \\s \\D \\W \\S \\n \\r \\t \\f \\v \\0 \\xHH \\uHHHH", cat("\\", peek()));
        }
        return one(c);
    }
  }

  char32_t parse_hex(size_t digits) {
    uint32_t value = 0;
    const std::string_view text = text_.substr(at_, digits);
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
    if (error != std::errc() || end != text.data() + digits) wrong(cat(digits, " hexadecimal digits"));
    if (value >= 0xD800 && value < 0xE000) wrong("a character", "a surrogate");
    at_ += digits;
    return value;
  }

  Ranges parse_class() {
    const bool negated = take("^");
    Ranges ranges;
    while (!take("]")) {
      if (at_end()) wrong("']'");
      const size_t begin = at_;
      Ranges from = class_member();
      if (peek() == '-' && peek(1) != ']' && peek(1) != '\0') {
        ++at_;
        const Ranges to = class_member();
        const bool chars = from.size() == 1 && to.size() == 1 && from[0].lo == from[0].hi && to[0].lo == to[0].hi;
        if (!chars || to[0].lo < from[0].lo) {
          const size_t end = std::exchange(at_, begin);
          wrong("a range of two characters in order", text_.substr(begin, end - begin));
        }
        from[0].hi = to[0].hi;
      }
      ranges.insert(ranges.end(), from.begin(), from.end());
    }
    return negated ? complement(std::move(ranges)) : normalised(std::move(ranges));
  }

  Ranges class_member() {
    if (at_end()) wrong("']'");
    if (peek() != '\\') return one(parse_plain());
    if (peek(1) != 'b') return parse_escape();
    at_ += 2;
    return one('\b');
  }

  GrammarBuilder& b_;
  std::string_view what_;
  FunctionRef<ExprId(Ranges)> one_of_;
};

}  // namespace

ExprId parse_regex(GrammarBuilder& builder, std::string_view pattern, bool whole, std::string_view what,
                   FunctionRef<ExprId(std::vector<CharRange>)> one_of) {
  return RegexParser(builder, pattern, what, one_of).parse(whole);
}

Grammar compile_regex(std::string_view pattern) {
  GrammarBuilder b;
  const ExprId expr =
      parse_regex(b, pattern, true, "regular expression", [&b](Ranges ranges) { return b.chars(std::move(ranges)); });
  return b.build(b.add_rule("regex", expr), GrammarBuilder::Unfinishable::kDrop);
}

}  // namespace fathom

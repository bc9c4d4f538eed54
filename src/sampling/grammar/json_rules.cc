#include "sampling/grammar/json_rules.h"

#include <algorithm>

#include "base/error.h"
#include "text/utf8.h"

namespace fathom {
namespace {

constexpr uint32_t kUnlimited = GrammarBuilder::kUnlimited;
constexpr std::string_view kShortEscaped = "\"\\\b\f\n\r\t", kShortNames = "\"\\bfnrt";

const std::vector<CharRange>& plain_chars() {  // those that a JSON string has as themselves
  static const std::vector<CharRange> chars = complement({{0, 0x1F}, {'"', '"'}, {'\\', '\\'}});
  return chars;
}

std::vector<CharRange> intersection(const std::vector<CharRange>& a, const std::vector<CharRange>& b) {
  std::vector<CharRange> out;
  for (const CharRange& x : a)
    for (const CharRange& y : b)
      if (std::max(x.lo, y.lo) <= std::min(x.hi, y.hi)) out.push_back({std::max(x.lo, y.lo), std::min(x.hi, y.hi)});
  return out;
}

}  // namespace

// A rule, made when it is first asked for. It is declared before it is made, since values contain values.
template <class Make>
ExprId JsonRules::once(std::optional<RuleId>& rule, const char* name, Make make) {
  if (!rule) {
    rule = b_.declare(name);
    const RuleId id = *rule;
    b_.define(id, make());
  }
  return b_.rule(*rule);
}

ExprId JsonRules::space() {
  return once(space_, "space", [&] {
    const ExprId blank = b_.chars({{' ', ' '}, {'\t', '\t'}});
    const ExprId line = b_.sequence({b_.optional(b_.literal("\r")), b_.literal("\n")});
    return b_.choice(
        {b_.repeat(b_.literal(" "), 0, 2), b_.sequence({b_.repeat(line, 1, 2), b_.repeat(blank, 0, kMostIndent)})});
  });
}

ExprId JsonRules::string_char() { return b_.choice({b_.chars(plain_chars()), escaped_char()}); }

ExprId JsonRules::escaped_char() {
  const std::vector<CharRange> hex{{'0', '9'}, {'A', 'F'}, {'a', 'f'}}, d{{'D', 'D'}, {'d', 'd'}};
  const ExprId any = b_.chars(hex);
  const ExprId not_surrogate =
      b_.choice({b_.sequence({b_.chars({{'0', '9'}, {'A', 'C'}, {'E', 'F'}, {'a', 'c'}, {'e', 'f'}}), any}),
                 b_.sequence({b_.chars(d), b_.chars({{'0', '7'}})})});
  const ExprId pair = b_.sequence({b_.chars(d), b_.chars({{'8', '9'}, {'A', 'B'}, {'a', 'b'}}), any, any,
                                   b_.literal("\\u"), b_.chars(d), b_.chars({{'C', 'F'}, {'c', 'f'}}), any, any});
  const ExprId code = b_.choice({b_.sequence({not_surrogate, any, any}), pair});
  std::vector<CharRange> names{{'/', '/'}};
  for (const char c : kShortNames) names.push_back({static_cast<char32_t>(c), static_cast<char32_t>(c)});
  const ExprId escape = b_.choice({b_.chars(names), b_.sequence({b_.literal("u"), code})});
  return b_.sequence({b_.literal("\\"), escape});
}

ExprId JsonRules::one_of(const std::vector<CharRange>& ranges) {
  std::vector<ExprId> ways;
  std::vector<CharRange> plain = intersection(ranges, plain_chars());
  if (!plain.empty()) ways.push_back(b_.chars(std::move(plain)));
  const auto has = [&](char32_t c) {
    return std::any_of(ranges.begin(), ranges.end(), [c](const CharRange& r) { return r.lo <= c && c <= r.hi; });
  };
  for (size_t i = 0; i < kShortEscaped.size(); ++i)
    if (has(static_cast<char32_t>(kShortEscaped[i]))) ways.push_back(b_.literal(cat("\\", kShortNames[i])));
  for (char32_t c = 0; c < 0x20; ++c) {
    if (!has(c) || kShortEscaped.find(static_cast<char>(c)) != std::string_view::npos) continue;
    ways.push_back(code_escape(c));
  }
  return b_.choice(std::move(ways));
}

ExprId JsonRules::quoted(ExprId inside) { return b_.sequence({b_.literal("\""), inside, b_.literal("\"")}); }

ExprId JsonRules::string() {
  return once(string_, "string", [&] { return quoted(b_.repeat(string_char(), 0, kUnlimited)); });
}

ExprId JsonRules::integer() {
  return once(integer_, "integer", [&] {
    const ExprId digits = b_.repeat(b_.chars({{'0', '9'}}), 0, kUnlimited);
    const ExprId whole = b_.choice({b_.literal("0"), b_.sequence({b_.chars({{'1', '9'}}), digits})});
    return b_.sequence({b_.optional(b_.literal("-")), whole});
  });
}

ExprId JsonRules::number() {
  return once(number_, "number", [&] {
    const ExprId digit = b_.chars({{'0', '9'}}), digits = b_.repeat(digit, 1, kUnlimited);
    const ExprId whole =
        b_.choice({b_.literal("0"), b_.sequence({b_.chars({{'1', '9'}}), b_.repeat(digit, 0, kUnlimited)})});
    const ExprId sign = b_.optional(b_.chars({{'+', '+'}, {'-', '-'}}));
    const ExprId fraction = b_.optional(b_.sequence({b_.literal("."), digits}));
    const ExprId exponent = b_.optional(b_.sequence({b_.chars({{'E', 'E'}, {'e', 'e'}}), sign, digits}));
    return b_.sequence({b_.optional(b_.literal("-")), whole, fraction, exponent});
  });
}

ExprId JsonRules::boolean() { return b_.choice({b_.literal("true"), b_.literal("false")}); }

ExprId JsonRules::null() { return b_.literal("null"); }

ExprId JsonRules::member(ExprId key, ExprId value) {
  return b_.sequence({key, space(), b_.literal(":"), space(), value});
}

ExprId JsonRules::list(std::string_view open, ExprId item, uint32_t min, uint32_t max, std::string_view close) {
  const ExprId comma = b_.sequence({space(), b_.literal(","), space()});
  const ExprId more = b_.repeat(b_.sequence({comma, item}), min == 0 ? 0 : min - 1,
                                max == kUnlimited ? kUnlimited
                                : max == 0        ? 0
                                                  : max - 1);
  const ExprId items = b_.sequence({item, more, space()});
  const ExprId inside = max == 0 ? b_.literal("") : min == 0 ? b_.optional(items) : items;
  return b_.sequence({b_.literal(open), space(), inside, b_.literal(close)});
}

ExprId JsonRules::array() {
  return once(array_, "array", [&] { return list("[", value(), 0, kUnlimited, "]"); });
}

ExprId JsonRules::object() {
  return once(object_, "object", [&] { return list("{", member(string(), value()), 0, kUnlimited, "}"); });
}

ExprId JsonRules::value() {
  return once(value_, "value", [&] { return b_.choice({object(), array(), string(), number(), boolean(), null()}); });
}

ExprId JsonRules::scalar_text(const json::value& scalar) {
  const std::string text = to_json(scalar);
  if (valid_utf8_prefix(text) != text.size())
    throw Error("JSON schema: expected UTF-8 in constants, found other bytes");
  std::vector<ExprId> parts;
  for (size_t at = 0; at < text.size();) {
    size_t end = at;
    while (end < text.size() && static_cast<uint8_t>(text[end]) < 0x80) ++end;
    if (end > at) parts.push_back(b_.literal(std::string_view(text).substr(at, end - at)));
    if (end == text.size()) break;
    const Utf8Char c = decode_valid_utf8(text.data() + end);
    parts.push_back(b_.choice({b_.literal(std::string_view(text).substr(end, c.size)), code_escape(c.code_point)}));
    at = end + c.size;
  }
  return b_.sequence(std::move(parts));
}

// \uXXXX, or two of them beyond U+FFFF.
ExprId JsonRules::code_escape(char32_t c) {
  if (c > 0xFFFF)
    return b_.sequence({code_escape(0xD800 + ((c - 0x10000) >> 10)), code_escape(0xDC00 + ((c - 0x10000) & 0x3FF))});
  std::vector<ExprId> parts{b_.literal("\\u")};
  for (int shift = 12; shift >= 0; shift -= 4) {
    const auto lower = static_cast<char32_t>("0123456789abcdef"[c >> shift & 15]);
    const char32_t upper = lower >= 'a' ? lower - 32 : lower;
    parts.push_back(b_.chars({{lower, lower}, {upper, upper}}));
  }
  return b_.sequence(std::move(parts));
}

ExprId JsonRules::constant(const json::value& value) { return constant(value, 0); }

ExprId JsonRules::constant(const json::value& value, int depth) {
  if (depth > kDeepest)
    throw Error(cat("JSON schema: expected constants of at most ", kDeepest, " levels, found more"));
  if (!value.is_array() && !value.is_object()) return scalar_text(value);
  std::vector<ExprId> parts{b_.literal(value.is_array() ? "[" : "{"), space()};
  const auto add = [&](ExprId item) {
    if (parts.size() > 2) parts.insert(parts.end(), {b_.literal(","), space()});
    parts.insert(parts.end(), {item, space()});
  };
  if (const json::array* array = value.if_array()) {
    for (const json::value& item : *array) add(constant(item, depth + 1));
  } else {
    for (const auto& [key, item] : value.get_object())
      add(member(scalar_text(json::value(key)), constant(item, depth + 1)));
  }
  parts.push_back(b_.literal(value.is_array() ? "]" : "}"));
  return b_.sequence(std::move(parts));
}

Grammar json_grammar() {
  GrammarBuilder b;
  JsonRules rules(b);
  const RuleId root = b.add_rule("json", b.sequence({rules.space(), rules.object()}));
  return b.build(root, GrammarBuilder::Unfinishable::kDrop);
}

}  // namespace fathom

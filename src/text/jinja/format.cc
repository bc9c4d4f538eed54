// Python's two ways of formatting: "%s: %5.2f" % values, and "{}: {name}".format(...). Widths are bounded.
#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/error.h"
#include "text/jinja/builtins.h"

namespace fathom::jinja {
namespace {

constexpr int kMaxWidth = 10'000;
constexpr int kMaxPrecision = 300;

struct Spec {
  std::string fill = " ";
  char align = 0;  // < > ^ =, 0: the type's own
  char sign = 0;   // + or space
  bool alternate = false, zero = false, comma = false;
  int width = 0, precision = -1;
  char type = 0;
};

int number_at(const std::string& text, size_t& at, int most) {
  int value = 0;
  while (at < text.size() && text[at] >= '0' && text[at] <= '9') {
    value = value * 10 + (text[at++] - '0');
    if (value > most)
      throw ResourceError(cat("format: expected a width or precision of at most ", most, ", found a larger one"));
  }
  return value;
}

std::string grouped(std::string digits) {
  const size_t point = std::min(digits.find('.'), digits.size());
  for (size_t i = point; i > 3; i -= 3) digits.insert(i - 3, ",");
  return digits;
}

// Digits of |value| and whether it is negative.
std::pair<std::string, bool> number_text(const Value& value, const Spec& spec) {
  const char type = spec.type;
  if (std::string_view("dixXob").find(type) != std::string_view::npos && type) {
    Int i;
    if (const double* d = value.if_double())
      i = static_cast<Int>(std::clamp(std::trunc(*d), -0x1p120, 0x1p120));
    else if (value.as_int())
      i = *value.as_int();
    else
      throw Error(cat("format: expected a number for %", type, ", found ", value.type_name()));
    const bool negative = i < 0;
    if (type == 'd' || type == 'i') {
      std::string digits = to_string(i).substr(negative ? 1 : 0);
      if (static_cast<int>(digits.size()) < spec.precision)
        digits.insert(0, static_cast<size_t>(spec.precision) - digits.size(), '0');
      return {digits, negative};
    }
    const int base = type == 'o' ? 8 : type == 'b' ? 2 : 16;
    auto rest = negative ? -static_cast<unsigned __int128>(i) : static_cast<unsigned __int128>(i);
    const std::string_view letters = type == 'X' ? "0123456789ABCDEF" : "0123456789abcdef";
    std::string digits;
    do {
      digits += letters[static_cast<size_t>(rest % static_cast<unsigned>(base))];
      rest /= static_cast<unsigned>(base);
    } while (rest != 0);
    if (spec.alternate) digits += std::string(1, type) + "0";
    std::reverse(digits.begin(), digits.end());
    return {digits, negative};
  }
  const std::optional<double> d = value.as_double();
  if (!d) throw Error(cat("format: expected a number for %", type, ", found ", value.type_name()));
  char buffer[800];
  const int precision = spec.precision < 0 ? 6 : spec.precision;
  const char format[] = {'%', '.', '*', type == '%' ? 'f' : type, 0};
  std::snprintf(buffer, sizeof buffer, format, precision, std::fabs(*d) * (type == '%' ? 100 : 1));
  return {std::string(buffer) + (type == '%' ? "%" : ""), std::signbit(*d) && !std::isnan(*d)};
}

void pad(Text& out, const Text& body, const std::string& sign, const Spec& spec, char own_align, bool trusted,
         Budget& budget) {
  const size_t length = code_point_count(body.bytes()) + sign.size();
  const size_t missing = static_cast<size_t>(spec.width) > length ? static_cast<size_t>(spec.width) - length : 0;
  budget.bytes(body.size() + missing * 4);
  const char align = spec.align ? spec.align : own_align;
  const size_t left = align == '>' || align == '=' ? missing : align == '^' ? missing / 2 : 0;
  const auto fill = [&](size_t n) {
    for (size_t i = 0; i < n; ++i) out.append(spec.fill, true);
  };
  if (align == '=') out.append(sign, trusted);
  fill(left);
  if (align != '=') out.append(sign, trusted);
  out.append(body);
  fill(missing - left);
}

void add_number(Text& out, const Value& value, const Spec& spec, Budget& budget) {
  auto [digits, negative] = number_text(value, spec);
  if (spec.comma) digits = grouped(std::move(digits));
  const std::string sign = negative ? "-" : spec.sign ? std::string(1, spec.sign) : "";
  pad(out, Text(digits, value.trusted()), sign, spec, '>', value.trusted(), budget);
}

void add_text(Text& out, Text text, const Spec& spec, char own_align, Budget& budget) {
  if (spec.precision >= 0)
    text = *slice(Value::text(std::move(text)), Value(), Value::integer(spec.precision), Value(), budget).if_text();
  pad(out, text, "", spec, own_align, true, budget);
}

class Percent {
 public:
  Percent(const Text& format, const Value& args, Budget& budget) : format_(format), args_(args), budget_(budget) {
    if (const List* list = args.if_list(); list && list->kind == ListKind::kTuple)
      values_ = list->items;
    else
      values_ = {args};
  }

  Text run() {
    const std::string& f = format_.bytes();
    for (size_t at = 0; at < f.size();) {
      const size_t percent = std::min(f.find('%', at), f.size());
      budget_.bytes(percent - at);
      out_.append(format_, at, percent);
      at = percent;
      if (at < f.size()) directive(f, ++at);
    }
    if (!used_map_ && next_ < values_.size() &&
        !(args_.if_dict() || (args_.if_list() && args_.if_list()->kind != ListKind::kTuple)))
      throw Error("format: expected a directive for every value, found fewer");
    return std::move(out_);
  }

 private:
  const Value& value(const std::optional<std::string>& name) {
    if (name) {
      const Value* found = args_.if_dict() ? args_.if_dict()->find(*name) : nullptr;
      if (!found) throw Error(cat("format: expected a value named ", *name, ", found none"));
      used_map_ = true;
      return *found;
    }
    if (next_ >= values_.size()) throw Error("format: expected a value for every directive, found fewer");
    return values_[next_++];
  }

  int width_or_star(const std::string& f, size_t& at, int most) {
    if (at >= f.size() || f[at] != '*') return number_at(f, at, most);
    ++at;
    const Int width = value(std::nullopt).as_int().value_or(0);
    if (width < 0 || width > most) throw ResourceError("format: expected a smaller width or precision");
    return static_cast<int>(width);
  }

  void directive(const std::string& f, size_t& at) {
    std::optional<std::string> name;
    if (at < f.size() && f[at] == '(') {
      const size_t end = f.find(')', at);
      if (end == std::string::npos) throw Error("format: expected ) behind the name of a value");
      name = f.substr(at + 1, end - at - 1);
      at = end + 1;
    }
    Spec spec;
    for (; at < f.size() && std::string_view("-+ 0#").find(f[at]) != std::string_view::npos; ++at) {
      if (f[at] == '-') spec.align = '<';
      if (f[at] == '+' || (f[at] == ' ' && !spec.sign)) spec.sign = f[at];
      if (f[at] == '0') spec.zero = true;
      if (f[at] == '#') spec.alternate = true;
    }
    spec.width = width_or_star(f, at, kMaxWidth);
    if (at < f.size() && f[at] == '.') spec.precision = width_or_star(f, ++at, kMaxPrecision);
    if (at >= f.size()) throw Error("format: expected a letter behind %, found the end");
    spec.type = f[at++];
    if (spec.type == '%') return out_.append("%", true);
    if (spec.type == 's') return add_text(out_, to_text(value(name), budget_), spec, '>', budget_);
    if (spec.type == 'r') return add_text(out_, repr(value(name), budget_), spec, '>', budget_);
    if (spec.type == 'c') return add_text(out_, character(value(name)), spec, '>', budget_);
    if (spec.type == 'u') spec.type = 'd';
    if (std::string_view("dixXoeEfFgG").find(spec.type) == std::string_view::npos)
      throw Error(cat("format: expected a known letter behind %, found ", spec.type));
    if (spec.zero && !spec.align) {
      spec.align = '=';
      spec.fill = "0";
    }
    add_number(out_, value(name), spec, budget_);
  }

  Text character(const Value& v) const {
    if (const Text* text = v.if_text(); text && code_point_count(text->bytes()) == 1) return *text;
    const Int code = v.as_int().value_or(-1);
    if (code < 0 || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000))
      throw Error("format: expected one character for %c");
    std::string bytes;
    append_utf8(bytes, static_cast<char32_t>(code));
    return Text(bytes, v.trusted());
  }

  const Text& format_;
  const Value& args_;
  Budget& budget_;
  std::vector<Value> values_;
  size_t next_ = 0;
  bool used_map_ = false;
  Text out_;
};

Spec brace_spec(const std::string& s) {
  Spec spec;
  size_t at = 0;
  const auto is_align = [&](size_t i) {
    return i < s.size() && std::string_view("<>^=").find(s[i]) != std::string_view::npos;
  };
  const size_t first = s.empty() ? 0 : code_point_at(s, 0).size;
  if (first && is_align(first)) {
    spec.fill = s.substr(0, first);
    spec.align = s[first];
    at = first + 1;
  } else if (is_align(0)) {
    spec.align = s[at++];
  }
  if (at < s.size() && (s[at] == '+' || s[at] == ' ' || s[at] == '-')) spec.sign = s[at] == '-' ? '\0' : s[at], ++at;
  if (at < s.size() && s[at] == '#') spec.alternate = true, ++at;
  if (at < s.size() && s[at] == '0') {
    ++at;
    if (!spec.align) spec.align = '=', spec.fill = "0";
  }
  spec.width = number_at(s, at, kMaxWidth);
  if (at < s.size() && s[at] == ',') spec.comma = true, ++at;
  if (at < s.size() && s[at] == '.') spec.precision = number_at(s, ++at, kMaxPrecision);
  if (at < s.size()) spec.type = s[at++];
  if (at < s.size() || (spec.type && std::string_view("sdxXobeEfFgG%").find(spec.type) == std::string_view::npos))
    throw Error(cat("format: expected a format such as >8 or .2f, found ", s));
  return spec;
}

void add_field(Interpreter& in, Text& out, Value value, const std::string& conversion, const std::string& format) {
  Spec spec = brace_spec(format);
  if (conversion == "r") value = Value::text(repr(value, in.budget()));
  if (conversion == "s") value = Value::text(in.str(value));
  const bool number = value.is_number() && !value.if_bool();
  if (number && spec.type != 's' && (spec.type || spec.precision >= 0 || spec.comma || spec.sign)) {
    if (!spec.type) spec.type = value.if_double() ? (spec.precision < 0 && spec.comma ? 'f' : 'g') : 'd';
    return add_number(out, value, spec, in.budget());
  }
  if (!value.if_text() && spec.type && spec.type != 's') return add_number(out, value, spec, in.budget());
  if (value.if_text() && spec.type && spec.type != 's')
    throw Error(cat("format: expected a number for ", spec.type, ", found str"));
  add_text(out, in.str(value), spec, number ? '>' : '<', in.budget());
}

}  // namespace

Text percent_format(const Text& format, const Value& args, Budget& budget) {
  return Percent(format, args, budget).run();
}

Text brace_format(Interpreter& in, const Text& format, Args& args) {
  const std::string& f = format.bytes();
  const std::vector<Value> positional = args.rest();
  Text out;
  size_t next = 0;
  for (size_t at = 0; at < f.size();) {
    const char c = f[at];
    if (c != '{' && c != '}') {
      out.append(format, at, at + 1);
      ++at;
      continue;
    }
    if (at + 1 < f.size() && f[at + 1] == c) {
      out.append(format, at, at + 1);
      at += 2;
      continue;
    }
    const size_t end = f.find('}', at);
    if (c == '}' || end == std::string::npos) throw Error("format: expected pairs of { and }, found one alone");
    const std::string field = f.substr(at + 1, end - at - 1);
    const size_t colon = std::min(field.find(':'), field.size()), mark = std::min(field.find('!'), colon);
    const std::string name = field.substr(0, mark);
    const std::string conversion = mark < colon ? field.substr(mark + 1, colon - mark - 1) : "";
    Value value;
    size_t index = 0;
    const auto [stop, ec] = std::from_chars(name.data(), name.data() + name.size(), index);
    const bool number = !name.empty() && ec == std::errc() && stop == name.data() + name.size();
    if (name.empty()) index = next++;
    if (name.empty() || number) {
      if (index >= positional.size()) throw Error("format: expected an argument for every field, found fewer");
      value = positional[index];
    } else {
      value = args.required(name);
    }
    add_field(in, out, value, conversion, colon < field.size() ? field.substr(colon + 1) : "");
    at = end + 1;
  }
  in.budget().bytes(out.size());
  return out;
}

}  // namespace fathom::jinja

// Filters of single values: strings, numbers, JSON. Those of sequences are in sequence_filters.cc.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <unordered_map>

#include "base/error.h"
#include "text/jinja/builtins.h"

namespace fathom::jinja {
namespace {

template <Case kHow>
Value cased(Interpreter& in, const Value& value, Args&) {
  return Value::text(change_case(in.str(value), kHow, in.budget()));
}

// Jinja's own title: words begin behind white space and opening brackets, not behind apostrophes.
Value title(Interpreter& in, const Value& value, Args&) {
  const Text text = change_case(in.str(value), Case::kLower, in.budget());
  Text out;
  bool begins = true;
  for (size_t i = 0; i < text.size();) {
    const CodePoint c = code_point_at(text.bytes(), i);
    const Text one = text.slice(i, i + c.size);
    out.append(begins ? change_case(one, Case::kUpper, in.budget()) : one);
    begins =
        is_space(c.value) || c.value == '-' || c.value == '(' || c.value == '{' || c.value == '[' || c.value == '<';
    i += c.size;
  }
  return Value::text(std::move(out));
}

Value trim(Interpreter& in, const Value& value, Args& args) {
  const Value chars = args.next_or("chars", Value::none());
  if (!chars.is_none() && !chars.if_text()) throw Error(cat("trim: expected a string, found ", chars.type_name()));
  return Value::text(strip(in.str(value), chars.if_text(), true, true));
}

Value replace_filter(Interpreter& in, const Value& value, Args& args) {
  const Text from = in.str(args.required("old")), to = in.str(args.required("new"));
  return Value::text(replace(in.str(value), from, to, args.next_int("count", -1), in.budget()));
}

Value default_filter(Interpreter&, const Value& value, Args& args) {
  const Value fallback = args.next_or("default_value", Value::text(""));
  const bool if_false = args.next_bool("boolean", false);
  return value.is_undefined() || (if_false && !value.truthy()) ? fallback : value;
}

Value string_filter(Interpreter& in, const Value& value, Args&) { return Value::text(in.str(value)); }
Value same(Interpreter&, const Value& value, Args&) { return value; }

Value escape(Interpreter& in, const Value& value, Args&) {
  const Text text = in.str(value);
  in.budget().bytes(text.size() * 5);
  Text out;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text.bytes()[i];
    const std::string_view entity = c == '&'    ? "&amp;"
                                    : c == '<'  ? "&lt;"
                                    : c == '>'  ? "&gt;"
                                    : c == '"'  ? "&#34;"
                                    : c == '\'' ? "&#39;"
                                                : "";
    if (entity.empty())
      out.append(text, i, i + 1);
    else
      out.append(entity, text.trusted_at(i));
  }
  return Value::text(std::move(out));
}

std::optional<double> parse_float(const std::string& text) {
  const std::string_view all = text;
  const size_t begin = skip_space(all, 0), end = skip_space_back(all, all.size());
  if (begin >= end) return std::nullopt;
  std::string body(all.substr(begin, end - begin));
  std::erase(body, '_');
  const char* first = body.data() + (body[0] == '+' ? 1 : 0);
  double value = 0;
  const auto [stop, ec] = std::from_chars(first, body.data() + body.size(), value);
  if (ec != std::errc() || stop != body.data() + body.size()) return std::nullopt;
  return value;
}

std::optional<Int> to_int(double x) {
  if (!(std::fabs(x) < 0x1p120)) return std::nullopt;
  return static_cast<Int>(std::trunc(x));
}

Value int_filter(Interpreter& in, const Value& value, Args& args) {
  const Value fallback = args.next_or("default", Value::integer(0));
  const Int base = args.next_int("base", 10);
  if (base != 0 && (base < 2 || base > 36)) throw Error("int: expected a base between 2 and 36");
  if (const std::optional<Int> i = value.as_int()) return Value::integer(*i, value.trusted());
  if (const double* d = value.if_double()) {
    const std::optional<Int> i = to_int(*d);
    return i ? Value::integer(*i, value.trusted()) : fallback;
  }
  if (value.is_undefined()) throw Error(value.undefined_message());
  if (!value.if_text()) return fallback;
  const bool trusted = value.if_text()->all_trusted();
  std::string body = strip(*value.if_text(), nullptr, true, true).bytes();
  std::erase(body, '_');
  const size_t sign = !body.empty() && (body[0] == '-' || body[0] == '+') ? 1 : 0;
  size_t digits = sign;
  for (const auto& [prefix, of] : {std::pair{'x', 16}, {'o', 8}, {'b', 2}})
    if (base == of && body.size() > sign + 1 && body[sign] == '0' && (body[sign + 1] | 0x20) == prefix)
      digits = sign + 2;
  int64_t number = 0;
  const char* end = body.data() + body.size();
  const auto r = std::from_chars(body.data() + digits, end, number, base == 0 ? 10 : static_cast<int>(base));
  if (r.ec == std::errc() && r.ptr == end && digits < body.size() && body[digits] != '-')
    return Value::integer(body[0] == '-' ? -Int{number} : Int{number}, trusted);
  if (const std::optional<double> d = parse_float(in.str(value).bytes()))
    if (const std::optional<Int> i = to_int(*d)) return Value::integer(*i, trusted);
  return fallback;
}

Value float_filter(Interpreter&, const Value& value, Args& args) {
  const Value fallback = args.next_or("default", Value::number(0));
  if (const std::optional<double> d = value.as_double()) return Value::number(*d, value.trusted());
  if (const Text* text = value.if_text())
    if (const std::optional<double> d = parse_float(text->bytes())) return Value::number(*d, text->all_trusted());
  return fallback;
}

double required_number(std::string_view filter, const Value& value) {
  const std::optional<double> d = value.as_double();
  if (value.is_undefined()) throw Error(value.undefined_message());
  if (!d) throw Error(cat(filter, ": expected a number, found ", value.type_name()));
  return *d;
}

Value abs_filter(Interpreter&, const Value& value, Args&) {
  const double d = required_number("abs", value);
  if (value.if_double()) return Value::number(std::fabs(d), value.trusted());
  return *value.as_int() < 0 ? negated(value) : Value::integer(*value.as_int(), value.trusted());
}

Value round_filter(Interpreter&, const Value& value, Args& args) {
  const Int precision = args.next_int("precision", 0);
  const Text method = args.next_text("method", "common");
  const double d = required_number("round", value);
  if (precision < -300 || precision > 300) throw Error("round: expected a precision between -300 and 300");
  const double scale = std::pow(10.0, static_cast<double>(precision));
  if (method.bytes() == "ceil") return Value::number(std::ceil(d * scale) / scale, value.trusted());
  if (method.bytes() == "floor") return Value::number(std::floor(d * scale) / scale, value.trusted());
  if (method.bytes() != "common") throw Error("round: expected the method common, ceil or floor");
  if (!value.if_double() && precision >= 0) return Value::integer(*value.as_int(), value.trusted());
  if (precision < 0) {
    const double rounded = std::nearbyint(d * scale) / scale;
    return value.if_double() ? Value::number(rounded, value.trusted())
                             : Value::integer(static_cast<Int>(rounded), value.trusted());
  }
  char buffer[720];  // printf rounds the exact value, as Python does
  std::snprintf(buffer, sizeof buffer, "%.*f", static_cast<int>(precision), d);
  return Value::number(std::strtod(buffer, nullptr), value.trusted());
}

Value indent(Interpreter& in, const Value& value, Args& args) {
  const Value width = args.next_or("width", Value::integer(4));
  const bool first = args.next_bool("first", false), blank = args.next_bool("blank", false);
  const Int spaces = width.as_int().value_or(0);
  if (spaces > 10'000) throw ResourceError("indent: expected at most 10000 spaces");
  const Text indention =
      width.if_text() ? *width.if_text() : Text(std::string(static_cast<size_t>(std::max<Int>(spaces, 0)), ' '), true);
  const Text text = in.str(value);
  Text out;
  if (first) out.append(indention);
  for (size_t begin = 0;;) {
    const size_t end = std::min(text.bytes().find('\n', begin), text.size());
    if (begin > 0 && (blank || end > begin)) {
      in.budget().bytes(indention.size());
      out.append(indention);
    }
    const size_t next = end < text.size() ? end + 1 : end;
    out.append(text, begin, next);
    if (end == text.size()) return Value::text(std::move(out));
    begin = next;
    if (begin == text.size()) {  // the text ends in a newline: one empty line more
      if (blank) out.append(indention);
      return Value::text(std::move(out));
    }
  }
}

Value tojson(Interpreter& in, const Value& value, Args& args) {
  JsonOptions options;
  options.ensure_ascii = args.next_bool("ensure_ascii", false);
  const Value indent_value = args.next_or("indent", Value::none());
  const Value separators = args.next_or("separators", Value::none());
  options.sort_keys = args.next_bool("sort_keys", false);
  if (!indent_value.is_none()) {
    const Int n = indent_value.as_int().value_or(-1);
    if (n < 0 || n > 1000) throw Error("tojson: expected an indent between 0 and 1000");
    options.indent = static_cast<int>(n);
    options.item_separator.pop_back();  // no blanks at the ends of lines
  }
  if (const List* pair = separators.if_list(); pair && pair->items.size() == 2) {
    options.item_separator = in.str(pair->items[0]).bytes();
    options.key_separator = in.str(pair->items[1]).bytes();
  }
  return Value::text(dump_json(value, options, in.budget()));
}

Value from_json(Interpreter& in, const Value& value, Args&) {
  if (!value.if_text()) throw Error(cat("from_json: expected a string, found ", value.type_name()));
  in.budget().bytes(value.if_text()->size() * 2);
  return Value::from_json(parse_json(value.if_text()->bytes(), "from_json"), in.budget());
}

Value format_filter(Interpreter& in, const Value& value, Args& args) {
  std::vector<Value> positional = args.rest();
  Dict named;
  for (const auto& [name, item] : args.named) {
    args.next(name);
    named.set(Value::text(name), item);
  }
  if (!positional.empty() && !named.entries().empty())
    throw Error("format: expected positional or named arguments, found both");
  const Value values = named.entries().empty() ? Value::list({.items = std::move(positional), .kind = ListKind::kTuple})
                                               : Value::dict(std::move(named));
  return Value::text(percent_format(in.str(value), values, in.budget()));
}

Value center(Interpreter& in, const Value& value, Args& args) {
  Args inner;
  inner.positional.push_back(args.next_or("width", Value::integer(80)));
  return call_string_method(in, in.str(value), "center", inner);
}

Value wordcount(Interpreter& in, const Value& value, Args&) {
  Int words = 0;
  bool inside = false;
  const Text text = in.str(value);
  for (const char c : text.bytes()) {
    const bool word = (c & 0x80) || std::isalnum(static_cast<unsigned char>(c)) || c == '_';
    words += word && !inside;
    inside = word;
  }
  return Value::integer(words);
}

Value truncate(Interpreter& in, const Value& value, Args& args) {
  const Int length = args.next_int("length", 255);
  const bool kill_words = args.next_bool("killwords", false);
  const Text end = args.next_text("end", "...");
  const Int leeway = args.next_int("leeway", 5);
  const Value text = Value::text(in.str(value));
  const Int keep = length - static_cast<Int>(code_point_count(end.bytes()));
  if (keep < 0 || leeway < 0) throw Error("truncate: expected a length at least that of the end mark");
  if (static_cast<Int>(code_point_count(text.if_text()->bytes())) <= length + leeway) return text;
  Text out = *slice(text, Value(), Value::integer(keep), Value(), in.budget()).if_text();
  if (const size_t space = out.bytes().rfind(' '); !kill_words && space != std::string::npos) out = out.slice(0, space);
  out.append(end);
  return Value::text(std::move(out));
}

Value urlencode(Interpreter& in, const Value& value, Args&) {
  const Text text = in.str(value);
  in.budget().bytes(text.size() * 3);
  Text out;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text.bytes()[i]);
    static constexpr char kHex[] = "0123456789ABCDEF";
    const char escaped[] = {'%', kHex[c >> 4], kHex[c & 15]};
    if ((c < 0x80 && std::isalnum(c)) || std::string_view("_.-~/").find(static_cast<char>(c)) != std::string_view::npos)
      out.append(text, i, i + 1);
    else
      out.append(std::string_view(escaped, 3), text.trusted_at(i));
  }
  return Value::text(std::move(out));
}

}  // namespace

Filter find_filter(std::string_view name) {
  static const std::unordered_map<std::string_view, Filter> kFilters = {
      {"upper", cased<Case::kUpper>},
      {"lower", cased<Case::kLower>},
      {"capitalize", cased<Case::kCapitalize>},
      {"title", title},
      {"trim", trim},
      {"replace", replace_filter},
      {"default", default_filter},
      {"d", default_filter},
      {"string", string_filter},
      {"safe", same},
      {"escape", escape},
      {"e", escape},
      {"forceescape", escape},
      {"int", int_filter},
      {"float", float_filter},
      {"abs", abs_filter},
      {"round", round_filter},
      {"indent", indent},
      {"tojson", tojson},
      {"from_json", from_json},
      {"fromjson", from_json},
      {"format", format_filter},
      {"center", center},
      {"wordcount", wordcount},
      {"truncate", truncate},
      {"urlencode", urlencode},
      {"pprint", [](Interpreter& in, const Value& value, Args&) { return Value::text(repr(value, in.budget())); }}};
  const auto it = kFilters.find(name);
  return it == kFilters.end() ? nullptr : it->second;
}

}  // namespace fathom::jinja

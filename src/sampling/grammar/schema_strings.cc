// Strings of a JSON schema: lengths, patterns and formats.
#include "base/error.h"
#include "sampling/grammar/regex_parser.h"
#include "sampling/grammar/schema_compiler.h"

namespace fathom {
namespace {

constexpr uint32_t kMostLength = 100000;

// The regular expression of a format, matched against the whole string; "" for those that are not checked, which JSON
// schema allows. date and date-time know the lengths of the months and the leap years; seconds end at 59.
// Sources: RFC 3339, 1123, 3986, 4291, 4122, 5321 (the usual form of an address: no quotes, no comments).
std::string format_regex(std::string_view format) {
  const std::string leap_year = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)";
  const std::string date =
      "(?:[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|"
      "02-(?:0[1-9]|1[0-9]|2[0-8]))|" +
      leap_year + "-02-29)";
  const std::string hour_minute = "(?:[01][0-9]|2[0-3]):[0-5][0-9]";
  const std::string time = hour_minute + ":[0-5][0-9](?:\\.[0-9]{1,9})?(?:Z|[+-]" + hour_minute + ")";
  const std::string label = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?", host = label + "(?:\\." + label + "){0,8}";
  const std::string octet = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])", ipv4 = octet + "(?:\\." + octet + "){3}";
  const std::string atom = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+";
  if (format == "date") return date;
  if (format == "time") return time;
  if (format == "date-time") return date + "T" + time;
  if (format == "email") return atom + "(?:\\." + atom + ")*@" + host;
  if (format == "hostname") return host;
  if (format == "ipv4") return ipv4;
  if (format == "uuid") return "[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}";
  if (format == "uri") return "[A-Za-z][A-Za-z0-9+.-]*:(?:[A-Za-z0-9._~:/?#@!$&'()*+,;=\\[\\]-]|%[0-9A-Fa-f]{2})+";
  if (format != "ipv6") return "";
  // Eight groups, the last two perhaps as IPv4; "::" stands for the groups that lack: n before it, at most 7 - n
  // behind.
  const std::string group = "[0-9A-Fa-f]{1,4}", last = "(?:" + group + ":" + group + "|" + ipv4 + ")";
  std::string ipv6 = "(?:" + group + ":){6}" + last;
  for (int n = 0; n <= 7; ++n) {
    const std::string front = n == 0 ? "" : group + cat("(?::", group, "){", n - 1, "}");
    std::string back = "";
    if (n <= 6) back = "|" + group + cat("(?::", group, "){0,", 6 - n, "}");
    if (n <= 5) back += "|" + cat("(?:", group, ":){0,", 5 - n, "}") + ipv4;
    ipv6 += cat("|", front, "::(?:", back, ")");
  }
  return ipv6;
}

}  // namespace

// One character of a string, as JsonRules::string_char, for strings that are counted: what is not a single byte is a
// rule, so that each place in the string is one state.
ExprId SchemaCompiler::counted_char() {
  if (!other_char_)
    other_char_ = b_.add_rule("character", b_.choice({b_.chars({{0x80, 0x10FFFF}}), json_.escaped_char()}));
  return b_.choice({json_.one_of({{' ', '!'}, {'#', '['}, {']', 0x7F}}), b_.rule(*other_char_)});
}

ExprId SchemaCompiler::string(const json::object& o, const std::string& where) {
  const uint32_t min = count_of(o, "minLength", where).value_or(0);
  const std::optional<uint32_t> max = count_of(o, "maxLength", where);
  const json::value *pattern = o.if_contains("pattern"), *format = o.if_contains("format");
  const bool counted = min > 0 || max;
  for (const char* keyword : {"pattern", "format"}) {
    const json::value* value = o.if_contains(keyword);
    if (value && !value->is_string())
      wrong_schema(pointer_to(where, keyword), "a string", to_json(*value).substr(0, 100));
  }
  const std::string known = format ? format_regex(std::string_view(format->get_string())) : "";
  if (!known.empty() + (pattern != nullptr) + counted > 1)
    wrong_schema(where, "one of pattern, format and lengths", "several of them");
  const auto one_of = [this](const std::vector<CharRange>& ranges) { return json_.one_of(ranges); };
  if (!known.empty()) return json_.quoted(parse_regex(b_, known, true, "format", one_of));
  if (pattern) {
    const std::string what = cat("JSON schema: ", pointer_to(where, "pattern"));
    return json_.quoted(parse_regex(b_, std::string_view(pattern->get_string()), false, what, one_of));
  }
  if (!counted) return json_.string();
  if (max && min > *max) return b_.choice({});
  if (min > kMostLength || max.value_or(0) > kMostLength)
    wrong_schema(where, cat("minLength and maxLength of at most ", kMostLength), "more");
  const ExprId one = counted_char();
  if (max) return json_.quoted(b_.repeat(one, min, *max));
  return json_.quoted(
      b_.sequence({b_.repeat(one, min, min), b_.repeat(json_.string_char(), 0, GrammarBuilder::kUnlimited)}));
}

}  // namespace fathom

// Python's methods of str. Positions count code points.
#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <functional>
#include <unordered_map>

#include "base/error.h"
#include "text/jinja/builtins.h"

namespace fathom::jinja {
namespace {

Value list_of(std::vector<Text> parts, Budget& budget, ListKind kind = ListKind::kList) {
  List out{.kind = kind};
  budget.bytes(parts.size() * (sizeof(Value) + sizeof(Text)));
  for (Text& part : parts) out.items.push_back(Value::text(std::move(part)));
  return Value::list(std::move(out));
}

std::vector<Text> split_on_space(const Text& text, Int max, bool from_right) {
  const std::string& bytes = text.bytes();
  std::vector<Text> out;
  size_t begin = skip_space(bytes, 0), end = skip_space_back(bytes, bytes.size());
  while (begin < end) {
    const bool last = max >= 0 && static_cast<Int>(out.size()) == max;
    // Move from the side that is split first to the next white space.
    size_t at = from_right ? end : begin;
    while (!last && (from_right ? at > begin : at < end)) {
      const size_t next = from_right ? code_point_before(bytes, at) : at + code_point_at(bytes, at).size;
      if (is_space(code_point_at(bytes, from_right ? next : at).value)) break;
      at = next;
    }
    if (last) {
      out.push_back(text.slice(begin, end));
      break;
    }
    out.push_back(from_right ? text.slice(at, end) : text.slice(begin, at));
    if (from_right)
      end = skip_space_back(bytes, at);
    else
      begin = skip_space(bytes, at);
  }
  if (from_right) std::reverse(out.begin(), out.end());
  return out;
}

std::vector<Text> split_on(const Text& text, const std::string& separator, Int max, bool from_right) {
  std::vector<Text> out;
  const std::string& bytes = text.bytes();
  size_t begin = 0, end = bytes.size();
  while (max < 0 || static_cast<Int>(out.size()) < max) {
    if (!from_right) {
      const size_t hit = bytes.find(separator, begin);
      if (hit == std::string::npos) break;
      out.push_back(text.slice(begin, hit));
      begin = hit + separator.size();
    } else {
      if (end < separator.size()) break;
      const size_t hit = bytes.rfind(separator, end - separator.size());
      if (hit == std::string::npos) break;
      out.push_back(text.slice(hit + separator.size(), end));
      end = hit;
    }
  }
  out.push_back(text.slice(begin, end));
  if (from_right) std::reverse(out.begin(), out.end());
  return out;
}

Value split(Interpreter& in, const Text& self, Args& args, bool from_right) {
  const Value separator = args.next_or("sep", Value::none());
  const Int max = args.next_int("maxsplit", -1);
  args.done();
  in.budget().bytes(self.size());
  in.budget().step(self.size() / 8);
  if (separator.is_none()) return list_of(split_on_space(self, max, from_right), in.budget());
  if (!separator.if_text() || separator.if_text()->empty())
    throw Error("split: expected a separator that is not empty");
  return list_of(split_on(self, separator.if_text()->bytes(), max, from_right), in.budget());
}

Value split_lines(Interpreter& in, const Text& self, Args& args) {
  const bool keep = args.next_bool("keepends", false);
  args.done();
  in.budget().bytes(self.size());
  const std::string& bytes = self.bytes();
  std::vector<Text> out;
  size_t begin = 0;
  for (size_t i = 0; i < bytes.size();) {
    const CodePoint c = code_point_at(bytes, i);
    const size_t at = i;
    i += c.size;
    const bool ends = (c.value >= 10 && c.value <= 13) || (c.value >= 0x1C && c.value <= 0x1E) || c.value == 0x85 ||
                      c.value == 0x2028 || c.value == 0x2029;
    if (!ends) continue;
    if (c.value == '\r' && i < bytes.size() && bytes[i] == '\n') ++i;
    out.push_back(self.slice(begin, keep ? i : at));
    begin = i;
  }
  if (begin < bytes.size()) out.push_back(self.slice(begin, bytes.size()));
  return list_of(std::move(out), in.budget());
}

Value partition(Interpreter& in, const Text& self, Args& args, bool from_right) {
  const Text separator = args.next_text("sep", "");
  args.done();
  if (separator.empty()) throw Error("partition: expected a separator that is not empty");
  const size_t hit = from_right ? self.bytes().rfind(separator.bytes()) : self.bytes().find(separator.bytes());
  in.budget().bytes(self.size());
  if (hit == std::string::npos)
    return list_of(from_right ? std::vector<Text>{Text(), Text(), self} : std::vector<Text>{self, Text(), Text()},
                   in.budget(), ListKind::kTuple);
  const size_t after = hit + separator.size();
  return list_of({self.slice(0, hit), self.slice(hit, after), self.slice(after, self.size())}, in.budget(),
                 ListKind::kTuple);
}

// The part of self that optional start and end (code points) leave, and its byte offset.
std::pair<std::string_view, size_t> window(const Text& self, Args& args) {
  const Int length = static_cast<Int>(code_point_count(self.bytes()));
  const auto clamped = [&](Int i) { return std::clamp<Int>(i < 0 ? i + length : i, 0, length); };
  const Int start = clamped(args.next_int("start", 0)), end = clamped(args.next_int("end", length));
  size_t begin_byte = 0;
  for (Int i = 0; i < start; ++i) begin_byte += code_point_at(self.bytes(), begin_byte).size;
  size_t end_byte = begin_byte;
  for (Int i = start; i < end; ++i) end_byte += code_point_at(self.bytes(), end_byte).size;
  return {std::string_view(self.bytes()).substr(begin_byte, end_byte - begin_byte), begin_byte};
}

Value has_affix(const Text& self, Args& args, bool at_end) {
  const Value affix = args.required("affix");
  const std::string_view text = window(self, args).first;
  args.done();
  const auto matches = [&](const Value& x) {
    if (!x.if_text()) throw Error(cat("startswith, endswith: expected a string, found ", x.type_name()));
    return at_end ? text.ends_with(x.if_text()->bytes()) : text.starts_with(x.if_text()->bytes());
  };
  const List* several = affix.if_list();
  if (!several || several->kind != ListKind::kTuple) return Value::boolean(matches(affix));
  return Value::boolean(std::any_of(several->items.begin(), several->items.end(), matches));
}

Value find(Interpreter& in, const Text& self, const std::string& name, Args& args) {
  const Text wanted = args.next_text("sub", "");
  const auto [text, offset] = window(self, args);
  args.done();
  in.budget().step(self.size() / 8);
  if (name == "count") {
    if (wanted.empty()) return Value::integer(static_cast<Int>(code_point_count(text)) + 1);
    Int count = 0;
    for (size_t at = 0; (at = text.find(wanted.bytes(), at)) != std::string_view::npos; at += wanted.size()) ++count;
    return Value::integer(count);
  }
  const size_t hit = name[0] == 'r' ? text.rfind(wanted.bytes()) : text.find(wanted.bytes());
  if (hit != std::string_view::npos)
    return Value::integer(static_cast<Int>(code_point_count(std::string_view(self.bytes()).substr(0, offset + hit))));
  if (name.ends_with("index")) throw Error(cat(name, ": expected a substring that occurs, found none"));
  return Value::integer(-1);
}

Value trim_affix(const Text& self, const std::string& name, Args& args) {
  const Text affix = args.next_text("affix", "");
  args.done();
  const bool prefix = name == "removeprefix";
  if (affix.empty() || !(prefix ? self.bytes().starts_with(affix.bytes()) : self.bytes().ends_with(affix.bytes())))
    return Value::text(self);
  return Value::text(prefix ? self.slice(affix.size(), self.size()) : self.slice(0, self.size() - affix.size()));
}

Value justify(Interpreter& in, const Text& self, const std::string& name, Args& args) {
  const Int width = args.next_int("width", 0);
  const Text fill = name == "zfill" ? Text("0", true) : args.next_text("fillchar", " ");
  args.done();
  if (code_point_count(fill.bytes()) != 1) throw Error(cat(name, ": expected one character to fill with"));
  const Int length = static_cast<Int>(code_point_count(self.bytes()));
  if (width <= length) return Value::text(self);
  if (width > (Int{1} << 30)) throw ResourceError(cat(name, ": expected a smaller width, found ", to_string(width)));
  const Int pad = width - length;
  in.budget().bytes(static_cast<uint64_t>(width) * fill.size() + self.size());
  Int left = name == "rjust" || name == "zfill" ? pad : name == "ljust" ? 0 : pad / 2 + (pad & width & 1);
  const bool sign = name == "zfill" && !self.empty() && (self.bytes()[0] == '-' || self.bytes()[0] == '+');
  Text out = self.slice(0, sign ? 1 : 0);
  const Int right = pad - left;
  while (left-- > 0) out.append(fill);
  out.append(self, sign ? 1 : 0, self.size());
  for (Int i = 0; i < right; ++i) out.append(fill);
  return Value::text(std::move(out));
}

bool in_class(const std::string& name, char32_t c) {
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  const bool alpha = category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
  const bool digit = category == UTF8PROC_CATEGORY_ND;
  if (name == "isalpha") return alpha;
  if (name == "isdigit" || name == "isdecimal") return digit;
  if (name == "isnumeric") return digit || category == UTF8PROC_CATEGORY_NL || category == UTF8PROC_CATEGORY_NO;
  if (name == "isalnum") return alpha || digit || category == UTF8PROC_CATEGORY_NL || category == UTF8PROC_CATEGORY_NO;
  if (name == "isspace") return is_space(c);
  return c < 0x80;  // isascii
}

Value classify(const Text& self, const std::string& name, Args& args, Budget& budget) {
  args.done();
  budget.step(self.size() / 8);
  if (name == "islower" || name == "isupper") {
    const Text lower = change_case(self, Case::kLower, budget), upper = change_case(self, Case::kUpper, budget);
    const Text& same = name == "islower" ? lower : upper;
    return Value::boolean(self.bytes() == same.bytes() && lower.bytes() != upper.bytes());
  }
  if (name == "istitle") {
    const Text title = change_case(self, Case::kTitle, budget);
    return Value::boolean(self.bytes() == title.bytes() &&
                          change_case(self, Case::kSwap, budget).bytes() != self.bytes());
  }
  for (size_t i = 0; i < self.size();) {
    const CodePoint c = code_point_at(self.bytes(), i);
    if (!in_class(name, c.value)) return Value::boolean(false);
    i += c.size;
  }
  return Value::boolean(!self.empty() || name == "isascii");
}

Value strip_method(const Text& self, const std::string& name, Args& args) {
  const Value chars = args.next_or("chars", Value::none());
  args.done();
  if (!chars.is_none() && !chars.if_text()) throw Error(cat(name, ": expected a string, found ", chars.type_name()));
  return Value::text(strip(self, chars.if_text(), name[0] != 'r', name[0] != 'l'));
}

constexpr std::string_view kCaseNames[] = {"upper", "lower", "title", "capitalize", "swapcase"};
constexpr std::string_view kNames[] = {"split",    "rsplit",  "splitlines", "partition", "rpartition",   "startswith",
                                       "endswith", "find",    "rfind",      "index",     "rindex",       "count",
                                       "strip",    "lstrip",  "rstrip",     "replace",   "join",         "center",
                                       "ljust",    "rjust",   "zfill",      "format",    "removeprefix", "removesuffix",
                                       "casefold", "isalpha", "isdigit",    "isdecimal", "isnumeric",    "isalnum",
                                       "isspace",  "isascii", "islower",    "isupper",   "istitle"};

}  // namespace

bool is_string_method(std::string_view name) {
  return std::find(std::begin(kNames), std::end(kNames), name) != std::end(kNames) ||
         std::find(std::begin(kCaseNames), std::end(kCaseNames), name) != std::end(kCaseNames);
}

Value call_string_method(Interpreter& in, const Text& self, const std::string& name, Args& args) {
  in.budget().step(1 + self.size() / 64);
  in.budget().bytes(self.size());
  for (size_t i = 0; i < std::size(kCaseNames); ++i)
    if (name == kCaseNames[i]) {
      args.done();
      return Value::text(change_case(self, static_cast<Case>(i), in.budget()));
    }
  if (name == "casefold") return args.done(), Value::text(change_case(self, Case::kLower, in.budget()));
  if (name == "split" || name == "rsplit") return split(in, self, args, name == "rsplit");
  if (name == "splitlines") return split_lines(in, self, args);
  if (name == "partition" || name == "rpartition") return partition(in, self, args, name == "rpartition");
  if (name == "startswith" || name == "endswith") return has_affix(self, args, name == "endswith");
  if (name.ends_with("find") || name.ends_with("index") || name == "count") return find(in, self, name, args);
  if (name.ends_with("strip")) return strip_method(self, name, args);
  if (name.starts_with("remove")) return trim_affix(self, name, args);
  if (name.ends_with("just") || name == "center" || name == "zfill") return justify(in, self, name, args);
  if (name == "format") return Value::text(brace_format(in, self, args));
  if (name == "join") {
    const std::vector<Value> items = iterate(args.required("iterable"), in.budget());
    args.done();
    return Value::text(join(self, items, in.budget(), true));
  }
  if (name == "replace") {
    const Text from = args.next_text("old", ""), to = args.next_text("new", "");
    const Int count = args.next_int("count", -1);
    args.done();
    return Value::text(replace(self, from, to, count, in.budget()));
  }
  return classify(self, name, args, in.budget());
}

}  // namespace fathom::jinja

// How values print: Python's str() and repr(), and json.dumps.
#include <utf8proc.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "text/jinja/value.h"

namespace fathom::jinja {
namespace {

bool is_printable(char32_t c) {
  if (c < 0x7F) return c >= 0x20;
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS: return false;
    default: return true;
  }
}

void append_hex(std::string& out, char prefix, char32_t code, int digits) {
  out += '\\';
  out += prefix;
  for (int shift = 4 * (digits - 1); shift >= 0; shift -= 4) out += "0123456789abcdef"[(code >> shift) & 15];
}

void append_quoted(Text& out, const Text& text) {
  const std::string& bytes = text.bytes();
  const char quote = bytes.find('\'') != std::string::npos && bytes.find('"') == std::string::npos ? '"' : '\'';
  out.append(std::string_view(&quote, 1), false);
  for (size_t i = 0; i < bytes.size();) {
    const CodePoint c = code_point_at(bytes, i);
    std::string escaped;
    if (c.value == static_cast<char32_t>(quote) || c.value == '\\')
      escaped = {'\\', static_cast<char>(c.value)};
    else if (c.value == '\n')
      escaped = "\\n";
    else if (c.value == '\r')
      escaped = "\\r";
    else if (c.value == '\t')
      escaped = "\\t";
    else if (!is_printable(c.value)) {
      if (c.value < 0x100)
        append_hex(escaped, 'x', c.value, 2);
      else if (c.value < 0x10000)
        append_hex(escaped, 'u', c.value, 4);
      else
        append_hex(escaped, 'U', c.value, 8);
    }
    if (escaped.empty())
      out.append(text, i, i + c.size);
    else
      out.append(escaped, text.trusted_at(i));
    i += c.size;
  }
  out.append(std::string_view(&quote, 1), false);
}

std::string scalar_text(const Value& value) {
  if (value.is_none()) return "None";
  if (const bool* b = value.if_bool()) return *b ? "True" : "False";
  if (const Int* i = value.if_int()) return to_string(*i);
  if (const double* d = value.if_double()) return float_repr(*d);
  if (value.is_undefined()) return "Undefined";
  if (const Callable* f = value.if_callable())
    return cat("<", f->kind == Callable::Kind::kMacro ? "Macro '" : "function '", f->name, "'>");
  return cat("<", value.type_name(), ">");
}

class Printer {
 public:
  explicit Printer(Budget& budget) : budget_(budget) {}

  void print(const Value& value) {
    budget_.step();
    const size_t before = out_.size();
    if (const Text* text = value.if_text()) {
      budget_.bytes(text->size());
      append_quoted(out_, *text);
    } else if (const List* list = value.if_list()) {
      print_list(*list);
    } else if (const Dict* dict = value.if_dict()) {
      print_dict(*dict);
    } else {
      out_.append(scalar_text(value), value.trusted());
    }
    if (value.depth() == 0) budget_.bytes(out_.size() - before);
  }
  Text take() { return std::move(out_); }

 private:
  void add(std::string_view punctuation) { out_.append(punctuation, false); }
  void print_list(const List& list) {
    if (list.kind == ListKind::kIterator) return add(list.label.empty() ? "<generator object>" : list.label);
    const bool tuple = list.kind == ListKind::kTuple;
    if (list.kind == ListKind::kView) add(list.label + "(");
    add(tuple ? "(" : "[");
    for (size_t i = 0; i < list.items.size(); ++i) {
      if (i) add(", ");
      print(list.items[i]);
    }
    if (tuple && list.items.size() == 1) add(",");
    add(tuple ? ")" : "]");
    if (list.kind == ListKind::kView) add(")");
  }
  void print_dict(const Dict& dict) {
    add("{");
    bool first = true;
    for (const auto& [key, item] : dict.entries()) {
      if (!first) add(", ");
      first = false;
      print(key);
      add(": ");
      print(item);
    }
    add("}");
  }

  Budget& budget_;
  Text out_;
};

class JsonDumper {
 public:
  JsonDumper(const JsonOptions& options, Budget& budget) : options_(options), budget_(budget) {}

  void dump(const Value& value, int depth) {
    budget_.step();
    const size_t before = out_.size();
    if (const Text* text = value.if_text())
      string(*text);
    else if (const List* list = value.if_list())
      array(*list, depth);
    else if (const Dict* dict = value.if_dict())
      object(*dict, depth);
    else
      add(scalar(value));
    if (value.depth() == 0) budget_.bytes(out_.size() - before);
  }
  Text take() { return std::move(out_); }

 private:
  void add(std::string_view text) { out_.append(text, false); }

  static std::string scalar(const Value& value) {
    if (value.is_none()) return "null";
    if (const bool* b = value.if_bool()) return *b ? "true" : "false";
    if (const Int* i = value.if_int()) return to_string(*i);
    if (const double* d = value.if_double()) return to_json(json::value(*d), {.python_floats = true});
    if (value.is_undefined()) throw Error(cat("tojson: ", value.undefined_message()));
    throw Error(cat("tojson: expected a value that JSON has, found ", value.type_name()));
  }

  void string(const Text& text) {
    budget_.bytes(text.size());
    add("\"");
    size_t begin = 0;
    for (const Text::Run& run : text.runs()) {
      const std::string quoted = to_json(json::value(std::string_view(text.bytes()).substr(begin, run.end - begin)),
                                         {.ensure_ascii = options_.ensure_ascii});
      out_.append(std::string_view(quoted).substr(1, quoted.size() - 2), run.trusted);
      begin = run.end;
    }
    add("\"");
  }

  void line(int depth) {
    if (options_.indent < 0) return;
    const size_t spaces = static_cast<size_t>(depth) * static_cast<size_t>(options_.indent);
    budget_.bytes(spaces + 1);
    add("\n" + std::string(spaces, ' '));
  }

  void array(const List& list, int depth) {
    if (list.items.empty()) return add("[]");
    add("[");
    for (size_t i = 0; i < list.items.size(); ++i) {
      if (i) add(options_.item_separator);
      line(depth + 1);
      dump(list.items[i], depth + 1);
    }
    line(depth);
    add("]");
  }

  void object(const Dict& dict, int depth) {
    if (dict.entries().empty()) return add("{}");
    std::vector<Dict::Entry> entries = dict.entries();
    if (options_.sort_keys)
      std::stable_sort(entries.begin(), entries.end(),
                       [&](const auto& a, const auto& b) { return less(a.first, b.first, budget_); });
    add("{");
    bool first = true;
    for (const auto& [key, item] : entries) {
      if (!first) add(options_.item_separator);
      first = false;
      line(depth + 1);
      if (const Text* text = key.if_text())
        string(*text);
      else
        add("\"" + scalar(key) + "\"");
      add(options_.key_separator);
      dump(item, depth + 1);
    }
    line(depth);
    add("}");
  }

  const JsonOptions& options_;
  Budget& budget_;
  Text out_;
};

}  // namespace

std::string to_string(Int x) {
  if (x == 0) return "0";
  const bool negative = x < 0;
  auto rest = negative ? -static_cast<unsigned __int128>(x) : static_cast<unsigned __int128>(x);
  std::string digits;
  for (; rest != 0; rest /= 10) digits += static_cast<char>('0' + static_cast<int>(rest % 10));
  if (negative) digits += '-';
  std::reverse(digits.begin(), digits.end());
  return digits;
}

std::string float_repr(double x) {
  if (std::isnan(x)) return "nan";
  if (std::isinf(x)) return x < 0 ? "-inf" : "inf";
  return to_json(json::value(x), {.python_floats = true});
}

Text repr(const Value& value, Budget& budget) {
  Printer printer(budget);
  printer.print(value);
  return printer.take();
}

Text to_text(const Value& value, Budget& budget) {
  if (value.is_undefined()) return {};
  if (const Text* text = value.if_text()) {
    budget.bytes(text->size());
    return *text;
  }
  return repr(value, budget);
}

Text dump_json(const Value& value, const JsonOptions& options, Budget& budget) {
  JsonDumper dumper(options, budget);
  dumper.dump(value, 0);
  return dumper.take();
}

}  // namespace fathom::jinja

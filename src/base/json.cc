#include "base/json.h"

#include <charconv>
#include <cmath>

#include "base/error.h"
#include "base/mapped_file.h"

namespace fathom {
namespace {

void append_escaped(std::string& out, std::string_view text, bool ensure_ascii) {
  static constexpr char kHex[] = "0123456789abcdef";
  const auto unit = [&](uint32_t u) {
    out += "\\u";
    for (int shift = 12; shift >= 0; shift -= 4) out += kHex[(u >> shift) & 15];
  };
  out += '"';
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    switch (c) {
      case '"': out += "\\\""; continue;
      case '\\': out += "\\\\"; continue;
      case '\n': out += "\\n"; continue;
      case '\r': out += "\\r"; continue;
      case '\t': out += "\\t"; continue;
      case '\b': out += "\\b"; continue;
      case '\f': out += "\\f"; continue;
      default: break;
    }
    if (c < 0x20) {
      unit(c);
    } else if (c < 0x80 || !ensure_ascii) {
      out += static_cast<char>(c);
    } else {
      const int extra = c >= 0xF0 ? 3 : c >= 0xE0 ? 2 : 1;
      uint32_t code = c & (0x3Fu >> extra);
      for (int k = 0; k < extra && i + 1 < text.size(); ++k)
        code = code << 6 | (static_cast<unsigned char>(text[++i]) & 0x3F);
      if (code >= 0x10000) {
        unit(0xD800 + ((code - 0x10000) >> 10));
        unit(0xDC00 + ((code - 0x10000) & 0x3FF));
      } else {
        unit(code);
      }
    }
  }
  out += '"';
}

void append_double(std::string& out, double x, bool python) {
  if (std::isnan(x)) {
    out += "NaN";
    return;
  }
  if (std::isinf(x)) {
    out += x < 0 ? "-Infinity" : "Infinity";
    return;
  }
  char buffer[40];
  const double a = std::fabs(x);
  // Python's repr switches to an exponent below 1e-4 and from 1e16 on.
  const bool fixed = x == 0 || (a >= 1e-4 && a < 1e16);
  const auto format = fixed ? std::chars_format::fixed : std::chars_format::scientific;
  const std::to_chars_result r = std::to_chars(buffer, buffer + sizeof buffer, x, format);
  const std::string_view text(buffer, static_cast<size_t>(r.ptr - buffer));
  out += text;
  if (python && fixed && text.find('.') == std::string_view::npos) out += ".0";
}

class Writer {
 public:
  explicit Writer(const JsonStyle& style) : style_(style) {}
  void write(const json::value& value, int depth) {
    switch (value.kind()) {
      case json::kind::null: out_ += "null"; break;
      case json::kind::bool_: out_ += value.get_bool() ? "true" : "false"; break;
      case json::kind::int64: out_ += std::to_string(value.get_int64()); break;
      case json::kind::uint64: out_ += std::to_string(value.get_uint64()); break;
      case json::kind::double_: append_double(out_, value.get_double(), style_.python_floats); break;
      case json::kind::string: append_escaped(out_, value.get_string(), style_.ensure_ascii); break;
      case json::kind::array: write_array(value.get_array(), depth); break;
      case json::kind::object: write_object(value.get_object(), depth); break;
    }
  }
  std::string take() { return std::move(out_); }

 private:
  void line(int depth) {
    if (style_.indent < 0) return;
    out_ += '\n';
    out_.append(static_cast<size_t>(depth * style_.indent), ' ');
  }
  void separate() {
    // With an indent the separator's trailing space would stand at the end of a line.
    out_ += style_.indent < 0 ? style_.item_sep : ",";
  }
  void write_array(const json::array& array, int depth) {
    if (array.empty()) {
      out_ += "[]";
      return;
    }
    out_ += '[';
    for (size_t i = 0; i < array.size(); ++i) {
      if (i) separate();
      line(depth + 1);
      write(array[i], depth + 1);
    }
    line(depth);
    out_ += ']';
  }
  void write_object(const json::object& object, int depth) {
    if (object.empty()) {
      out_ += "{}";
      return;
    }
    out_ += '{';
    bool first = true;
    for (const auto& [key, value] : object) {
      if (!first) separate();
      first = false;
      line(depth + 1);
      append_escaped(out_, key, style_.ensure_ascii);
      out_ += style_.key_sep;
      write(value, depth + 1);
    }
    line(depth);
    out_ += '}';
  }

  const JsonStyle& style_;
  std::string out_;
};

/// The beginning of a text, cut between characters, without control characters.
std::string excerpt(std::string_view text) {
  constexpr size_t kLongest = 80;
  size_t end = std::min(text.size(), kLongest);
  while (end > 0 && end < text.size() && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  std::string out(text.substr(0, end));
  for (char& c : out)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  return end < text.size() ? out + "..." : out;
}

std::string_view kind_name(const json::value& value) {
  switch (value.kind()) {
    case json::kind::null: return "null";
    case json::kind::bool_: return "a boolean";
    case json::kind::int64:
    case json::kind::uint64: return "an integer";
    case json::kind::double_: return "a number";
    case json::kind::string: return "a string";
    case json::kind::array: return "an array";
    case json::kind::object: return "an object";
  }
  return "?";
}

}  // namespace

json::value parse_json(std::string_view text, std::string_view what) {
  json::parse_options options;
  options.max_depth = 64;
  json::error_code ec;
  json::stream_parser parser({}, options);
  const size_t used = parser.write_some(text.data(), text.size(), ec);
  if (!ec && used == text.size()) parser.finish(ec);
  if (!ec && used == text.size()) return parser.release();
  const std::string_view before = text.substr(0, std::min(used, text.size()));
  const auto newline = before.rfind('\n');
  const auto row = 1 + std::count(before.begin(), before.end(), '\n');
  const size_t column = before.size() - (newline == std::string_view::npos ? 0 : newline + 1) + 1;
  throw Error(cat(what, ": expected JSON, found at line ", row, ", column ", column, ": ",
                  ec ? ec.message() : std::string("text after the value")));
}

std::string read_text_file(const std::filesystem::path& path, uint64_t limit) {
  // What was opened is what is measured and read: the name may lead elsewhere a moment later, or the file grow.
  const InputFile file(path);
  if (file.size() > limit) throw Error(cat(path.string(), ": expected at most ", limit, " bytes, found ", file.size()));
  std::string text(file.size(), '\0');
  file.read(0, text.data(), text.size());
  return text;
}

json::value read_json_file(const std::filesystem::path& path) {
  return parse_json(read_text_file(path), path.string());
}

std::string to_json(const json::value& value, const JsonStyle& style) {
  Writer writer(style);
  writer.write(value, 0);
  return writer.take();
}

JsonObject::JsonObject(const json::value& value, std::string what)
    : object_(value.if_object()), what_(std::move(what)) {
  if (!object_) throw Error(cat(what_, ": expected a JSON object, found ", kind_name(value)));
}

const json::value* JsonObject::find(std::string_view key) const {
  const json::value* value = object_->if_contains(key);
  return value && !value->is_null() ? value : nullptr;
}

void JsonObject::wrong(std::string_view key, std::string_view expected) const {
  const json::value* value = find(key);
  throw Error(cat(what_, ": ", excerpt(key), ": expected ", expected, ", found ",
                  value ? excerpt(to_json(*value)) : std::string("nothing")));
}

int64_t JsonObject::integer(std::string_view key) const {
  const json::value* value = find(key);
  if (value && value->is_int64()) return value->get_int64();
  // Some publishers write whole numbers as 1e4 or 4096.0.
  if (value && value->is_double()) {
    const double x = value->get_double();
    if (x == std::floor(x) && std::fabs(x) < 0x1p53) return static_cast<int64_t>(x);
  }
  wrong(key, "an integer");
}

int64_t JsonObject::integer_or(std::string_view key, int64_t fallback) const {
  return has(key) ? integer(key) : fallback;
}

double JsonObject::number(std::string_view key) const {
  const json::value* value = find(key);
  if (!value || !value->is_number()) wrong(key, "a number");
  return value->to_number<double>();
}

double JsonObject::number_or(std::string_view key, double fallback) const { return has(key) ? number(key) : fallback; }

bool JsonObject::boolean_or(std::string_view key, bool fallback) const {
  const json::value* value = find(key);
  if (!value) return fallback;
  if (!value->is_bool()) wrong(key, "true or false");
  return value->get_bool();
}

std::string JsonObject::string(std::string_view key) const {
  const json::value* value = find(key);
  if (!value || !value->is_string()) wrong(key, "a string");
  return std::string(value->get_string());
}

std::string JsonObject::string_or(std::string_view key, std::string_view fallback) const {
  return has(key) ? string(key) : std::string(fallback);
}

JsonObject JsonObject::object(std::string_view key) const {
  const json::value* value = find(key);
  if (!value || !value->is_object()) wrong(key, "an object");
  return JsonObject(*value, cat(what_, ": ", key));
}

const json::array& JsonObject::array(std::string_view key) const {
  const json::value* value = find(key);
  if (!value || !value->is_array()) wrong(key, "an array");
  return value->get_array();
}

}  // namespace fathom

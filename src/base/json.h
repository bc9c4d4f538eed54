// JSON from outside and to outside, over Boost.JSON: parsing with bounds and errors that name the source, typed access
// that names the key, and a writer of our own (Boost writes 0.7 as 7E-1). Thread-safe: no state.
#pragma once
#include <boost/json.hpp>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace fathom {

namespace json = boost::json;

/// Parses `text` (at most 64 levels deep). Throws Error naming `what`, with line and column of the mistake.
json::value parse_json(std::string_view text, std::string_view what);

/// Reads and parses a file. Throws Error naming the path.
json::value read_json_file(const std::filesystem::path& path);

/// The whole file. Throws Error naming the path if it is no regular file (which nobody waits for) or has more than
/// `limit` bytes.
std::string read_text_file(const std::filesystem::path& path, uint64_t limit = uint64_t{1} << 30);

struct JsonStyle {
  int indent = -1;             ///< -1: one line; n >= 0: n spaces a level
  const char* item_sep = ",";  ///< Python's json.dumps has ", "
  const char* key_sep = ":";   ///< Python's json.dumps has ": "
  bool ensure_ascii = false;   ///< non-ASCII as \uXXXX
  bool python_floats = false;  ///< floats as Python's repr (1.0, 1e-05), else shortest std::to_chars
};
/// Key order is kept; NaN and infinities are written NaN, Infinity, -Infinity as Python does.
std::string to_json(const json::value& value, const JsonStyle& style = {});

/// Typed access to an object that came from outside. Each throws Error "<what>: <key>: expected ..., found ...".
/// `find` returns null where the key is absent or JSON null.
class JsonObject {
 public:
  JsonObject(const json::value& value, std::string what);  // throws if value is no object
  bool has(std::string_view key) const { return find(key) != nullptr; }
  const json::value* find(std::string_view key) const;
  int64_t integer(std::string_view key) const;
  int64_t integer_or(std::string_view key, int64_t fallback) const;
  double number(std::string_view key) const;
  double number_or(std::string_view key, double fallback) const;
  bool boolean_or(std::string_view key, bool fallback) const;
  std::string string(std::string_view key) const;
  std::string string_or(std::string_view key, std::string_view fallback) const;
  JsonObject object(std::string_view key) const;
  const json::array& array(std::string_view key) const;
  const json::object& raw() const { return *object_; }
  const std::string& what() const { return what_; }

 private:
  [[noreturn]] void wrong(std::string_view key, std::string_view expected) const;
  const json::object* object_;  // owned by the caller's value, which outlives this
  std::string what_;
};

}  // namespace fathom
